"""Rows of numbers with a label: any CSV file with a header, one column of class numbers and numeric features.

Reads   raw/<file> (plain, or gzipped as .csv.gz), twice: once for the labels, which the stratified splits need, and once
        for the features, so memory holds a label a row and the numbers of one chunk.
"""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import by_split, choose_splits
from stages.reading.contents import Contents, LeftOutItems, printable
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

CHUNK_NUMBERS = 32_768  # of a chunk in memory, as Python's floats
LARGEST = float(np.finfo(np.float32).max)


class Preprocess(Section):
    """`classes` are in the order of the label's numbers; `test_fraction` is of all rows, `val_fraction` of what remains."""

    input_kind: ClassVar[str] = "features"
    file: str
    label: str
    classes: Annotated[list[str], Field(min_length=2, max_length=10_000)]
    zero_is_missing: list[str]
    standardise: bool
    test_fraction: float = Field(gt=0, lt=1)
    val_fraction: float = Field(ge=0, lt=1)
    max_bad_fraction: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _entries_fit(self) -> "Preprocess":
        if self.file in ("", "..") or self.file != Path(self.file).name:
            raise ValueError(f"expected file to be the name of a file in raw/, without a folder; got {self.file!r}")
        if self.zero_is_missing and not self.standardise:
            raise ValueError("expected zero_is_missing to be empty where standardise is false: no mean is measured to put there")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("expected classes with different names")
        if not all(name.strip() and name.isprintable() for name in self.classes):
            raise ValueError("expected classes with names that can be shown")
        return self

    @property
    def task(self) -> str:
        return "binary" if len(self.classes) == 2 else "multiclass"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    path, left_out = raw / preprocess.file, LeftOutItems()
    header = _header(path, preprocess)
    features = [name for name in header if name != preprocess.label]
    rows = _good_rows(path, header, preprocess, left_out)
    labels = np.concatenate([np.empty(0, np.int16), *(labels.astype(np.int16) for _, labels in rows)])
    left_out.settle(len(labels) + left_out.count, preprocess.max_bad_fraction)
    again = _good_rows(path, header, preprocess, LeftOutItems())  # the first pass has already counted the bad rows
    return Contents(
        description=f"The rows of {preprocess.file}: {len(features)} numeric features and the label {preprocess.label}.",
        input=Input(kind="features", shape=[len(features)], dtype="float32", names=features, zero_is_missing=preprocess.zero_is_missing),
        classes=preprocess.classes,
        chunks=by_split(again, choose_splits(labels, seed, preprocess.val_fraction, preprocess.test_fraction)),
        left_out=left_out,
        measure=preprocess.standardise,
    )


def _header(path: Path, preprocess: Preprocess) -> list[str]:
    header = next(numbered_rows(path), (0, []))[1]
    names = printable(", ".join(header)) or "nothing"
    for name in [preprocess.label, *preprocess.zero_is_missing]:
        if name not in header:
            raise UserError(f"{path} has no column {name!r} (its first line has {names}): fix label or zero_is_missing.")
    if preprocess.label in preprocess.zero_is_missing:
        raise UserError(f"preprocess.zero_is_missing names the label, {preprocess.label!r}: name only features.")
    if len(set(header)) != len(header) or len(header) < 2:
        raise UserError(f"{path} must begin with the names of its columns, all different, at least two; it has {names}.")
    return header


def _good_rows(path: Path, header: list[str], preprocess: Preprocess, left_out: LeftOutItems) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features float32 [k, num_features] and labels int64 [k], in the file's order, a chunk at a time."""
    rows = _numbers(path, header, preprocess, left_out)
    place = header.index(preprocess.label)
    while chunk := list(islice(rows, math.ceil(CHUNK_NUMBERS / (len(header) - 1)))):
        labels = np.array([row.pop(place) for row in chunk], dtype=np.int64)
        yield np.array(chunk, dtype=np.float32), labels


def _numbers(path: Path, header: list[str], preprocess: Preprocess, left_out: LeftOutItems) -> Iterator[list[float]]:
    """The cells of every good row."""
    classes = range(len(preprocess.classes))
    for number, cells in islice(numbered_rows(path), 1, None):
        problem = "" if len(cells) == len(header) else f"has {len(cells)} cells, not {len(header)}"
        numbers = []
        for cell, name in zip(cells, header, strict=False):
            try:
                numbers.append(float(cell))
            except ValueError:
                numbers.append(math.nan)
            if not abs(numbers[-1]) <= LARGEST or "_" in cell:  # float() takes 1_000, which no CSV file means as a number
                problem = problem or f"column {name} has {cell!r}, expected a finite number of float32"
            elif name == preprocess.label and numbers[-1] not in classes:
                problem = problem or f"column {name} has {cell!r}, expected a class from 0 to {len(classes) - 1}"
        if problem:
            left_out.add(f"{path.name} line {number}", problem)
        else:
            yield numbers
