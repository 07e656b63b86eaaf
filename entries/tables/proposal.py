"""A dataset and a model of a table: looks at the file, says what it found, a line a column, and proposes the two entries and the schema."""

import argparse
import re
import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from entries.lines import in_line
from entries.project import ask
from entries.proposal import is_usable, reads_like_splits
from entries.tables.columns import CELLS_LOOKED_AT, LOOKED_AT, Question, Seen, Told, describe, way_of_numbers
from entries.tables.formats import format_of
from examples.cells import pattern_of_dates
from stages.common.files import naming
from stages.common.params import check_section
from stages.datasets.table import Preprocess
from stages.reading.contents import printable
from stages.reading.delimited import all_rows, is_parquet, names_of, refuse_workbook, unreadable
from stages.reading.schema import ColumnSchema, Schema
from stages.shell.errors import UserError

VAL_FRACTION = 0.15  # of what is not test
BAD_ROWS = 0.1  # of a new delivery that may be left out
# How the network for tables is trained, chosen by val (benchmarks/README.md): numbers take more and larger steps than classes, of which it
# soon knows too much, and a batch of more than 256 rows is hardly faster on a CPU.
FIRST_BATCH, BATCH, LARGE_BATCH = 64, 256, 1024
STEPS = 200  # an epoch has about so many at least, before a batch of numbers grows
LARGE = 500_000  # rows
RATE_OF_NUMBERS = 0.004
EPOCHS = (5, 60)
BUDGET = 50_000_000  # rows * columns * epochs, COLUMNS added for what no column needs: about a minute of one core
MOST = 10 * BUDGET  # so much the fewest epochs may take, or they are fewer
COLUMNS = 40
CHUNK = 10_000  # rows
LOSSES = {"binary": "BCE", "multilabel": "BCE", "multiclass": "CrossEntropy", "regression": "MSE"}
SHOWN_LEVELS = 4
TOTALS = r"(grand )?total|totals|sum|sums|gesamt|insgesamt|summe|gesamtsumme|total g[eé]n[eé]ral|somme|totale|suma|total general"

MAX_KEY = 1000  # characters of a key of YAML that begins no line with a question mark


COLUMNS_TOLD = ("drop", "number", "category", "date", "missing", "ignore_case")
FORMAT_TOLD = ("encoding", "separator", "decimal", "header", "names")
TAKES = ("target", "test_fraction", "group", "time", "split", *COLUMNS_TOLD, *FORMAT_TOLD)  # options
DATA = "a CSV or TSV file, plain or .gz, or a Parquet file; its folder"


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("tables").add_argument
    add("--drop", action="append", default=[], metavar="COLUMN", help="leave it out")
    add("--number", action="append", default=[], metavar="COLUMN", help="its cells are numbers; others count as missing")
    add("--category", action="append", default=[], metavar="COLUMN", help="its cells are words or codes")
    add("--date", action="append", default=[], metavar="COLUMN=PATTERN|...", help="such as made_on=%%d.%%m.%%Y")
    add("--missing", action="append", default=[], metavar="COLUMN=WORD|...", help="words that mean missing, such as heat=NA|-999")
    add("--ignore-case", action="append", default=[], metavar="COLUMN", help="words that differ by case alone are the same")
    add("--encoding", help="of the file, such as cp1252 or utf-16")
    add("--separator", help="the sign between cells")
    add("--decimal", choices=[".", ","], help="the sign before a number's fraction")
    add("--header", action=argparse.BooleanOptionalAction, default=None, help="whether the first line has the columns' names")
    add("--names", type=lambda text: text.split(","), help="of all columns, in their order, with commas between")
    add("--group", metavar="COLUMN", help="rows with the same cell stay in one split")
    add("--time", metavar="COLUMN", help="the last rows by this column are the test split")
    add("--split", metavar="COLUMN", help="its cells say train, val or test")


def told_by(options: argparse.Namespace) -> Told:
    """What the options say of columns."""
    return Told(
        drop=frozenset(options.drop),
        number=frozenset(options.number),
        category=frozenset(options.category),
        dates=patterns(options.date),
        missing=pairs(options.missing, "--missing"),
        ignore_case=frozenset(options.ignore_case),
        way={".": (".", ""), ",": (",", "."), None: None}[options.decimal],
    )


def fits(path: Path, options: argparse.Namespace) -> bool:
    """It is asked last."""
    return True


