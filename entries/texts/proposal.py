"""A dataset and a model of texts: finds where the texts and their classes are, says what it found, and proposes the two entries.

A table or a file of JSON objects is one of texts where --text names its column, or where nothing but a text is left to predict the target
from. A folder of .txt files has the class in the names of its folders, or of its files.
"""

import argparse
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from entries.project import ask
from entries.proposal import NOT_WRITTEN, checked, is_usable, listed_with_counts, refuse_odd_name, settings, some_of, with_set
from entries.tables.formats import encoding_of
from entries.texts.columns import IS_TEXT, LOOKED_AT, SHOWN_TEXT, Columns, is_row_number, is_text, table_at, until_error
from entries.texts.objects import columns_in
from examples.rows import WORKBOOKS
from examples.texts import is_blank, normalised
from stages.common.files import naming
from stages.common.meta import Encoding
from stages.common.splits import SPLITS
from stages.datasets.text import Preprocess, labels_of
from stages.reading.contents import printable
from stages.reading.delimited import all_rows, is_parquet, names_of
from stages.reading.group_splits import WORDS
from stages.reading.texts import Fields, Found, TextFormat, files_below, is_json, texts_below, texts_in
from stages.shell.errors import UserError

TABLES = ("csv", "tsv", "parquet", "pq", "jsonl", "ndjson", "json")
DATA = "a CSV, TSV, Parquet or JSON-lines file of texts, or a folder of .txt files"
TAKES = ("target", "text", "set", "test_fraction", "group", "split", "encoding", "separator", "header", "names")  # options
SHOWN = 8  # classes
MAX_LENGTH, STEP = 1000, 50  # characters; longer texts are cut, and what their classes are has been said by then
BAD_TEXTS = 0.05
SEVERAL = "|;,"  # signs between classes of one cell


def fits(path: Path, options: argparse.Namespace) -> bool:
    """Whether it is for this kind; what cannot be read is left to that of tables, which says why."""
    if parts := parts_of(path):
        return fits(parts["train"], options)
    if path.is_dir():
        names = [file.suffix.lower() for file in islice(files_below(path), LOOKED_AT)]
        return names.count(".txt") > len(names) / 2 and len(names) > 1
    if options.text or is_json(path):
        return path.is_file()
    if not path.is_file() or path.suffix.lower() in WORKBOOKS:
        return False
    try:
        _, columns = table_at(path, options, until_error)
    except (UserError, OSError):
        return False
    target = options.target or [name for name in columns.classes() if name not in (options.group, options.split)]
    rest = {name: cells for name, cells in columns.cells.items() if name not in (*target, options.group, options.split)}
    texts = [name for name, cells in rest.items() if is_text(cells)]
    return len(target) == 1 and bool(texts) and all(name in texts or is_row_number(cells) for name, cells in rest.items())


def parts_of(path: Path) -> dict[str, Path]:
    """The files of a folder that is split by their names, such as train.csv and reviews_test.csv, by split."""
    found = dict[str, list[Path]]()
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        stem, _, suffix = file.name.lower().removesuffix(".gz").rpartition(".")
        places = {WORDS[word] for word in re.split(r"[^a-z]+", stem) if word in WORDS}
        if suffix in TABLES and len(places) == 1 and is_usable(file.name) and file.is_file():
            found.setdefault(SPLITS[places.pop()], []).append(file)
    parts = {split: found[split][0] for split in SPLITS if len(found.get(split, [])) == 1}
    kinds = {(is_json(file), is_parquet(file)) for file in parts.values()}
    return parts if len(parts) == len(found) and {"train", "test"} <= parts.keys() and len(kinds) == 1 else {}


def look(path: Path, options: argparse.Namespace) -> "Texts":
    refuse_odd_name(path)
    try:
        return Texts(path, options)
    except UserError as error:
        raise with_set(error, {f"{path}/": f"{path.name}/", f"{path.parent}/": ""}) from error


