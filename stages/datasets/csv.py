"""Rows of numbers with a label: any CSV file with a header, one column of class numbers and numeric features.

Reads   raw/<file> (plain, or gzipped as .csv.gz), twice: once for the labels, which the stratified splits need, and once
        for the features, so memory holds a label a row and the numbers of one chunk.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import SPLITS, hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.left_out import LeftOutItems, printable
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

CHUNK_NUMBERS = 32_768  # of a chunk in memory, as Python's floats
LARGEST = float(np.finfo(np.float32).max)


class Preprocess(Section):
    """`classes` are in the order of the label's numbers; `test_fraction` is of all rows, `val_fraction` of what remains."""

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

    @property
    def input_kind(self) -> str:
        return "features"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    table = Table(raw / preprocess.file, preprocess)
    left_out = LeftOutItems()
    labels = np.concatenate([np.empty(0, np.int16), *(labels.astype(np.int16) for _, labels in table.chunks(left_out))])
    left_out.settle(len(labels) + left_out.count, preprocess.max_bad_fraction)
    places = _places(labels, preprocess, seed)
    return Contents(
        description=f"The rows of {preprocess.file}: {len(table.features)} numeric features and the label {preprocess.label}.",
        task=preprocess.task,
        input=Input(
            kind=preprocess.input_kind,
            shape=[len(table.features)],
            dtype="float32",
            names=table.features,
            zero_is_missing=preprocess.zero_is_missing,
        ),
        classes=preprocess.classes,
        outputs=None,
        item_shape=(len(table.features),),
        target_shape=(),
        chunks=_split_chunks(table, places),
        left_out=left_out,
        measure=preprocess.standardise,
    )


def _places(labels: np.ndarray, preprocess: Preprocess, seed: int) -> np.ndarray:
    """For every row the place of its split in SPLITS, uint8 [n], stratified by label."""
    places = np.where(hold_out(labels, preprocess.test_fraction, seed), 2, 0).astype(np.uint8)
    remaining = np.flatnonzero(places == 0)
    places[remaining[hold_out(labels[remaining], preprocess.val_fraction, seed)]] = 1
    return places


def _split_chunks(table: "Table", places: np.ndarray) -> Iterator[Chunk]:
    start = 0
    for features, labels in table.chunks(LeftOutItems()):  # the first pass has already counted the bad rows
        here = places[start : start + len(labels)]
        start += len(labels)
        for place, split in enumerate(SPLITS):
            yield split, features[here == place], labels[here == place]


class Table:
    """A CSV file, its header read and checked."""

    def __init__(self, path: Path, preprocess: Preprocess):
        self.path, self.num_classes = path, len(preprocess.classes)
        self.header = next(numbered_rows(path), (0, []))[1]
        self._check_header(preprocess)
        self.label = self.header.index(preprocess.label)
        self.features = [name for name in self.header if name != preprocess.label]

    def _check_header(self, preprocess: Preprocess) -> None:
        names = printable(", ".join(self.header)) or "nothing"
        for name in [preprocess.label, *preprocess.zero_is_missing]:
            if name not in self.header:
                raise UserError(f"{self.path} has no column {name!r} (its first line has {names}): fix label or zero_is_missing.")
        if preprocess.label in preprocess.zero_is_missing:
            raise UserError(f"preprocess.zero_is_missing names the label, {preprocess.label!r}: name only features.")
        if len(set(self.header)) != len(self.header) or len(self.header) < 2:
            raise UserError(f"{self.path} must begin with the names of its columns, all different, at least two; it has {names}.")

    def chunks(self, left_out: LeftOutItems) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features float32 [k, num_features] and labels int64 [k] of the good rows, in the file's order."""
        features, labels = [], []
        rows = numbered_rows(self.path)
        next(rows)
        for number, cells in rows:
            try:
                label, values = self._parse(cells)
            except BadRowError as bad:
                left_out.add(f"{self.path.name} line {number}{bad.column}", bad.reason)
                continue
            features.append(values)
            labels.append(label)
            if len(labels) * len(self.features) >= CHUNK_NUMBERS:
                yield np.array(features, dtype=np.float32), np.array(labels, dtype=np.int64)
                features, labels = [], []
        if labels:
            yield np.array(features, dtype=np.float32), np.array(labels, dtype=np.int64)

    def _parse(self, cells: list[str]) -> tuple[int, list[float]]:
        if len(cells) != len(self.header):
            raise BadRowError("", f"has {len(cells)} cells, not {len(self.header)}")
        values = [_number(cell, name) for cell, name in zip(cells, self.header, strict=True)]
        label = values.pop(self.label)
        if label not in range(self.num_classes):
            reason = f"{cells[self.label]!r} is not a class from 0 to {self.num_classes - 1}"
            raise BadRowError(f", column {self.header[self.label]}", reason)
        return int(label), values


class BadRowError(Exception):
    """Why a row is left out; `column` is empty where the row as a whole is at fault."""

    def __init__(self, column: str, reason: str):
        self.column, self.reason = column, reason


def _number(cell: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise BadRowError(f", column {name}", f"{cell!r} is not a number" if cell else "the cell is empty") from None
    if abs(value) <= LARGEST and "_" not in cell:  # float() takes 1_000, which no CSV file means as a number
        return value
    raise BadRowError(f", column {name}", f"{cell!r} is not a finite number of float32")
