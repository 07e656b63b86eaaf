"""A handful of points (x, y) that stand in params.yaml itself: a line to fit, or a threshold to find.

Reads raw/train.csv and raw/test.csv, each with the header x,y. Every train point trains; val is empty.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.reading.contents import Chunk, Contents
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError


class Preprocess(Section):
    """`input` and `output` say what x and y are; `classes` names y = 0 and y = 1 of a binary task."""

    input_kind: ClassVar[str] = "features"
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


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    return Contents(
        description=f"Points written in params.yaml: {preprocess.input} and {preprocess.output}.",
        input=Input(kind="features", shape=[1], dtype="float32", names=[preprocess.input]),
        classes=preprocess.classes,
        outputs=[preprocess.output] if preprocess.task == "regression" else None,
        chunks=_chunks(raw, preprocess.task),
    )


def _chunks(raw: Path, task: str) -> Iterator[Chunk]:
    for split in ("train", "test"):
        points = _read_points(raw / f"{split}.csv", task)
        targets = points[:, 1:].astype(np.float32) if task == "regression" else points[:, 1].astype(np.int64)
        yield split, points[:, :1].astype(np.float32), targets


def _read_points(path: Path, task: str) -> np.ndarray:
    """Points [n, 2], float64."""
    points, rows = [], numbered_rows(path)
    if next(rows, (0, []))[1] != ["x", "y"]:
        raise UserError(f"{path} must begin with the line x,y: run the stage download again.")
    for number, cells in rows:
        try:
            x, y = map(float, cells)
        except ValueError:
            x = y = np.nan
        if not np.isfinite([x, y]).all() or (task == "binary" and y not in (0, 1)):
            expected = "a finite number, and 0 or 1" if task == "binary" else "two finite numbers"
            raise UserError(f"{path} line {number} is {','.join(cells)!r}, expected {expected}.")
        points.append([x, y])
    return np.array(points, dtype=np.float64).reshape(-1, 2)