def look(path: Path, options: argparse.Namespace) -> "Table":
    """Of a file, or of the one file in a folder."""
    return Table(file_of(path), options)


def file_of(path: Path) -> Path:
    """`path`, or the one file in it."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        if len(files) != 1 or not files[0].is_file():
            raise UserError(
                f"{path} is a folder of {len(files)} things: give one file. For a file each for train and test, make one file of them with "
                "a column that says train, val or test, and name that column (--split)."
            )
        path = files[0]
    if not path.is_file():
        raise UserError(f"{path} is not a file: give a CSV, TSV or Parquet file, its folder, or its address.")
    if not is_usable(path.name):
        raise UserError(f"{path.name!r} cannot be the name of raw data: give the file another name, without signs that are not seen.")
    return path


class Table:
    """A file that was looked at: its format, columns and targets. Raises UserError where something must be told."""

    def __init__(self, path: Path, options: argparse.Namespace):
        refuse_workbook(path)
        told = told_by(options)
        self.path, self.options, self.targets = path, options, targets_of(path, options)
        self.unreadable = unreadable(path) if is_parquet(path) else {}
        self.format, self.why = format_of(path, options.encoding, options.separator, options.header, options.names)
        names, rows = names_of(path, self.format, all_rows(path, self.format))
        self.refuse_unknown(names, told)
        seen = [Seen(name, min(LOOKED_AT, CELLS_LOOKED_AT // len(names))) for name in names]
        self.num_rows, self.bad_lines, last = 0, list[int](), (0, list[str]())
        while chunk := list(islice(rows, CHUNK)):
            self.bad_lines += [line for line, found in chunk if len(found) != len(names)]
            good = [found for _, found in chunk if len(found) == len(names)]
            last = chunk[-1]
            self.num_rows += len(good)
            for column, cells in zip(seen, zip(*good, strict=True), strict=False):
                column.add(cells)
        if not self.num_rows:
            raise UserError(f"{path.name} has a header and no rows: there is nothing to learn from.")
        self.seen = {column.name: column for column in seen}
        self.total = last[0] if any(re.fullmatch(TOTALS, cell.strip(), re.IGNORECASE) for cell in last[1]) else 0
        try:
            said = told.way and (told.way, f"numbers with {told.way[0]!r} before the fraction, as told")
            way, self.why["numbers"] = said or way_of_numbers(seen, self.format.separator)
        except Question as question:
            raise UserError(f"{path.name}: {question}.") from question
        self.columns = self.described(told, way)

    def refuse_unknown(self, names: list[str], told: Told) -> None:
        known = ", ".join(names)
        for name in self.targets + sorted(told.names()):
            if name not in names:
                raise UserError(f"{self.path.name} has no column {name!r}; it has {known}.")
        if len(names) <= len(self.targets):
            what = ", ".join(self.targets)
            raise UserError(f"{self.path.name} has no column besides the target: there is nothing to predict {what} from.")

    def described(self, told: Told, way: tuple[str, str]) -> dict[str, ColumnSchema]:
        """All questions at once."""
        columns, questions = dict[str, ColumnSchema](), list[str]()
        for name, column in self.seen.items():
            try:
                columns[name] = describe(column, told, way, name in self.targets)
            except Question as question:
                questions.append(str(question))
        if self.format.header and not self.format.names:
            unnamed = [name for name, column in columns.items() if re.fullmatch("column [0-9]+", name) and column.type != "dropped"]
            for name in [name for name in unnamed if max(self.seen[name].counts.values()) == 1]:
                columns[name] = ColumnSchema(
                    type="dropped", why="without a name, and different in each row", example=self.seen[name].example
                )
                unnamed.remove(name)
            questions += [
                f"{name} has no name, and is not a row number: say --drop '{name}', or name all (--names a,b,c,...)" for name in unnamed
            ]
        for name in self.targets:
            if name in columns and columns[name].type not in ("number", "category"):
                questions.append(f"{name}, the target, cannot be predicted: {columns[name].why}")
            elif name in columns and columns[name].type == "category" and len(columns[name].levels or []) < 2:
                questions.append(f"{name}, the target, has one class alone, {', '.join(columns[name].levels or [])}")
        if questions:
            raise UserError(f"{self.path.name}: {'; '.join(questions)}.")
        if not [name for name, column in columns.items() if column.type != "dropped" and name not in self.targets]:
            why = "; ".join(f"{name}: {column.why}" for name, column in columns.items())
            raise UserError(f"{self.path.name}: no column is left to predict {', '.join(self.targets)} from: {why}.")
        return columns

    def task(self) -> str:
        kinds = [self.columns[name] for name in self.targets]
        if all(kind.type == "number" for kind in kinds):
            return "regression"
        if len(kinds) > 1:
            if all(len(kind.levels or []) == 2 for kind in kinds):
                return "multilabel"
            raise UserError("several targets must be numbers all, or have two classes each: make a model for each (TARGET=... NAME=...).")
        return "binary" if len(kinds[0].levels or []) == 2 else "multiclass"

    def dataset(self, name: str) -> dict[str, Any]:
        ways = {way: value for way in ("group", "time", "split") if (value := getattr(self.options, way))}
        if len(ways) > 1:
            raise UserError(f"{' and '.join(f'--{way}' for way in ways)} split the rows in different ways: say one of them.")
        for way, column in ways.items():
            if column not in self.columns or column in self.targets:
                raise UserError(f"--{way} is {column!r}, which is not a column of {self.path.name} besides the target.")
            if way == "time" and self.columns[column].type not in ("date", "number"):
                why = self.columns[column].why
                raise UserError(f"--time is {column!r}, which is neither a date nor a number ({why}): say --date or --number.")
        test, val = (0.0, 0.0) if "split" in ways else (self.options.test_fraction, VAL_FRACTION)
        preprocess = {"task": self.task(), "test_fraction": test, "val_fraction": val, **ways, "max_bad_fraction": BAD_ROWS}
        check_section(Preprocess, preprocess, "preprocess", "The new entry")
        use = f"To predict {', '.join(self.targets)} from the other columns of {self.path.name}."
        about = {"use": use, "limits": "Nobody has written down yet what it is not for.", "licence": "not stated"}
        return {"kind": "table", "raw": f"data/{name}/raw", "preprocess": preprocess, "about": about}

    def model(self, name: str) -> dict[str, Any]:
        architecture = {"name": "table", "members": 8, "hidden": [128, 128, 128], "dropout": 0.1}
        train = {"recipe": "tabm", **training(self.task(), self.num_rows, len(self.columns))}
        return {"dataset": name, "architecture": architecture, "train": train, "int8": []}

    def schema(self, address: str) -> str:
        """A line a column."""
        found = {name: column.model_dump() for name, column in self.columns.items()}
        values = {"file": self.path.name, "format": self.format.model_dump(), "targets": self.targets, "columns": found}
        schema = check_section(Schema, values, "", self.path.name)
        where = f"# It was fetched from {printable(address)}\n" if address else ""
        lines = [
            f"# How {self.path.name} is read: written by `make new`, and yours to change (docs/tables.md). A new delivery of the file",
            "# is read in the same way, or refused by column. Levels of the target are the classes, in this order.",
            f"{where}file: {in_line(schema.file)}",
            f"format: {in_line(schema.format.model_dump(exclude_none=True))}",
            f"targets: {in_line(schema.targets)}",
            "columns:",
        ]
        for name, column in schema.columns.items():
            values = {key: value for key, value in column.model_dump().items() if value is not None}
            last = {key: values.pop(key) for key in ("why", "example") if key in values}
            key, value = in_line(name), in_line({"type": values.pop("type"), **values, **last})
            lines.append(f"  {key}: {value}" if len(key) < MAX_KEY else f"  ? {key}\n  : {value}")
        return "\n".join(lines) + "\n"

    def place(self, raw: Path) -> None:
        with naming(raw / self.path.name):
            shutil.copyfile(self.path, raw / self.path.name)

    def print(self) -> None:
        """What was found, a line a column."""
        form, sign = self.format, {"\t": "tab"}.get(self.format.separator, self.format.separator)
        size = f"{self.num_rows:,} rows, {len(self.columns)} columns"
        how = "Parquet" if is_parquet(self.path) else f"{form.encoding} ({self.why['encoding']}), cells set apart by {sign}"
        print(f"{self.path.name}: {size}; {how}")
        for name, why in self.unreadable.items():
            print(f"  {printable(name)} is left out: {why}")
        if self.why["numbers"]:
            print(f"  {self.why['numbers']}")
        rows = [("column", "is", "has", "missing", "example", "why")]
        for name, column in self.columns.items():
            seen = self.seen[name]
            levels = column.levels or []
            has = f"{len(levels)}: {', '.join(levels[:SHOWN_LEVELS])}{', ...' if len(levels) > SHOWN_LEVELS else ''}" if levels else ""
            missing = seen.counts[""] + sum(seen.counts[word] for word in column.missing or [])
            what = f"{column.type} (target)" if name in self.targets else column.type
            rows.append((name, what, has, f"{missing:,}" if missing else "", seen.example, column.why or ""))
        limits = (28, 17, 32, 8, 20, 1000)
        widths = [min(max(len(printable(row[place])) for row in rows), limit) for place, limit in enumerate(limits)]
        for row in rows:
            cells = [cut(printable(cell), width) for cell, width in zip(row, widths, strict=True)]
            print(f"  {'  '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()}")
        for name in (cut(printable(name), 60) for name in self.splits()):
            what = f"and is an input now: --split '{name}' uses it as such, --drop '{name}' leaves it out"
            print(f"  {name} reads like splits, {what} (in ARGS)")
        for name in (cut(printable(name), 60) for name in self.texts()):
            print(f"  {name} reads like texts: a model of those alone comes of --text '{name}' (in ARGS)")
        if self.total:
            print(f"  The last row, line {self.total}, looks like a total: take it out of the file, or the model learns from it")
        if self.bad_lines:
            some = ", ".join(map(str, self.bad_lines[:5]))
            print(f"  {len(self.bad_lines)} rows have another number of cells, and are left out: lines {some}")

    def splits(self) -> list[str]:
        """Inputs whose cells are words for splits."""
        free = [name for name, column in self.columns.items() if column.type == "category" and name not in self.targets]
        return [name for name in free if name != self.options.split and reads_like_splits(self.seen[name].counts)]

    def texts(self) -> list[str]:
        """Dropped columns of sentences, where one column is predicted and is none of numbers: they would make a model of texts."""
        if len(self.targets) != 1 or self.columns[self.targets[0]].type != "category":
            return []
        return [name for name, column in self.columns.items() if "free text" in (column.why or "") and self.seen[name].reads_like_texts]


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def targets_of(path: Path, options: argparse.Namespace) -> list[str]:
    """As told, or asked for on a terminal, until it is one of the columns."""
    if options.target:
        return list(options.target)
    form, _ = format_of(path, options.encoding, options.separator, options.header, options.names)
    names, _ = names_of(path, form, all_rows(path, form))
    print(f"{path.name} has {', '.join(map(printable, names))}.")
    question = f"Which column of {path.name} is to be predicted?"
    while (answer := ask(question, "TARGET=... (--target)")) not in names:
        print(f"There is no column {answer!r}.")
    return [answer]


def training(task: str, rows: int, columns: int) -> dict[str, Any]:
    """What a model of so large a table has otherwise than the recipe `tabm` says."""
    is_number, batch, most = task == "regression", BATCH, EPOCHS[1]
    if is_number:
        batch = FIRST_BATCH
        while batch < BATCH and rows > batch * STEPS:
            batch *= 2
    if rows > LARGE:
        batch = LARGE_BATCH
    of_epoch = rows * (columns + COLUMNS)
    fewest = min(max(MOST // of_epoch, 1), EPOCHS[0])
    epochs = min(max(BUDGET // of_epoch, fewest), most)
    return {
        **({"loss": {"name": LOSSES[task]}} if task != "binary" else {}),
        **({"lr": RATE_OF_NUMBERS} if is_number else {}),
        **({"epochs": epochs} if epochs < most else {}),
        **({"batch_size": batch} if batch != BATCH else {}),
    }


def pairs(values: Iterable[str], what: str) -> dict[str, list[str]]:
    """From COLUMN=ONE|OTHER."""
    found: dict[str, list[str]] = {}
    for value in values:
        column, sign, words = value.partition("=")
        if not sign or not words:
            raise UserError(f"{what} {value!r}: expected COLUMN=..., several with | between them.")
        found[column] = words.split("|")
    return found


def patterns(values: Iterable[str]) -> dict[str, list[str]]:
    """From COLUMN=%d.%m.%Y|..."""
    found = pairs(values, "--date")
    for column, texts in found.items():
        for text in texts:
            try:
                pattern_of_dates(text)
            except ValueError as error:
                raise UserError(f"--date: {text!r} of {column} is no pattern of dates: {error}.") from error
    return found
