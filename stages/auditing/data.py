"""The splits of a dataset as the checks look at them: a hash of every row, and of an even sample of them the columns.

Memory holds a few numbers a row, and of a sample at most MAX_CELLS cells; of pictures and texts what stages/auditing/items.py says.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.auditing.findings import LONGEST, NUM_NAMED, Example
from stages.auditing.items import Items, items_of
from stages.common.meta import Input, Meta
from stages.common.shown import as_shown
from stages.common.splits import SPLITS, SplitFile, middle, read_names

MAX_ROWS, MAX_CELLS = 100_000, 1 << 23  # of the sample
PIECE_BYTES = 1 << 24
TRAIN, VAL, TEST = range(3)  # places in SPLITS


@dataclass(frozen=True)
class Column:
    """Of the inputs. A category has codes, whose words are `levels`; in others NaN is missing, and in some 0 is too."""

    name: str
    type: Literal["number", "date", "time", "category"]
    levels: tuple[str, ...] = ()
    zero_is_missing: bool = False


def columns_of(described: Input) -> list[Column]:
    """Of rows that have columns with names; none of pictures and texts."""
    if (table := described.table) is not None:
        types: dict[str, Any] = dict.fromkeys(table.dates, "date") | dict.fromkeys(table.times, "time")
        numbers = [Column(name, types.get(name, "number")) for name in table.numbers]
        return numbers + [Column(one.name, "category", tuple(one.levels)) for one in table.categories]
    zeros = described.zero_is_missing or []
    return [Column(name, "number", zero_is_missing=name in zeros) for name in described.names or []]


@dataclass(frozen=True)
class Target:
    """One target of the sample: places of `classes`, or numbers where there are none; float64 [n]."""

    name: str
    classes: tuple[str, ...]
    values: np.ndarray


@dataclass(frozen=True)
class Audited:
    """`label` is how the class of an item is called: a table's column, or "the class". `ways` are the keys of the dataset's section
    preprocess by which rows were split, with their columns. `keeps_copies`: whether the kind of data can keep copies in one split;
    `copies_are_kept`: whether it did. `names` are of raw files, where `all_lines` are places in it. `shape` is what rows of all splits
    have; `items` are pictures or texts, None of rows with columns.

    All rows, train's first, as the files have them: `hashes` of the inputs and `target_hashes`, uint64; `places` of their splits in SPLITS;
    `all_lines` of the raw file, or None. The sample, in the order of the raw file where that is known: `cells` float64 [n, columns], of
    `sample_places` and `lines`; `low` and `high` of each column over all rows of train, NaN where that is missing everywhere.
    """

    meta: Meta
    label: str
    ways: dict[str, str]
    columns: list[Column]
    hashes: np.ndarray
    target_hashes: np.ndarray
    places: np.ndarray
    all_lines: np.ndarray | None
    cells: np.ndarray
    sample_targets: np.ndarray
    sample_places: np.ndarray
    lines: np.ndarray | None
    low: np.ndarray
    high: np.ndarray
    files: list[SplitFile]
    shape: tuple[int, ...]
    items: Items | None
    names: list[str] | None
    keeps_copies: bool
    copies_are_kept: bool

    @property
    def is_table(self) -> bool:
        """Whether a schema says how the columns are read."""
        return self.meta.input.table is not None

    def key(self, column: str, rest: str) -> str:
        """Of the schema, such as: columns.id.type in data/schemas/orders.yaml."""
        return f"columns.{column}.{rest} in data/schemas/{self.meta.dataset}.yaml"

    def advise(self, columns: list[str], rest: str, otherwise: str) -> str:
        """What to set in the schema, `otherwise` where there is none."""
        return f"set {self.key(columns[0], rest)}" if self.is_table else otherwise

    def drop(self, columns: list[str]) -> str:
        return self.advise(columns, "type to dropped", f"leave {columns[0]} out of the file")

    @cached_property
    def targets(self) -> list[Target]:
        """Classes or numbers of the sample; none where an item has a class for each of its parts."""
        values, names = self.sample_targets, self.meta.names
        if self.meta.classes is None or (values.ndim == 2 and values.dtype == np.uint8):
            words = () if self.meta.classes is None else ("no", "yes")
            return [Target(name, words, column.astype(np.float64)) for name, column in zip(names, values.T, strict=True)]
        return [Target(self.label, tuple(names), values.astype(np.float64))] if values.ndim == 1 else []

    def lines_of(self, places: np.ndarray) -> list[int]:
        """Of the raw file, the first of these rows; none where items are files of their own."""
        if self.all_lines is None or self.names is not None:
            return []
        return np.sort(self.all_lines[places])[:NUM_NAMED].tolist()

    def name_of(self, place: int) -> str:
        """Of a row: its raw file, its line, or its number in its split."""
        split, number = self.split_of(place)
        if self.all_lines is None:
            return f"item {number + 1} of {split}"
        line = int(self.all_lines[place])
        return f"line {line}" if self.names is None else as_shown(self.names[line], LONGEST)

    def split_of(self, place: int) -> tuple[str, int]:
        """The split of a row, and its place there."""
        split = int(self.places[place])
        return SPLITS[split], place - int(np.searchsorted(self.places, split))

    def example(self, *places: int) -> list[Example]:
        """Rows to be shown side by side."""
        return [
            Example(split=split, place=number, name=self.name_of(place), label=self.label_of(split, number))
            for place in places
            for split, number in [self.split_of(place)]
        ]

    def label_of(self, split: str, number: int) -> str:
        """In words, where it has classes."""
        (target,) = self.files[SPLITS.index(split)].take("targets", [number])
        classes = self.meta.classes
        if classes is None or (target.ndim and target.dtype != np.uint8):
            return ""
        return as_shown(", ".join([classes[place] for place in (np.flatnonzero(target) if target.ndim else [target])]), LONGEST)

    def with_columns(self, *types: str) -> Iterator[tuple[int, Column, np.ndarray]]:
        """(place, column, cells of the sample) of the columns of some types, or of all."""
        for place, column in enumerate(self.columns):
            if not types or column.type in types:
                yield place, column, self.cells[:, place]


def read_audited(
    processed: Path, meta: Meta, label: str, ways: dict[str, str], keeps_copies: bool = False, copies_are_kept: bool = False
) -> Audited:
    columns, files = columns_of(meta.input), [SplitFile(processed, split) for split in SPLITS]
    shapes = [file.tensors["inputs"][1][1:] for file in files if file.count]
    smallest = tuple(map(min, zip(*shapes, strict=True)))
    has_lines = all("lines" in file.tensors for file in files)
    num_rows = sum(file.count for file in files)
    stride = math.ceil(num_rows / max(1, min(MAX_ROWS, MAX_CELLS // max(1, len(columns)))))
    low, high = np.full(len(columns), np.nan), np.full(len(columns), np.nan)
    items = items_of(meta.input, bool(columns), shapes[0], num_rows)
    parts: dict[str, list[np.ndarray]] = {}
    for place, file in enumerate(files):
        shape, dtype = file.tensors["inputs"][1], file.tensors["inputs"][0]
        size = max(1, PIECE_BYTES // max(1, math.prod(shape[1:]) * dtype.itemsize))
        for start in range(0, file.count, size):
            rows, targets = (file.read(name, start, start + size) for name in ("inputs", "targets"))
            if items is not None:
                items.add(middle(rows, smallest))
            lines = [file.read("lines", start, start + size)] if has_lines else []
            cells = as_cells(rows, columns)
            if place == TRAIN:
                low, high = np.fmin(low, np.fmin.reduce(cells, axis=0)), np.fmax(high, np.fmax.reduce(cells, axis=0))
            picked = slice((-start) % stride, None, stride)
            pieces = {
                "hashes": hashes_of(middle(rows, smallest)),
                "target_hashes": hashes_of(targets),
                "places": np.full(len(rows), place, dtype=np.uint8),
                "cells": cells[picked],
                "sample_targets": targets[picked],
                "sample_places": np.full(len(targets[picked]), place, dtype=np.uint8),
            }
            pieces |= {"all_lines": lines[0], "lines": lines[0][picked]} if lines else {}
            for name, piece in pieces.items():
                parts.setdefault(name, []).append(piece)
    arrays: dict[str, Any] = {"all_lines": None, "lines": None} | {name: np.concatenate(pieces) for name, pieces in parts.items()}
    if arrays["lines"] is not None:
        order = np.argsort(arrays["lines"], kind="stable")
        arrays |= {name: arrays[name][order] for name in ("cells", "sample_targets", "sample_places", "lines")}
    arrays |= {"low": low, "high": high, "keeps_copies": keeps_copies, "copies_are_kept": copies_are_kept}
    names = read_names(processed) if has_lines else None
    return Audited(meta=meta, label=label, ways=ways, columns=columns, files=files, shape=smallest, items=items, names=names, **arrays)


def as_cells(rows: np.ndarray, columns: list[Column]) -> np.ndarray:
    """float64 [n, columns] with NaN where a number is missing; [n, 0] of rows without columns."""
    if not columns:
        return np.empty((len(rows), 0))
    cells = rows.astype(np.float64)
    zeros = [place for place, column in enumerate(columns) if column.zero_is_missing]
    cells[:, zeros] = np.where(cells[:, zeros] == 0, np.nan, cells[:, zeros])
    return cells


def hashes_of(rows: np.ndarray) -> np.ndarray:
    """uint64 [n]: the same for equal rows; -0 and 0 are equal, and so are gaps."""
    if rows.dtype.kind == "f":
        rows = np.where(np.isnan(rows), np.float32(np.nan), rows + np.float32(0))
    octets = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    octets = np.pad(octets, ((0, 0), (0, -octets.shape[1] % 8)))
    weights = np.random.default_rng(0).integers(1, 1 << 63, size=(octets.shape[1] // 8, 2), dtype=np.uint64)
    words = np.ascontiguousarray(octets).view(np.uint64) ^ weights[:, 0]
    with np.errstate(over="ignore"):
        for shift in (32, 29):  # every bit of a word must reach the high ones before they are summed
            words ^= words >> np.uint64(shift)
            words *= np.uint64(0x9E3779B97F4A7C15)
        words ^= words >> np.uint64(32)
        return (words * (weights[:, 1] | np.uint64(1))).sum(axis=1, dtype=np.uint64)
