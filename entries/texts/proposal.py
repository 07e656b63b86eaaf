"""A dataset and a model of texts: finds where the texts and their classes are, says what it found, and proposes the two entries.

A table or a file of JSON objects is one of texts where --text names its column, or where nothing but a text is left to predict the target
from. A folder of .txt files has the class in the names of its folders, or of its files.
"""

import argparse
import csv
import io
import json
import re
import shutil
import statistics
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from entries.project import ask
from entries.proposal import NOT_WRITTEN, checked, listed_with_counts, refuse_odd_name, settings, some_of, with_set
from entries.tables.formats import encoding_of, refuse_lines_above, separator_of, start_of
from examples.rows import WORKBOOKS
from stages.common.files import naming
from stages.common.meta import Encoding
from stages.common.params import check_section
from stages.datasets.text import Preprocess, as_class
from stages.reading.contents import printable
from stages.reading.delimited import all_rows, is_parquet, names_of, refuse_other_content
from stages.reading.group_splits import WORDS
from stages.reading.texts import Fields, Found, TextFormat, files_below, is_json, lines_in, texts_below, texts_in
from stages.shell.errors import UserError

DATA = "a CSV, TSV, Parquet or JSON-lines file of texts, or a folder of .txt files"
TAKES = ("target", "text", "set", "test_fraction", "group", "split", "encoding", "separator", "header", "names")  # options
READ, LOOKED_AT = 20_000, 2000  # rows from the start, and evenly of these: by them columns are told apart
IS_TEXT = 0.5  # share of different cells from which on a column of words is a text, and no class
LETTERS = re.compile(r"[^\W\d_]")
MOST_CLASSES = 500
SHOWN, SHOWN_TEXT = 8, 60  # classes; characters of an example
MAX_LENGTH, STEP = 1000, 50  # characters; longer texts are cut, and what their classes are has been said by then
BAD_TEXTS = 0.05


class Columns(NamedTuple):
    """Of a table or of objects: by name, some of the cells."""

    cells: dict[str, list[str]]

    def texts(self) -> list[str]:
        return [name for name, cells in self.cells.items() if is_text(cells)]

    def classes(self) -> list[str]:
        """Columns that may be what is to be predicted."""
        return [name for name, cells in self.cells.items() if is_class(cells)]


def is_text(cells: list[str]) -> bool:
    found = [cell for cell in cells if cell.strip()]
    return (
        len(found) > 1 and len(set(found)) > IS_TEXT * len(found) and sum(bool(LETTERS.search(cell)) for cell in found) > 0.9 * len(found)
    )


def is_class(cells: list[str]) -> bool:
    found = {cell.strip() for cell in cells} - {""}
    return 2 <= len(found) <= min(MOST_CLASSES, max(2, IS_TEXT * len(cells)))


def is_row_number(cells: list[str]) -> bool:
    return len(set(cells)) == len(cells) and all(re.fullmatch(r"\d*", cell) for cell in cells)


def fits(path: Path, options: argparse.Namespace) -> bool:
    """Whether it is for this kind; what cannot be read is left to that of tables, which says why."""
    if path.is_dir():
        names = [file.suffix.lower() for file in islice(files_below(path), LOOKED_AT)]
        return names.count(".txt") > len(names) / 2 and len(names) > 1
    if options.text or is_json(path):
        return path.is_file()
    if not path.is_file() or path.suffix.lower() in WORKBOOKS:
        return False
    try:
        _, columns = table_at(path, options)
    except (UserError, OSError):
        return False
    target = options.target or columns.classes()
    rest = {name: cells for name, cells in columns.cells.items() if name not in target}
    texts = [name for name, cells in rest.items() if is_text(cells)]
    return len(target) == 1 and bool(texts) and all(name in texts or is_row_number(cells) for name, cells in rest.items())


def look(path: Path, options: argparse.Namespace) -> "Texts":
    refuse_odd_name(path)
    try:
        return Texts(path, options)
    except UserError as error:
        raise with_set(error, {f"{path.parent}/": ""}) from error


