"""What a dataset's part (stages/datasets/) hands to the stage preprocess: facts known beforehand, and its items as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.common.meta import Input
from stages.common.shelves import take_task
from stages.reading.left_out import LeftOutItems

Chunk = tuple[str, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Contents:
    """A raw dataset, opened.

    - description: one honest sentence on the data, unless it is a stand-in, which describes itself (stages/reading/source.py).
    - input: what an input is; with `measure` its mean and std are yet to be measured, by the stage, on train alone.
    - item_shape, target_shape: of one stored item; train_shape too, where training items are larger.
    - chunks: (split, inputs [k, *shape], targets [k, *target_shape]), a few hundred items at a time, in any order of splits.
    - left_out: filled while `chunks` runs; complete when it ends.
    """

    description: str
    task: str
    input: Input
    classes: list[str] | None
    outputs: list[str] | None
    item_shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    chunks: Iterator[Chunk]
    left_out: LeftOutItems
    measure: bool = False
    train_shape: tuple[int, ...] | None = None

    @property
    def target_dtype(self) -> str:
        """As the task's own examples have it."""
        return str(take_task(self.task).example(1)[1].dtype)
