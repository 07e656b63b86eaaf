"""Tables of anybody's: a text file of rows (CSV, TSV) with numbers, words, dates and gaps, read as data/schemas/<dataset>.yaml says.

Reads   raw/<file>, once; rows that are read wait in a file without a name beside raw/ until the splits are chosen, so memory holds about
        15 bytes a row, then.

A cell that is not what its column says counts as missing, and a row without a label is left out: both are counted and named, and more of
them than `max_bad_fraction` are refused. So are words of a column that its levels do not have.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from examples import cells
from examples.rows import Row, listed
from stages.common.meta import Category, Column, Input, Table
from stages.common.params import Section
from stages.common.splits import SPLITS
from stages.reading.columns import ColumnReader, TargetReader, as_columns, warn
from stages.reading.contents import Contents, LeftOutItems
from stages.reading.delimited import data_rows, form_of, in_chunks, named
from stages.reading.group_splits import firsts_of, num_groups, splits_by_first
from stages.reading.row_splits import Group, Said, Time, splits_by_time
from stages.reading.schema import SCHEMAS, Schema, path_of, read_schema
from stages.shell.errors import UserError

# What no other kind of data reads with: check puts a hash of these into data/checked/datasets/<dataset>.json.
READS = (
    "examples/cells.py",
    "examples/parquet.py",
    "examples/rows.py",
    "stages/reading/columns.py",
    "stages/reading/delimited.py",
    "stages/reading/group_splits.py",
    "stages/reading/row_splits.py",
    "stages/reading/schema.py",
)
CHUNK_CELLS = 1 << 15


class Preprocess(Section):
    """`test_fraction` is of all rows, `val_fraction` of what remains, both spread over the classes. Rows with equal inputs stay together
    where at least half of all are different, and so do rows with the same cell in the column `group`. `time` names a column of dates or
    numbers: the last rows by it are test, those before them val. `split` names a column whose cells say it: train, val (or valid,
    validation) and test.
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
        rows.close()
        raise
    if others := sorted(file.name for file in raw.iterdir() if file.name != schema.file and not file.name.startswith(".")):
        warn([f"{raw} holds {listed(others)} too, and {schema.file} alone is read: the schema's `file` says which"])
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
        self.has_classes = len(schema.targets) == 1 and schema.columns[schema.targets[0]].type == "category"
        self.order = [*(name for name in inputs if name not in categories), *categories]
        self.readers = {name: ColumnReader(name, schema.columns[name]) for name in self.order}
        self.readers |= {name: TargetReader(name, schema.columns[name]) for name in schema.targets}
        self.way = way_to_split(schema, preprocess)
        self.record = np.dtype([("rows", "<f4", (self.width,)), ("targets", "<f8", (len(schema.targets),)), ("line", "<i8")])
        self.file = tempfile.TemporaryFile(dir=path.parent.parent)  # noqa: SIM115  # until by_split() has read it; /tmp may be memory
        self.left_out, self.total, self.bad_rows, self.without_label, self.count = LeftOutItems(), 0, 0, 0, 0
        self.marks = tempfile.TemporaryFile(dir=path.parent.parent)  # noqa: SIM115  # by which rows are split
        self.mark = np.dtype(self.way.dtype if self.way else np.uint64)

    def read(self) -> None:
        """Reads the file; raises UserError where too much of it is bad."""
        wanted = list(dict.fromkeys([*self.order, *self.schema.targets, *([self.way.name] if self.way else [])]))
        form, specs = form_of(self.path, self.schema.format), {name: self.schema.columns[name].spec() for name in wanted}
        places, names, rows = data_rows(self.path, form, wanted, specs)
        self.num_columns = len(names)
        by_place = None if form.header else [f"column {place}" for place in range(1, self.num_columns + 1)]
        self.format = form.model_copy(update={"names": form.names or by_place})
        if extra := [name for name in names if name not in self.schema.columns]:
            warn([f"{self.path} has columns that its schema does not have, and that are not read: {named(extra)}"])
        self.place = dict(zip(wanted, places, strict=True))
        for chunk in in_chunks(self.whole(rows), max(1, CHUNK_CELLS // self.num_columns)):
            self.add(chunk)
        self.settle(self.total)

    def whole(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Rows with as many cells as there are columns; others are counted and named, with how far they go on where a quote is open."""
        for row in rows:
            self.total += 1
            if len(row[1]) == self.num_columns:
                yield row
                continue
            self.bad_rows += 1
            further = sum(cell.count("\n") for cell in row[1])
            quote = f", and goes on to line {row[0] + further}: is a quote not closed?" if further else ""
            self.left_out.add(f"{self.path.name} line {row[0]}", f"has {len(row[1])} cells, not {self.num_columns}{quote}")

    def add(self, chunk: list[Row]) -> None:
        columns, lines = list(zip(*(found for _, found in chunk), strict=True)), np.array([line for line, _ in chunk], dtype=np.int64)
        read = {name: reader(columns[self.place[name]], lines) for name, reader in self.readers.items()}
        targets = np.stack([read[name] for name in self.schema.targets], axis=-1)
        good = ~np.isnan(targets).any(axis=-1)
        for line in lines[~good]:
            self.without_label += 1
            self.left_out.add(f"{self.path.name} line {line}", f"has no {' or '.join(self.schema.targets)}")
        values = np.concatenate([as_columns(read[name]) for name in self.order], axis=1)[good]
        block = np.empty(len(values), self.record)
        block["rows"], block["targets"], block["line"] = values, targets[good], lines[good]
        self.file.write(block.tobytes())
        self.count += len(block)
        marks = self.way(columns[self.place[self.way.name]])[good] if self.way else hashes_of(values)
        self.marks.write(marks.astype(self.mark).tobytes())

    def settle(self, total: int) -> None:
        """Refuses what cannot be learned from, column by column, and says what was read with a grain of salt."""
        path, most = self.path, self.preprocess.max_bad_fraction
        if not total:
            raise UserError(f"{path} has a header and no rows: there is nothing to learn from.")
        problems, notes = list[str](), list[str]()
        for reader in self.readers.values():
            if reader.bad:
                (problems if reader.bad > most * total else notes).append(reader.bad_told(total))
            if reader.num_unknown:
                (problems if reader.num_unknown > most * total else notes).append(reader.unknown_told(total))
        if self.bad_rows > most * total:
            examples = "; ".join(self.left_out.examples)
            problems.append(f"{self.bad_rows} of {total} rows have another number of cells than {self.num_columns}: {examples}")
        if problems:
            schema = path_of(path.parent.parent.name)
            where = schema if schema.exists() else SCHEMAS / "<dataset>.yaml"
            raise UserError(
                f"{path} cannot be read as its schema says: {'; '.join(problems)}: fix the file, or the keys of these columns in {where} "
                f"(or raise preprocess.max_bad_fraction, now {most:g}, and what is bad counts as missing then)."
            )
        if self.left_out.count == total:
            examples = "; ".join(self.left_out.examples)
            raise UserError(f"{path}: no row has a {' and '.join(self.schema.targets)}: check the schema's targets ({examples}).")
        self.left_out.settle(total, 1.0)
        warn(notes)

    def choose_splits(self, seed: int) -> np.ndarray:
        """For every row the place of its split in SPLITS, uint8 [n]."""
        section = self.preprocess
        with self.marks as file:
            file.seek(0)
            marks = np.fromfile(file, self.mark)
        if self.way:
            self.way.refuse(marks)
        if section.split:
            return marks
        if section.time:
            return splits_by_time(marks, section.val_fraction, section.test_fraction)
        firsts = self.way.each_alone(marks) if self.way else firsts_of(marks)
        del marks
        number = num_groups(firsts)
        if not self.way and 2 * number < len(firsts):  # of a few large groups there is no fair split
            warn([f"{len(firsts)} rows have only {number} different inputs: they are split one by one, equal ones into all splits"])
            firsts = np.arange(len(firsts), dtype=firsts.dtype)
        places = splits_by_first(firsts, self.labels(), seed, section.val_fraction, section.test_fraction)
        for split, fraction in (("train", 1), ("val", section.val_fraction), ("test", section.test_fraction)):
            if self.way and fraction and not (places == SPLITS.index(split)).any():
                fix = "take a column with more groups, other fractions, or no group"
                raise UserError(f"preprocess.group is {self.way.name!r}, whose {number} groups leave no row for {split}: {fix}.")
        return places

    def labels(self) -> np.ndarray:
        """Over which rows are spread: classes, in as few bytes as they need."""
        labels = np.zeros(self.count, np.min_scalar_type(len(self.schema.columns[self.schema.targets[0]].levels or [])))
        if self.has_classes:
            for start, block in self.blocks():
                labels[start : start + len(block)] = block["targets"][:, 0]
        return labels

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(place of the first, records) of all rows, some at a time."""
        size = max(1, CHUNK_CELLS // self.width)
        self.file.seek(0)
        for start in range(0, self.count, size):
            number = min(size, self.count - start)
            yield start, np.frombuffer(self.file.read(number * self.record.itemsize), dtype=self.record)

    def close(self) -> None:
        self.file.close()
        self.marks.close()

    def by_split(self, places: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(split, inputs, targets, lines) of the rows, each given to the split at its place."""
        with self.file:
            for start, block in self.blocks():
                here, targets = places[start : start + len(block)], self.shaped(block["targets"])
                for place, split in enumerate(SPLITS):
                    own = here == place
                    yield split, block["rows"][own], targets[own], block["line"][own]

    def shaped(self, targets: np.ndarray) -> np.ndarray:
        if self.preprocess.task == "regression":
            return targets.astype(np.float32)
        return targets.astype(np.uint8) if self.preprocess.task == "multilabel" else targets[:, 0].astype(np.int64)


def hashes_of(rows: np.ndarray) -> np.ndarray:
    """uint64 [n]: the same for equal rows; -0 and 0 are equal, and so are gaps."""
    bits = np.nan_to_num(rows + 0.0, nan=1.2345e300).astype(np.float64).view(np.uint64)
    total = np.full(len(rows), 0x9E3779B97F4A7C15, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in bits.T:
            total = (total ^ column) * np.uint64(0x100000001B3)
            total ^= total >> np.uint64(29)
    return total


def way_to_split(schema: Schema, preprocess: Preprocess) -> Group | None:
    """None where rows that are equal stay together, and nothing else is said."""
    if preprocess.group is not None:
        return Group(preprocess.group, schema.columns[preprocess.group])
    if preprocess.time is not None:
        return Time(preprocess.time, schema.columns[preprocess.time])
    return Said(preprocess.split, schema.columns[preprocess.split]) if preprocess.split is not None else None
