"""A handful of points (x, y) that stand in params.yaml itself: a line to fit, or a threshold to find.

Reads raw/train.csv and raw/test.csv, each with the header x,y. Every train point trains; val is empty.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.reading.contents import Chunk, Contents
from stages.reading.left_out import LeftOutItems
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

HEADER = ["x", "y"]


class Preprocess(Section):
    """`input` and `output` say what x and y are; `classes` names y = 0 and y = 1 of a binary task."""

    task: Literal["regression", "binary"]
    input: str
    output: str
    classes: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> "Preprocess":
        if (self.task == "binary") != (self.classes is not None):
            raise ValueError("expected classes, two names, for the task binary and for no other")
        if self.classes is not None and self.classes[0] == self.classes[1]:
            raise ValueError("expected classes with different names")
        return self

    @property
    def input_kind(self) -> str:
        return "features"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    description = f"Points written in params.yaml: {preprocess.input} and {preprocess.output}."
    return Contents(
        description=description,
        task=preprocess.task,
        input=Input(kind=preprocess.input_kind, shape=[1], dtype="float32", names=[preprocess.input]),
        classes=preprocess.classes,
        outputs=[preprocess.output] if preprocess.task == "regression" else None,
        item_shape=(1,),
        target_shape=(1,) if preprocess.task == "regression" else (),
        chunks=_chunks(raw, preprocess.task),
        left_out=LeftOutItems(),
    )


def _chunks(raw: Path, task: str) -> Iterator[Chunk]:
    for split in ("train", "test"):
        points = _read_points(raw / f"{split}.csv", task)
        targets = points[:, 1:].astype(np.float32) if task == "regression" else points[:, 1].astype(np.int64)
        yield split, points[:, :1].astype(np.float32), targets


def _read_points(path: Path, task: str) -> np.ndarray:
    """Points [n, 2], float64."""
    rows = numbered_rows(path)
    if next(rows, (0, []))[1] != HEADER:
        raise UserError(f"{path} must begin with the line x,y: run the stage download again.")
    points = [_point(f"{path} line {number}", cells, task) for number, cells in rows]
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _point(place: str, cells: list[str], task: str) -> list[float]:
    try:
        x, y = map(float, cells)
    except ValueError as error:
        raise UserError(f"{place} is {','.join(cells)!r}, expected two numbers.") from error
    if not np.isfinite([x, y]).all():
        raise UserError(f"{place} is {','.join(cells)!r}, expected finite numbers.")
    if task == "binary" and y not in (0, 1):
        raise UserError(f"{place} has y = {y:g}; the task binary expects 0 or 1.")
    return [x, y]