def table_at(path: Path, options: argparse.Namespace) -> tuple[TextFormat, Columns]:
    """How the file is laid out, and some of its cells."""
    form = TextFormat() if is_parquet(path) else format_of(path, options)
    names, rows = names_of(path, form, all_rows(path, form), "--names")
    some = evenly([row for _, row in islice(rows, READ) if len(row) == len(names)])
    return form, Columns({name: [row[place] for row in some] for place, name in enumerate(names)})


def evenly(rows: list[list[str]]) -> list[list[str]]:
    """Many files are sorted, so that neighbours are alike."""
    return rows[:: -(-len(rows) // LOOKED_AT) or 1]


def format_of(path: Path, options: argparse.Namespace) -> TextFormat:
    given = {key: value for key in ("encoding", "separator") if (value := getattr(options, key))}
    check_section(TextFormat, given, "", path.name)
    refuse_other_content(path)
    encoding, _ = encoding_of(path, options.encoding)
    start = start_of(path, encoding)
    separator = separator_of(path, start, options.separator)
    quotes = "plain" if are_plain(start, separator) else "doubled"
    told = {"encoding": encoding, "separator": separator, "quotes": quotes, "names": options.names, "header": True}
    quoting: Any = csv.QUOTE_NONE if quotes == "plain" else csv.QUOTE_MINIMAL
    first = list(islice(csv.reader(io.StringIO(start, newline=""), delimiter=separator, quoting=quoting), READ))
    first = [first[0], *evenly(first[1:])]
    if options.header is None and not options.names:
        refuse_lines_above(path, first)
        told["header"] = is_header(first, options)
    elif options.header is not None:
        told["header"] = options.header
    return check_section(TextFormat, told, "", f"{path.name}, its format")


def are_plain(text: str, separator: str) -> bool:
    """Whether double quotes are signs like any other: every line is a row without them, and with them some lines would be joined."""
    lines = [line for line in text.splitlines() if line.strip()]
    widths = {line.count(separator) for line in lines}
    try:
        joined = sum(1 for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
    except csv.Error:
        return len(widths) == 1
    return len(widths) == 1 and joined < len(lines)


def is_header(rows: list[list[str]], options: argparse.Namespace) -> bool:
    """Whether the first row names the columns: none of its cells comes again in a column of classes, and none is as long as a text."""
    first, others = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    told = [name for name in (*(options.target or []), *(options.text or [])) if name]
    if told:
        return any(name in first for name in told)
    for place, cell in enumerate(first):
        cells = [row[place] for row in others]
        if is_class(cells) and cell in cells:
            return False
        if is_text(cells) and len(cell) > max(SHOWN_TEXT, statistics.median(map(len, cells))):
            return False
    return not any(re.fullmatch(r"\s*[-+]?[0-9.,]+\s*", cell) for cell in first)


class Texts:
    """Texts that were looked at. Raises UserError where something must be told."""

    def __init__(self, path: Path, options: argparse.Namespace):
        self.path, self.options, self.said = path, options, list[str]()
        self.told = settings(options.set, Preprocess)
        where = self.in_folders() if path.is_dir() else self.in_objects() if is_json(path) else self.in_table()
        self.where = {key: value for key, value in where.items() if key != "says_split"}
        self.count_all()
        val = {"val_fraction": 0.0}  # the strength of a fitted head needs none
        splits = val if where.get("says_split") else {"test_fraction": options.test_fraction, **val, "keep_copies_together": True}
        ways = {way: value for way in ("group", "split") if (value := getattr(options, way))}
        if "split" in ways:
            splits = val
        task = "multilabel" if self.most_labels > 1 else "binary" if len(self.counts) == 2 else "multiclass"
        length = min(MAX_LENGTH, STEP * -(-max(self.lengths) // STEP))
        values = {**self.where, "task": task, "max_length": length, **splits, **ways, "max_bad_fraction": BAD_TEXTS, **self.told}
        self.section = checked(Preprocess, values)
        self.preprocess = {key: as_value(value) for key, value in values.items()}

    # Where texts and classes are

    def in_table(self) -> dict[str, Any]:
        form, columns = table_at(self.path, self.options)
        shape = form.model_dump(exclude_defaults=True, exclude_none=True)
        text, label = self.columns_of(columns)
        said = {"separator": "cells set apart by tabs"} if form.separator == "\t" else {}
        if not form.header:
            said["header"] = "the first line is a text, and no header: columns are called column 1, column 2 and so on"
        if form.quotes == "plain":
            said["quotes"] = "quotes are signs like any other"
        self.said += said.values()
        return {"file": self.path.name, **({"format": shape} if shape else {}), "text": text, "label": label}

    def in_objects(self) -> dict[str, Any]:
        encoding: Encoding = encoding_of(self.path, self.options.encoding)[0]  # type: ignore[assignment]
        cells = dict[str, list[str]]()
        for _, line in islice(lines_in(self.path, encoding), LOOKED_AT):
            try:
                given = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{self.path.name} is not a file with a JSON object on each line ({error}): write one a line.") from error
            for key, value in given.items() if isinstance(given, dict) else ():
                words = value if isinstance(value, list) else [value]
                cells.setdefault(key, []).extend(one if isinstance(one, str) else json.dumps(one) for one in words)
        text, label = self.columns_of(Columns(cells))
        shape = {"format": {"encoding": encoding}} if encoding != "utf-8" else {}
        return {"file": self.path.name, **shape, "text": text, "label": label}

    def columns_of(self, columns: Columns) -> tuple[list[str], str]:
        known, options = ", ".join(map(printable, columns.cells)), self.options
        targets, texts = list(options.target or []), list(options.text or [])
        if unknown := [name for name in (*targets, *texts, options.group, options.split) if name and name not in columns.cells]:
            raise UserError(f"{self.path.name} has no column {unknown[0]!r}; it has {known}.")
        if len(targets) > 1:
            raise UserError(f"{self.path.name}: one column says the class of a text; give one --target.")
        if not targets:
            targets = [name for name in columns.classes() if name not in (*texts, options.group, options.split)]
        while len(targets) != 1:
            answer = ask(f"Which column of {self.path.name} is to be predicted ({known})?", "TARGET=... (--target)")
            targets = [answer] if answer in columns.cells else []
        if not texts:
            texts = [name for name in columns.texts() if name not in (*targets, options.group, options.split)]
        if not texts:
            raise UserError(f"{self.path.name} has no column of texts besides {targets[0]}: say which (--text COLUMN); it has {known}.")
        return texts, targets[0]

    def in_folders(self) -> dict[str, Any]:
        """What each level of folders means."""
        depths, tops = Counter[int](), set[str]()
        for path in islice(files_below(self.path), 100 * LOOKED_AT):
            if path.suffix.lower() == ".txt":
                parts = path.relative_to(self.path).parts
                depths[len(parts) - 1] += 1
                tops.add(parts[0])
        depth = depths.most_common(1)[0][0]
        if not depth:
            self.said.append("the class is the file's name, and each line is a text")
            return {"folders": [], "each": "line"}
        says_split = depth > 1 and {WORDS.get(top.lower()) for top in tops} >= {0, 2} and all(top.lower() in WORDS for top in tops)
        levels = ["split" if says_split else "any"] * (depth > 1) + ["any"] * (depth - 2) + ["class"]
        self.said.append(f"the class is the name of the {'deepest ' * (depth > 1)}folder{', the split that of the first' * says_split}")
        return {"folders": levels, "says_split": says_split}

    def found(self) -> Iterator[Found]:
        where = checked(Preprocess, {**self.where, "task": "multiclass", "max_length": MAX_LENGTH, **self.any_split(), **self.told})
        if where.folders is not None:
            return texts_below(self.path, where.folders, where.each, where.format, MAX_LENGTH, frozenset(where.leave_out))
        fields = Fields(where.text or [], where.label or "", None, None)
        return texts_in(self.path, where.format, fields)

    def any_split(self) -> dict[str, Any]:
        is_said = "split" in self.where.get("folders", [])
        return {"val_fraction": 0.0, "max_bad_fraction": 1.0} | ({} if is_said or "split" in self.told else {"test_fraction": 0.2})

    def count_all(self) -> None:
        self.counts, self.lengths, self.most_labels, self.bad, self.example = Counter[str](), list[int](), 0, list[str](), ""
        for one in self.found():
            words = [word for label in one.labels if (word := as_class(label))]
            if one.problem or not one.text.strip() or not words:
                self.bad.append(f"{one.name}: {one.problem or 'has no text, or no class'}")
                continue
            self.counts.update(words)
            self.most_labels = max(self.most_labels, len(words))
            self.lengths.append(len(one.text))
            self.example = self.example or " ".join(one.text.split())
        if not self.lengths:
            raise UserError(f"{self.path.name} holds no text with a class: {'; '.join(self.bad[:3]) or 'it is empty'}.")
        if len(self.counts) < 2:
            raise UserError(f"{self.path.name} has one class alone, {printable(next(iter(self.counts)))}: there is nothing to tell apart.")
        if len(self.counts) > IS_TEXT * len(self.lengths) and len(self.lengths) > LOOKED_AT // 100:
            some = ", ".join(map(printable, list(self.counts)[:3]))
            raise UserError(f"{self.path.name}: {len(self.lengths)} texts have {len(self.counts)} classes, such as {some}: check --target.")

    # The proposal

    def print(self) -> None:
        lengths = sorted(self.lengths)
        cut = sum(length > self.section.max_length for length in lengths)
        size = f"{lengths[0]} to {lengths[-1]:,} characters, {lengths[len(lengths) // 2]} in the middle"
        print(f"{self.path.name}: {len(lengths):,} texts of {size}")
        print(f"  {len(self.counts)} classes: {printable(listed_with_counts(dict(self.counts.most_common()), SHOWN))}")
        if self.section.text:
            print(f"  texts in {printable(', '.join(self.section.text))}, classes in {printable(self.section.label or '')}")
        print(f"  the first text: {printable(self.example[:SHOWN_TEXT])}{'…' * (len(self.example) > SHOWN_TEXT)}")
        for line in self.said:
            print(f"  {line}")
        if cut:
            print(f"  {cut:,} are longer than {self.section.max_length:,} characters, and are cut there (max_length)")
        if self.bad:
            print(f"  left out: {len(self.bad):,}, such as {'; '.join(map(printable, self.bad[:3]))}")

    def dataset(self, name: str) -> dict[str, Any]:
        use = f"To tell texts apart: {some_of([one for one, _ in self.counts.most_common()], SHOWN)}."
        return {"kind": "text", "raw": f"data/{name}/raw", "preprocess": self.preprocess, "about": {"use": use, **NOT_WRITTEN}}

    def model(self, name: str) -> dict[str, Any]:
        architecture = {"name": "ngrams", "longest": 5, "buckets": 262144, "kept": 50000}
        return {"dataset": name, "architecture": architecture, "train": {"recipe": "ngrams"}, "int8": []}

    def schema(self, address: str) -> str:
        return ""

    def place(self, raw: Path) -> None:
        files = [self.path] if not self.path.is_dir() else [path for path in files_below(self.path) if path.suffix.lower() == ".txt"]
        for path in files:
            into = raw / (path.name if path == self.path else path.relative_to(self.path))
            into.parent.mkdir(parents=True, exist_ok=True)
            with naming(into):
                shutil.copyfile(path, into)


def as_value(value: Any) -> Any:
    return list(chain(value)) if isinstance(value, tuple) else value
