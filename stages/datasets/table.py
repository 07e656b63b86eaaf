"""Tables of anybody's: a text file of rows (CSV, TSV) with numbers, words, dates and gaps, read as data/schemas/<dataset>.yaml says.

Reads   raw/<file>, once; rows that are read wait in a file without a name until the splits are chosen, so memory holds a label and a hash
        a row.

A cell that is not what its column says counts as missing, and a row without a label is left out: both are counted and named, and more of
them than `max_bad_fraction` are refused.
"""

import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from examples import cells
from stages.common.meta import Category, Column, Input, Table
from stages.common.params import Section
from stages.common.splits import SPLITS, hold_out
from stages.reading.contents import Contents, LeftOutItems, printable
from stages.reading.delimited import data_rows
from stages.reading.schema import ColumnSchema, Schema, read_schema
from stages.shell.errors import UserError

# What no other kind of data reads with: check puts a hash of these into data/checked/datasets/<dataset>.json.
READS = ("examples/cells.py", "examples/rows.py", "stages/reading/delimited.py", "stages/reading/schema.py")
CHUNK_CELLS = 1 << 18
MAX_CACHED = 1 << 16  # different cells of a column whose meaning is remembered
MISSING_CODE, FIRST_LEVEL = 1, 2  # of a category; 0 is unknown
MIN_TO_SPLIT = 3  # items of a class, of which fewer all stay in train
NAMED = 3  # examples of bad cells of a column


class Preprocess(Section):
    """`test_fraction` is of all rows, `val_fraction` of what remains, both spread over the classes. Rows with equal inputs stay together,
    and so do rows with the same cell in the column `group`. `time` names a column of dates or numbers: the last rows by it are test, those
    before them val. `split` names a column whose cells say it: train, val (or valid, validation) and test.
    """

    input_kind: ClassVar[str] = "table"
    task: Literal["binary", "multiclass", "multilabel", "regression"]
    test_fraction: float = Field(ge=0, lt=1)
    val_fraction: float = Field(ge=0, lt=1)
    group: str | None = None
    time: str | None = None
    split: str | None = None
    max_bad_fraction: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _one_way_to_split(self) -> "Preprocess":
        if len([way for way in (self.group, self.time, self.split) if way is not None]) > 1:
            raise ValueError("expected at most one of group, time and split")
        return self


def pinned(dataset: str, preprocess: Preprocess) -> dict[str, Any]:
    """The dataset's schema, as check writes it for preprocess to read; refused where it does not fit `preprocess`."""
    schema, key = read_schema(dataset), f"data/schemas/{dataset}.yaml"
    targets = [schema.columns[name] for name in schema.targets]
    is_number, levels = [target.type == "number" for target in targets], [len(target.levels or []) for target in targets]
    fits = {
        "regression": all(is_number),
        "binary": levels == [2],
        "multiclass": len(levels) == 1 and levels[0] > 2,
        "multilabel": all(number == 2 for number in levels),
    }
    if not fits[preprocess.task]:
        has = ", ".join(
            f"{name} ({'numbers' if yes else f'{number} levels'})"
            for name, yes, number in zip(schema.targets, is_number, levels, strict=True)
        )
        raise UserError(
            f"params.yaml: datasets.{dataset}.preprocess.task is {preprocess.task}, which does not fit the targets of {key}: {has}."
        )
    for way in ("group", "time", "split"):
        name = getattr(preprocess, way)
        if name is not None and (name not in schema.columns or name in schema.targets):
            raise UserError(
                f"params.yaml: datasets.{dataset}.preprocess.{way} is {name!r}, which is not a column of {key} besides the targets."
            )
    return schema.model_dump(exclude_none=True, exclude={"columns": {name: {"why", "example"} for name in schema.columns}})