class Texts:
    """Texts that were looked at. Raises UserError where something must be told."""

    def __init__(self, path: Path, options: argparse.Namespace):
        self.path, self.options, self.said = path, options, list[str]()
        self.told = settings(options.set, Preprocess)
        self.parts = parts_of(path)
        self.file = self.parts.get("train", path)  # the one that is looked at
        where = self.in_folders() if self.file.is_dir() else self.in_objects() if is_json(self.file) else self.in_table()
        if self.parts:
            where |= {"file": {split: file.name for split, file in self.parts.items()}, "says_split": True}
            self.said.append(f"the splits are those of the files' names: {', '.join(file.name for file in self.parts.values())}")
        self.where = {key: value for key, value in where.items() if key != "says_split"}
        val = {"val_fraction": 0.0}  # the strength of a fitted head needs none
        splits = val if where.get("says_split") else {"test_fraction": options.test_fraction, **val, "keep_copies_together": True}
        ways = {way: value for way in ("group", "split") if (value := getattr(options, way))}
        if "split" in ways:
            splits = val
        values = {
            **self.where,
            "task": "multilabel",
            "max_length": MAX_LENGTH,
            **splits,
            **ways,
            "max_bad_fraction": BAD_TEXTS,
            **self.told,
        }
        task = self.count_all(checked(Preprocess, values))
        length = min(MAX_LENGTH, STEP * -(-max(self.lengths) // STEP))
        values = {**values, "task": task, "max_length": length, **self.told}
        self.section = checked(Preprocess, values)
        self.refuse_many_bad()
        self.preprocess = {key: as_value(value) for key, value in values.items()}

    # Where texts and classes are

    def in_table(self) -> dict[str, Any]:
        form, columns = table_at(self.file, self.options)
        shape = form.model_dump(exclude_defaults=True, exclude_none=True)
        text, label = self.columns_of(columns)
        self.refuse_other_columns(form, list(columns.cells))
        said = {"separator": "cells set apart by tabs"} if form.separator == "\t" else {}
        if not form.header:
            said["header"] = "the first line is a text, and no header: columns are called column 1, column 2 and so on"
        if form.quotes == "plain":
            said["quotes"] = "quotes are signs like any other"
        self.said += said.values()
        return {"file": self.file.name, **({"format": shape} if shape else {}), "text": text, "label": label}

    def refuse_other_columns(self, form: TextFormat, names: list[str]) -> None:
        """All files of the splits are read in one way."""
        for file in self.parts.values():
            own, _ = names_of(file, form, all_rows(file, form), "--names")
            if missing := [name for name in names if name not in own]:
                what = f"{file.name} has no column {printable(missing[0])}, which {self.file.name} has"
                raise UserError(f"{self.path.name}: {what}: give files with the same columns, or {self.file.name} alone.")

    def in_objects(self) -> dict[str, Any]:
        encoding: Encoding = encoding_of(self.file, self.options.encoding)[0]  # type: ignore[assignment]
        text, label = self.columns_of(columns_in(self.file, encoding, self.options))
        shape = {"format": {"encoding": encoding}} if encoding != "utf-8" else {}
        return {"file": self.file.name, **shape, "text": text, "label": label}

    def columns_of(self, columns: Columns) -> tuple[list[str], str]:
        known, options = ", ".join(map(printable, columns.cells)), self.options
        targets, texts = list(options.target or []), list(options.text or [])
        if unknown := [name for name in (*targets, *texts, options.group, options.split) if name and name not in columns.cells]:
            raise UserError(f"{self.file.name} has no column {unknown[0]!r}; it has {known}.")
        if len(targets) > 1:
            one = f"make one column of {some_of(targets, SHOWN)}, with the names of those that are true and a sign between"
            say = "--target COLUMN --set task=multilabel --set 'label_separator=\"|\"'"
            raise UserError(
                f"{self.file.name}: one column says the classes of a text. For several classes a text, {printable(one)}, and give it "
                f"({say}); or give one --target, for a model of it alone."
            )
        if not targets:
            targets = [name for name in columns.classes() if name not in (*texts, options.group, options.split)]
        while len(targets) != 1:
            answer = ask(f"Which column of {self.file.name} is to be predicted ({known})?", "TARGET=... (--target)")
            targets = [answer] if answer in columns.cells else []
        if not texts:
            texts = [name for name in columns.texts() if name not in (*targets, options.group, options.split)]
        if not texts:
            raise UserError(f"{self.file.name} has no column of texts besides {targets[0]}: say which (--text COLUMN); it has {known}.")
        return texts, targets[0]

    def in_folders(self) -> dict[str, Any]:
        """What each level of folders means."""
        depths, found = Counter[int](), dict[int, dict[tuple[str, ...], None]]()
        for path in islice(files_below(self.path), 100 * LOOKED_AT):
            if path.suffix.lower() == ".txt":
                folders = path.relative_to(self.path).parts[:-1]
                depths[len(folders)] += 1
                found.setdefault(len(folders), {})[folders] = None
        depth = depths.most_common(1)[0][0]
        if "folders" in self.told:
            told = self.told["folders"]
            return {"folders": told, "says_split": isinstance(told, list) and "split" in told} | ({} if depth else {"each": "line"})
        if not depth:
            if all(file.stem.lower() in WORDS for file in files_below(self.path) if file.suffix.lower() == ".txt"):
                what = f"{self.path.name} has files for splits, and nothing that says the classes of their lines"
                raise UserError(f"{what}: make tables of them with a column of classes (train.csv, test.csv).")
            self.said.append("the class is the file's name, and each line is a text")
            return {"folders": [], "each": "line"}
        names = [list(dict.fromkeys(level)) for level in zip(*found[depth], strict=True)]
        splits = [{WORDS.get(name.lower()) for name in level} for level in names]
        says_split = depth > 1 and splits[0] >= {0, 2} and None not in splits[0]
        levels = ["split" if says_split else "any"] * (depth > 1) + ["any"] * (depth - 2) + ["class"]
        self.refuse_splits_in_classes(names, levels)
        self.say_levels(names, says_split)
        return {"folders": levels, "says_split": says_split}

    def refuse_splits_in_classes(self, names: list[list[str]], levels: list[str]) -> None:
        if len(names) > 1 and all(name.lower() in WORDS for name in names[-1]):
            shown, split, folder = some_of(sorted(names[-1]), SHOWN), min(names[-1]), min(names[-2])
            levels = [*levels[:-2], "class", "split"]
            raise UserError(
                printable(f"{self.path.name}: the folders {shown} lie in those of the classes ({folder}/{split}): ")
                + printable(f"put splits outside and classes inside ({split}/{folder}), or say what the folders are ")
                + f"(--set 'folders=[{', '.join(levels)}]')."
            )

    def say_levels(self, names: list[list[str]], says_split: bool) -> None:
        """Which level of folders is the class, and how another is taken."""
        depth, split = len(names), ", the split that of the first" * says_split
        self.said.append(f"the class is the name of the {f'deepest folder (level {depth})' if depth > 1 else 'folder'}{split}")
        for place, level in enumerate(names[says_split:-1], start=int(says_split)):
            if len(level) > 1:
                levels = ["split" if says_split and not other else "class" if other == place else "any" for other in range(depth)]
                shown = some_of(sorted(level), SHOWN)
                self.said.append(f"to take folders of level {place + 1} instead ({shown}): --set 'folders=[{', '.join(levels)}]'")

    def found(self, section: Preprocess) -> Iterator[Found]:
        if section.folders is not None:
            return texts_below(self.path, section.folders, section.each, section.format, MAX_LENGTH, frozenset(section.leave_out))
        fields = Fields(section.text or [], section.label or "", section.group, section.split)
        if not self.parts:
            return texts_in(self.path, section.format, fields)
        parts = self.parts.items()
        return (one._replace(split=split) for split, file in parts for one in texts_in(file, section.format, fields))

    def count_all(self, section: Preprocess) -> str:
        """The task; what is left out is what the stage preprocess leaves out, for the same reasons. A text without a label is no bad one
        where others have several.
        """
        self.counts, self.lengths, self.example = Counter[str](), list[int](), ""
        self.left_out, self.total, most, blank = list[tuple[int, str]](), 0, 0, dict[int, tuple[str, int]]()
        for one in self.found(section):
            self.total += 1
            problem, labels = labels_of(one, section)
            if not problem and is_blank(normalised(one.text, section.max_length)):
                problem = "has no text"
            if problem:
                self.left_out.append((self.total, f"{one.name}: {problem}"))
                continue
            if not labels:
                blank[self.total] = one.name, len(one.text)
                continue
            self.counts.update(labels)
            most = max(most, len(labels))
            self.lengths.append(len(one.text))
            self.example = self.example or " ".join(one.text.split())
        task = self.told.get("task") or ("multilabel" if most > 1 else "binary" if len(self.counts) == 2 else "multiclass")
        if task == "multilabel" and self.lengths:
            self.lengths += [length for _, length in blank.values()]
        else:
            self.left_out = sorted([*self.left_out, *((place, f"{name}: has no label") for place, (name, _) in blank.items())])
        self.bad = [what for _, what in self.left_out]
        self.refuse_odd_classes()
        return str(task)

    def refuse_odd_classes(self) -> None:
        if not self.lengths:
            raise UserError(f"{self.path.name} holds no text with a class: {'; '.join(self.bad[:3]) or 'it is empty'}.")
        if len(self.counts) < 2:
            raise UserError(f"{self.path.name} has one class alone, {printable(next(iter(self.counts)))}: there is nothing to tell apart.")
        if len(self.counts) > IS_TEXT * len(self.lengths) and len(self.lengths) > LOOKED_AT // 100:
            some = ", ".join(map(printable, list(self.counts)[:3]))
            raise UserError(f"{self.path.name}: {len(self.lengths)} texts have {len(self.counts)} classes, such as {some}: check --target.")

    def refuse_many_bad(self) -> None:
        """As the stage preprocess would."""
        if len(self.bad) > self.section.max_bad_fraction * self.total:
            some = "; ".join(map(printable, self.bad[:3]))
            what = f"{self.path.name}: {len(self.bad):,} of {self.total:,} texts cannot be used, such as {some}"
            share = math.ceil(100 * len(self.bad) / self.total) / 100
            raise UserError(f"{what}: correct them, or leave them out (--set max_bad_fraction={share:g}){self.hint()}.")

    def hint(self) -> str:
        """Where cells seem to hold several classes each: there are fewer words between such signs than classes."""
        if self.section.label_separator or self.section.task == "multilabel":
            return ""
        for sign in SEVERAL:
            some = [name for name in self.counts if sign in name]
            words = {word.strip() for name in self.counts for word in name.split(sign)}
            if len(some) > 1 and len(words) < len(self.counts):
                return f"; if {some[0]} is several classes, say --set task=multilabel --set 'label_separator=\"{sign}\"'"
        return ""

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
            print(f"  {printable(line)}")
        if hint := self.hint():
            print(f"  {printable(hint.removeprefix('; '))}")
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
        files = list(self.parts.values()) or [self.path]
        if self.path.is_dir() and not self.parts:
            files = [path for path in files_below(self.path) if path.suffix.lower() == ".txt"]
        for path in files:
            into = raw / (path.name if path == self.path else path.relative_to(self.path))
            into.parent.mkdir(parents=True, exist_ok=True)
            with naming(into):
                shutil.copyfile(path, into)


def as_value(value: Any) -> Any:
    return list(chain(value)) if isinstance(value, tuple) else value
