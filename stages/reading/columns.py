"""Reads whole columns of cells as numbers, and counts what is not as a column's schema says: examples/cells.py says what one cell means."""

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from examples import cells
from stages.common.meta import FIRST_LEVEL, MISSING_CODE
from stages.reading.contents import printable
from stages.reading.delimited import named
from stages.reading.schema import ColumnSchema

MAX_CACHED = 1 << 16  # different cells of a column whose meaning is remembered
MAX_REMEMBERED = 200  # characters of such a cell
NAMED = 3  # examples of bad cells of a column
LONG_CELL = 40  # characters of a cell that are shown


class Known(dict[str, Any]):
    """What cells mean, by cell: each is read once, and remembered, since most columns say the same few things over and over."""

    def __init__(self, read: Callable[[str], Any]):
        super().__init__()
        self.read = read

    def __missing__(self, cell: str) -> Any:
        value = self.read(cell)
        if len(self) >= MAX_CACHED:
            self.clear()
        if len(cell) <= MAX_REMEMBERED:
            self[cell] = value
        return value


class ColumnReader:
    """Cells of one column to float64 [k], or [k, 2] of a date with its time; of a category to codes, of a target with classes to its
    place.
    """

    role, keys = "", {"number": "decimal, thousands, units, brackets, missing", "date": "formats, missing", "category": "levels"}

    def __init__(self, name: str, column: ColumnSchema):
        self.name, self.spec, self.known = name, column.spec(), Known(self.value_of)
        self.read, self.expected = cells.reader_of(self.spec), ""
        self.bad, self.examples = 0, list[tuple[int, str]]()  # lines and cells
        self.num_unknown, self.unknown = 0, Counter[str]()
        self.codes = {level: float(code) for code, level in enumerate(column.levels or [], start=FIRST_LEVEL)}
        self.instead: Any = (math.nan, math.nan) if cells.has_time(self.spec) else float("nan")  # of a bad cell, known by its identity
        self.quick = quick_numbers(self.spec) if self.spec["type"] == "number" else None

    def __call__(self, column: Sequence[str], lines: np.ndarray) -> np.ndarray:
        if self.quick is not None and (quick := self.quick(column)) is not None:
            return quick
        found = list(map(self.known.__getitem__, column))
        values = np.array(found, dtype=np.float64)
        if self.expected:  # some cell was bad
            for place in np.flatnonzero(np.isnan(as_columns(values)[:, 0])).tolist():
                if found[place] is self.instead:
                    self.bad += 1
                    if len(self.examples) < NAMED:
                        self.examples.append((int(lines[place]), column[place][: LONG_CELL + 1]))
        if self.spec["type"] == "category":
            places = np.flatnonzero(values == 0).tolist() if not self.role else []
            self.num_unknown += len(places)
            for place in places if len(self.unknown) < MAX_CACHED else []:
                self.unknown[column[place][: LONG_CELL + 1]] += 1
        return values

    def value_of(self, cell: str) -> Any:
        try:
            value = self.read(cell)
        except cells.BadCell as error:
            self.expected = str(error)
            return self.instead
        if self.spec["type"] == "category":
            return float(MISSING_CODE) if value == "" else self.codes.get(value, 0.0)
        if self.spec["type"] == "date":
            return value if cells.has_time(self.spec) else value[0]
        return value

    def bad_told(self, total: int) -> str:
        keys = self.keys[self.spec["type"]]
        what = f"{self.bad} of {total} cells are bad ({self.expected})"
        some = ", ".join(f"line {line} has {shown(cell)}" for line, cell in self.examples)
        return f"column {printable(self.name)}{self.role}: {what}: {some} ({self.other_sign() or f'keys: {keys}'})"

    def other_sign(self) -> str:
        """The key that would make numbers of the bad cells, where they have another sign before the fraction."""
        decimal = {".": ",", ",": "."}[self.spec.get("decimal", ".")]
        if self.spec["type"] == "number" and self.spec.get("thousands", "") != decimal:
            read = cells.reader_of(self.spec | {"decimal": decimal})
            if all(is_read(read, cell) for _, cell in self.examples):
                return f"numbers with decimal: {decimal!r}"
        return ""

    def unknown_told(self, total: int) -> str:
        words = ", ".join(f"{shown(word)} ({count})" for word, count in self.unknown.most_common(NAMED))
        what = f"{self.num_unknown} of {total} cells are none of its {len(self.codes)} levels and count as unknown"
        return f"column {printable(self.name)}: {what}: {words} (key: levels)"


class TargetReader(ColumnReader):
    """Of a column to be predicted: a number, or the place of its class; NaN where there is none. A class that the schema lacks is bad."""

    role = ", the target"

    def value_of(self, cell: str) -> Any:
        value = super().value_of(cell)
        if self.spec["type"] != "category" or value is self.instead:
            return value
        if value == 0:
            self.expected = f"expected one of {named(list(self.codes))}"
            return self.instead
        return math.nan if value == MISSING_CODE else value - FIRST_LEVEL


def is_read(read: Callable[[str], Any], cell: str) -> bool:
    try:
        read(cell)
    except cells.BadCell:
        return False
    return True


def quick_numbers(spec: cells.Column) -> Callable[[Sequence[str]], np.ndarray | None]:
    """From the cells of a column to float64 [k], where each is a plain number or missing; None where a cell is anything else.

    Of cells of digits, signs and exponents alone float() takes what cells.number() does, and in the same way; signs between thousands are
    taken out where they stand as they should in every cell.
    """
    decimal, thousands, words = spec.get("decimal", "."), spec.get("thousands", ""), dict.fromkeys(spec.get("missing", ()), "")
    signs = b"0123456789+-eE" + decimal.encode()
    whole = rf"(?:[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+)"
    grouped = re.compile(rf"(?>(?:[+-]?{whole}(?:{re.escape(decimal)}[0-9]*)?)?\n)*+") if thousands else None

    def quick(column: Sequence[str]) -> np.ndarray | None:
        if words:
            column = [words.get(cell, cell) for cell in column]
        text, ends = "\n".join(column), len(column) - 1
        if not text.isascii() or text.count("\n") != ends or max(map(len, column)) > cells.MAX_NUMBER:
            return None
        if grouped and thousands in text and grouped.fullmatch(f"{text}\n"):
            text = text.replace(thousands, "")
        if text.encode().translate(None, signs) != b"\n" * ends:
            return None
        try:
            values = np.array([float(cell or "nan") for cell in text.replace(decimal, ".").split("\n")])
        except ValueError:
            return None
        return None if (np.abs(values) > cells.LARGEST).any() else values

    return quick


def shown(cell: str) -> str:
    return f"'{printable(cell if len(cell) <= LONG_CELL else f'{cell[:LONG_CELL]}...')}'"


def as_columns(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 2 else values[:, None]


def warn(notes: list[str]) -> None:
    for note in notes:
        print(f"warning: {note}.", file=sys.stderr)