def read(raw: Path, preprocess: Preprocess, seed: int, schema: Schema) -> Contents:
    path, rows = raw / schema.file, Rows(raw / schema.file, schema, preprocess)
    try:
        rows.read()
        places = rows.choose_splits(seed)
    except BaseException:
        rows.file.close()
        raise
    inputs, first = schema.inputs(), schema.columns[schema.targets[0]]
    words = "numbers" if preprocess.task == "regression" else "classes"
    return Contents(
        description=f"The rows of {path.name}: {len(inputs)} columns, and {', '.join(schema.targets)} to be predicted.",
        input=Input(
            kind="table",
            shape=[rows.width],
            dtype="float32",
            table=Table(
                numbers=rows.numbers,
                dates=[name for name, column in inputs.items() if column.type == "date"],
                times=[name for name in rows.numbers if name not in inputs],
                categories=[
                    Category(name=name, levels=column.levels or [], rare=[]) for name, column in inputs.items() if column.type == "category"
                ],
                format=rows.format,
                columns={name: Column(**column.spec()) for name, column in inputs.items()},
                edges=[],
                gaps=[],
            ),
        ),
        classes=None if words == "numbers" else schema.targets if preprocess.task == "multilabel" else first.levels,
        outputs=schema.targets if words == "numbers" else None,
        chunks=rows.by_split(places),
        left_out=rows.left_out,
        measure=True,
        standardise_targets=words == "numbers",
    )


