"""How the rows of a table are split: by chance, groups staying whole; by time; or as a column says."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from examples import cells
from stages.common.splits import SPLITS, places_of
from stages.reading.columns import NAMED, Known, shown, warn
from stages.reading.group_splits import WORDS, firsts_of
from stages.reading.schema import ColumnSchema
from stages.shell.errors import UserError


class Group:
    """Of the cells in the column `name` the marks by which rows are split: here rows with equal marks stay together, but those of
    `none`.
    """

    dtype, none = "uint64", 0

    def __init__(self, name: str, column: ColumnSchema):
        self.name, self.spec, self.known = name, column.spec(), Known(self.mark_of)

    def __call__(self, column: Sequence[str]) -> np.ndarray:
        return np.array(list(map(self.known.__getitem__, column)), dtype=self.dtype)

    def mark_of(self, cell: str) -> Any:
        if cells.is_missing(cell, self.spec):
            return self.none
        digest = hashlib.blake2b(cells.stripped(cell).encode(errors="replace"), digest_size=8).digest()
        return int.from_bytes(digest, "little")

    def refuse(self, marks: np.ndarray) -> None:
        """Raises UserError where rows cannot be split by their marks."""

    def each_alone(self, marks: np.ndarray) -> np.ndarray:
        """For every row the place of the first of its group; each row without one is its own."""
        firsts, alone = firsts_of(marks), places_of(marks == self.none)
        if len(alone):
            warn([f"preprocess.group is {self.name!r}, but {len(alone)} of {len(marks)} rows have none: each of them is its own group"])
        firsts[alone] = alone
        return firsts


class Time(Group):
    """Marks are seconds, or the numbers of a column of such; NaN where there is none."""

    dtype = "float64"

    def __init__(self, name: str, column: ColumnSchema):
        if column.type not in ("number", "date"):
            fix = "make it a date (with formats) or a number"
            raise UserError(f"preprocess.time is {name!r}, a column of type {column.type} in the schema: {fix}.")
        super().__init__(name, column)
        self.read = cells.reader_of(column.spec())

    def mark_of(self, cell: str) -> float:
        try:
            value = self.read(cell)
        except cells.BadCell:
            return math.nan
        return value[0] * 86400 + value[1] if isinstance(value, tuple) else float(value)

    def refuse(self, marks: np.ndarray) -> None:
        if missing := int(np.isnan(marks).sum()):
            fix = "fill them in, fix the column's formats in the schema, or split otherwise"
            raise UserError(f"preprocess.time is {self.name!r}, but {missing} of {len(marks)} rows have none that can be read: {fix}.")


class Said(Group):
    """Marks are places in SPLITS."""

    dtype, words = "uint8", WORDS
    unknown = len(SPLITS)

    def __init__(self, name: str, column: ColumnSchema):
        super().__init__(name, column)
        self.strange = dict[str, None]()

    def mark_of(self, cell: str) -> int:
        word = cells.stripped(cell)
        if word.lower() not in self.words and len(self.strange) < NAMED:
            self.strange[shown(word)] = None
        return self.words.get(word.lower(), self.unknown)

    def refuse(self, marks: np.ndarray) -> None:
        if strange := int((marks == self.unknown).sum()):
            what = f"{strange} of {len(marks)} rows have another word, such as {', '.join(self.strange)}"
            raise UserError(f"preprocess.split is {self.name!r}, whose cells must be train, val or test; {what}.")


def splits_by_time(times: np.ndarray, val_fraction: float, test_fraction: float) -> np.ndarray:
    """The last rows are test, those before them val; rows of one time stay together, in the later split."""
    ordered = np.sort(times)
    num_test = round(test_fraction * len(times))
    num_val = round(val_fraction * (len(times) - num_test))
    places = np.zeros(len(times), dtype=np.uint8)
    for place, number in ((1, num_test + num_val), (2, num_test)):
        if number:
            places[times >= ordered[len(times) - number]] = place
    return places