class Rows:
    """The rows of a table as numbers: float32 [width] of numbers and codes of categories; `targets` as the task has them."""

    def __init__(self, path: Path, schema: Schema, preprocess: Preprocess):
        self.path, self.schema, self.preprocess = path, schema, preprocess
        inputs = schema.inputs()
        specs = {name: column.spec() for name, column in inputs.items()}
        self.numbers = [one for name, spec in specs.items() if spec["type"] != "category" for one in cells.feature_names(name, spec)]
        categories = [name for name, spec in specs.items() if spec["type"] == "category"]
        self.width = len(self.numbers) + len(categories)
        self.order = [*(name for name in inputs if name not in categories), *categories]
        self.readers = {name: ColumnReader(name, schema.columns[name]) for name in self.order}
        self.readers |= {name: TargetReader(name, schema.columns[name]) for name in schema.targets}
        self.ways = {way: name for way in ("group", "time", "split") if (name := getattr(preprocess, way)) is not None}
        self.file = tempfile.TemporaryFile()  # noqa: SIM115  # until by_split() has read it
        self.left_out, self.bad_rows, self.without_label = LeftOutItems(), 0, 0
        self.lines, self.targets, self.hashes, self.marks = list[np.ndarray](), list[np.ndarray](), list[np.ndarray](), list[Any]()

    def read(self) -> None:
        """Reads the file; raises UserError where too much of it is bad."""
        wanted = list(dict.fromkeys([*self.order, *self.schema.targets, *self.ways.values()]))
        form = self.schema.format
        places, self.num_columns, rows = data_rows(self.path, form, wanted)
        by_place = None if form.header else [f"column {place}" for place in range(1, self.num_columns + 1)]
        self.format = form.model_copy(update={"names": form.names or by_place})
        self.place = dict(zip(wanted, places, strict=True))
        total = 0
        while chunk := list(islice(rows, max(1, CHUNK_CELLS // self.num_columns))):
            total += len(chunk)
            self.add([row for row in chunk if self.is_whole(row)])
        self.settle(total)

    def is_whole(self, row: tuple[int, list[str]]) -> bool:
        line, found = row
        if len(found) == self.num_columns:
            return True
        self.bad_rows += 1
        self.left_out.add(f"{self.path.name} line {line}", f"has {len(found)} cells, not {self.num_columns}")
        return False

    def add(self, chunk: list[tuple[int, list[str]]]) -> None:
        if not chunk:
            return
        lines = np.array([line for line, _ in chunk], dtype=np.int64)
        columns = {name: [row[place] for _, row in chunk] for name, place in self.place.items()}
        targets = np.stack([self.readers[name](columns[name], lines) for name in self.schema.targets], axis=-1)
        good = ~np.isnan(targets).any(axis=-1)
        for line in lines[~good]:
            self.without_label += 1
            self.left_out.add(f"{self.path.name} line {line}", f"has no {' or '.join(self.schema.targets)}")
        values = np.concatenate([as_columns(self.readers[name](columns[name], lines)) for name in self.order], axis=1)[good]
        self.file.write(values.astype(np.float32).tobytes())
        self.hashes.append(hashes_of(values))
        self.lines.append(lines[good])
        self.targets.append(targets[good])
        for name in self.ways.values():
            self.marks += [cells.stripped(cell) for cell, keep in zip(columns[name], good, strict=True) if keep]

    def settle(self, total: int) -> None:
        """Refuses what cannot be learned from, column by column, and says what was read with a grain of salt."""
        path, most = self.path, self.preprocess.max_bad_fraction
        if not total:
            raise UserError(f"{path} has a header and no rows: there is nothing to learn from.")
        problems, notes = list[str](), list[str]()
        for reader in self.readers.values():
            if reader.bad:
                (problems if reader.bad > most * total else notes).append(reader.told(total))
            if reader.unknown:
                notes.append(reader.unknown_told())
        if self.bad_rows > most * total:
            problems.append(
                f"{self.bad_rows} of {total} rows have another number of cells than {self.num_columns}: {'; '.join(self.left_out.examples)}"
            )
        if problems:
            where = f"data/schemas (or raise preprocess.max_bad_fraction, now {most:g})"
            raise UserError(
                f"{path} cannot be read as its schema says: {'; '.join(problems)}: fix the file, or how its columns are read in {where}."
            )
        if self.left_out.count == total:
            examples = "; ".join(self.left_out.examples)
            raise UserError(f"{path}: no row has a {' and '.join(self.schema.targets)}: check the schema's targets ({examples}).")
        self.left_out.settle(total, 1.0)
        warn(notes)

    def choose_splits(self, seed: int) -> np.ndarray:
        """For every row the place of its split in SPLITS, uint8 [n]."""
        section = self.preprocess
        if section.split:
            return splits_said(self.marks, self.ways["split"])
        if section.time:
            column = self.schema.columns[section.time]
            return splits_by_time(times_of(self.marks, column, section.time), section.val_fraction, section.test_fraction)
        whole = np.concatenate(self.hashes)
        groups = np.unique(self.marks if section.group else whole, return_inverse=True)[1]
        targets = np.concatenate(self.targets)
        one_class = targets.shape[1] == 1 and section.task != "regression"
        labels = targets[:, 0].astype(np.int64) if one_class else np.zeros(len(targets), dtype=np.int64)
        return splits_by_group(groups, labels, seed, section.val_fraction, section.test_fraction)

    def by_split(self, places: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(split, inputs, targets, lines) of the rows, each given to the split at its place."""
        start, size = 0, max(1, CHUNK_CELLS // self.width)
        targets, lines = np.concatenate(self.targets), np.concatenate(self.lines)
        shaped = self.shaped(targets)
        with self.file as file:
            file.seek(0)
            while start < len(lines):
                stop = min(start + size, len(lines))
                rows = np.frombuffer(file.read((stop - start) * self.width * 4), dtype=np.float32).reshape(-1, self.width)
                for place, split in enumerate(SPLITS):
                    here = places[start:stop] == place
                    yield split, rows[here], shaped[start:stop][here], lines[start:stop][here]
                start = stop

    def shaped(self, targets: np.ndarray) -> np.ndarray:
        if self.preprocess.task == "regression":
            return targets.astype(np.float32)
        return targets.astype(np.uint8) if self.preprocess.task == "multilabel" else targets[:, 0].astype(np.int64)


class ColumnReader:
    """Cells of one column to float64 [k], or [k, 2] of a date with its time; of a category to codes, of a target with classes to its place.

    What a cell means is remembered, since most columns say the same few things over and over.
    """

    def __init__(self, name: str, column: ColumnSchema):
        self.name, self.spec, self.known = name, column.spec(), dict[str, Any]()
        self.read, self.bad, self.examples = cells.reader_of(self.spec), 0, list[str]()
        self.unknown: Counter[str] = Counter()
        self.codes = {level: code for code, level in enumerate(column.levels or [], start=FIRST_LEVEL)}

    def __call__(self, column: list[str], lines: np.ndarray) -> np.ndarray:
        known, values = self.known, list[Any]()
        for cell, line in zip(column, lines, strict=True):
            value = known.get(cell)
            if value is None:
                value = self.value_of(cell)
                if len(known) >= MAX_CACHED:
                    known.clear()
                known[cell] = value
            if value.__class__ is Bad:
                self.bad += 1
                if len(self.examples) < NAMED:
                    self.examples.append(f"line {line} has {printable(cell)!r}")
                value = value.instead
            elif value.__class__ is int and value == 0 and len(self.unknown) < MAX_CACHED:
                self.unknown[cell] += 1
            values.append(value)
        return np.array(values, dtype=np.float64)

    def value_of(self, cell: str) -> Any:
        try:
            value = self.read(cell)
        except cells.BadCell as error:
            self.expected = str(error)
            return Bad(cells.MISSING if cells.has_time(self.spec) else math.nan)
        if self.spec["type"] == "category":
            return MISSING_CODE if value == "" else self.codes.get(value, 0)
        if self.spec["type"] == "date":
            return value if cells.has_time(self.spec) else value[0]
        return value

    def told(self, total: int) -> str:
        return f"column {self.name}: {self.bad} of {total} cells are bad ({self.expected}): {', '.join(self.examples)}"

    def unknown_told(self) -> str:
        words = ", ".join(f"{printable(word)!r} ({count})" for word, count in self.unknown.most_common(NAMED))
        return f"column {self.name}: {len(self.unknown)} words that the schema does not have count as unknown: {words}"


class TargetReader(ColumnReader):
    """Of a column to be predicted: a number, or the place of its class; NaN where there is none. A class that the schema lacks is bad."""

    def value_of(self, cell: str) -> Any:
        value = super().value_of(cell)
        if self.spec["type"] != "category" or value.__class__ is Bad:
            return value
        if value == 0:
            self.expected = f"expected one of {', '.join(self.codes)}"
            return Bad(math.nan)
        return math.nan if value == MISSING_CODE else float(value - FIRST_LEVEL)


class Bad:
    """Stands for a cell that cannot be read."""

    def __init__(self, instead: Any):
        self.instead = instead


def as_columns(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 2 else values[:, None]


def hashes_of(rows: np.ndarray) -> np.ndarray:
    """uint64 [n]: the same for equal rows; -0 and 0 are equal, and so are gaps."""
    bits = np.nan_to_num(rows + 0.0, nan=1.2345e300).astype(np.float64).view(np.uint64)
    total = np.full(len(rows), 0x9E3779B97F4A7C15, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in bits.T:
            total = (total ^ column) * np.uint64(0x100000001B3)
            total ^= total >> np.uint64(29)
    return total


def splits_by_group(groups: np.ndarray, labels: np.ndarray, seed: int, val_fraction: float, test_fraction: float) -> np.ndarray:
    """Groups, int64 [n] from 0, stay whole; they are spread over the labels (of a group, its first row's). Classes of a few groups stay
    in train.
    """
    # Groups in the order of the file: which rows are held out depends on no value but the label.
    _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(first)
    groups = np.argsort(order)[groups]
    own = labels[first[order]]
    counts = np.bincount(own, minlength=own.max() + 1)
    places, spread = np.zeros(len(own), dtype=np.uint8), counts[own] >= MIN_TO_SPLIT
    for place, fraction in ((2, test_fraction), (1, val_fraction)):
        free = np.flatnonzero(spread & (places == 0))
        places[free[hold_out(own[free], fraction, seed)]] = place
    return places[groups]


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


def times_of(marks: list[str], column: ColumnSchema, name: str) -> np.ndarray:
    """Seconds, or the numbers, of the cells by which rows are split."""
    if column.type not in ("number", "date"):
        raise UserError(
            f"preprocess.time is {name!r}, a column of type {column.type} in the schema: make it a date (with formats) or a number."
        )
    read, values = cells.reader_of(column.spec()), list[float]()
    for cell in marks:
        try:
            value = read(cell)
        except cells.BadCell:
            value = cells.MISSING if column.type == "date" else math.nan
        values.append(value[0] * 86400 + value[1] if isinstance(value, tuple) else value)
    times = np.array(values)
    if np.isnan(times).any():
        raise UserError(f"preprocess.time is {name!r}, but {int(np.isnan(times).sum())} rows have none: fill them in, or split otherwise.")
    return times


def splits_said(marks: list[str], name: str) -> np.ndarray:
    words = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}
    if unknown := sorted({mark for mark in marks if mark.lower() not in words})[:NAMED]:
        raise UserError(
            f"preprocess.split is {name!r}, whose cells must be train, val or test; it has {', '.join(map(repr, map(printable, unknown)))}."
        )
    return np.array([words[mark.lower()] for mark in marks], dtype=np.uint8)


def warn(notes: list[str]) -> None:
    for note in notes:
        print(f"warning: {note}.", file=sys.stderr)
