"""Texts of anybody's, of any script, with a class (or several): e-mails, tickets, reviews, names.

Reads   raw/<file>, a CSV or TSV file or a Parquet file or one JSON object a line, or one such file for each split; or the .txt files in
        raw's folders, whose names say the class. Once: texts that are read wait in a file without a name beside raw/ until the splits are
        chosen, so memory holds a few numbers a text.

Texts are kept as they are, in NFC and cut to `max_length`. A text without anything to be read, without a label or with an unknown one is
left out, counted and named; more of them than `max_bad_fraction` are refused.
"""

import unicodedata
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input, Text
from stages.common.params import EACH, ONE, ONE_OR_EACH, Section
from stages.common.splits import SPLITS
from stages.reading.columns import shown, warn
from stages.reading.contents import Contents, LeftOutItems, printable
from stages.reading.copies import equal_texts, text_groups
from stages.reading.delimited import named
from stages.reading.group_splits import WORDS, joined, splits_by_group
from stages.reading.row_splits import Group
from stages.reading.schema import ColumnSchema
from stages.reading.texts import Fields, Found, Kept, Level, TextFormat, texts_below, texts_in
from stages.shell.errors import UserError

# What no other kind of data reads with: check puts a hash of these into data/checked/datasets/<dataset>.json.
READS = (
    "examples/cells.py",
    "examples/parquet.py",
    "examples/rows.py",
    "examples/texts.py",
    "stages/reading/columns.py",
    "stages/reading/copies.py",
    "stages/reading/delimited.py",
    "stages/reading/group_splits.py",
    "stages/reading/row_splits.py",
    "stages/reading/schema.py",
    "stages/reading/texts.py",
)
CHUNK_CODES = 1 << 18  # code points of the texts that are written together
MAX_CLASSES, MAX_NAME = 10_000, 200  # classes (or sets of them), and characters of one's name

File = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")]


class FileBySplit(Section):
    train: File
    val: File | None = None
    test: File


class Preprocess(Section):
    """Either `file` has the texts in its column (or key) `text`, of which several are joined, and their class in `label`; or .txt files
    have them, and `folders` says what each level of folders below raw/ means: class, split, group, or any. Where none of them is the class,
    the file's name is; `each`: whether a file is a text, or each of its lines.

    `classes` are those that there are, in label order, and others count as bad; without it they are those that train has, by name. A
    `multilabel` text has any number of them, as a list in JSON or with `label_separator` between.

    `test_fraction` is of all texts, `val_fraction` of what remains, both spread over the classes; equal texts stay together, and so do
    texts with the same `group`. `split` names a column whose cells say train, val or test; there, and where folders or files say it, there
    is no test_fraction, and val is held out of train where nothing is said to be val. With `keep_copies_together` texts that are nearly
    equal stay together too; where the splits are said, copies are moved to the latest one that has one of them. `leave_out` names files and
    folders of texts that are not read.
    """

    input_kind: ClassVar[str] = "text"
    file: Annotated[Annotated[File, ONE] | Annotated[FileBySplit, EACH], ONE_OR_EACH] | None = None
    folders: list[Level] | None = None
    each: Literal["file", "line"] = "file"
    format: TextFormat = TextFormat()
    text: Annotated[list[str], Field(min_length=1)] | None = None
    label: str | None = None
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    task: Literal["binary", "multiclass", "multilabel"]
    classes: Annotated[list[str], Field(min_length=2)] | None = None
    max_length: int = Field(ge=1, le=20_000)
    case: Literal["fold", "keep"] = "fold"
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    val_fraction: float = Field(ge=0, lt=1)
    group: str | None = None
    split: str | None = None
    leave_out: list[str] = Field(default_factory=list)
    keep_copies_together: bool = False
    max_bad_fraction: float = Field(ge=0, le=1)

    @property
    def says_split(self) -> bool:
        return isinstance(self.file, FileBySplit) or self.split is not None or "split" in (self.folders or [])

    @model_validator(mode="after")
    def _fits(self) -> "Preprocess":
        if (self.file is None) == (self.folders is None):
            raise ValueError("expected either file, or folders")
        if self.file is not None and (self.text is None or self.label is None):
            raise ValueError("expected text and label, the columns of the file")
        if self.folders is not None:
            if [key for key in ("text", "label", "group", "split") if getattr(self, key) is not None]:
                raise ValueError("expected no text, label, group and split, which folders say")
            if [level for level in ("class", "split", "group") if self.folders.count(level) > 1]:
                raise ValueError("expected class, split and group once in folders")
        if isinstance(self.file, FileBySplit) and self.split is not None:
            raise ValueError("expected no split where file has one for each")
        if self.says_split == (self.test_fraction is not None):
            raise ValueError("expected either test_fraction, or what says the test split: the key split, a level of folders, or files")
        if self.label_separator is not None and self.task != "multilabel":
            raise ValueError(f"expected no label_separator, since a text has one class where task is {self.task}")
        if self.task == "binary" and self.classes is not None and len(self.classes) != 2:
            raise ValueError(f"expected two classes for the task binary, got {len(self.classes)}")
        if self.classes is not None and [name for name in self.classes if as_class(name) != name or self.classes.count(name) > 1]:
            raise ValueError("expected classes that are all different, as they are shown: printable, without blanks around them")
        return self


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    texts = Texts(raw, preprocess)
    try:
        texts.read()
        places = texts.choose_splits(seed)
        texts.settle(places)
    except BaseException:
        texts.kept.file.close()
        raise
    cut = f" {texts.kept.num_cut:,} are longer than {preprocess.max_length:,} characters and cut." if texts.kept.num_cut else ""
    return Contents(
        description=f"{len(texts.kept):,} texts of {len(texts.classes)} classes: {named(texts.classes)}.{cut}",
        input=Input(
            kind="text",
            shape=[None],
            dtype="int32",
            text=Text(max_length=preprocess.max_length, case=preprocess.case),
        ),
        classes=texts.classes,
        chunks=texts.by_split(places),
        left_out=texts.left_out,
        items=texts.items,
    )


class Texts:
    """The texts as they are read: `kept`, and of each its line (or its place in `items`), its label, which is a place in `labels`, and the
    marks by which it is split.
    """

    def __init__(self, raw: Path, preprocess: Preprocess):
        self.raw, self.preprocess = raw, preprocess
        self.kept, self.left_out = Kept(raw.parent, preprocess.max_length), LeftOutItems()
        self.total, self.lines, self.own = 0, array("q"), array("i")
        self.labels = dict[tuple[str, ...], int]()
        self.items: list[str] | None = None if isinstance(preprocess.file, str) else []
        group = preprocess.group or ("folders" if "group" in (preprocess.folders or []) else None)
        self.group = Group(group, ColumnSchema(type="dropped")) if group else None
        self.groups, self.splits = array("Q"), array("B")
        self.classes = list[str]()

    def found(self) -> Iterator[Found]:
        section = self.preprocess
        if section.folders is not None:
            left_out = frozenset(section.leave_out)
            yield from texts_below(self.raw, section.folders, section.each, section.format, section.max_length, left_out)
            return
        assert section.text is not None and section.label is not None and section.file is not None
        fields = Fields(section.text, section.label, section.group, section.split)
        files = {"": section.file} if isinstance(section.file, str) else section.file.model_dump(exclude_none=True)
        if others := sorted(path.name for path in self.raw.iterdir() if path.name not in files.values() and path.name[0] != "."):
            warn([f"{self.raw} holds {named(others)} too, and {named(list(files.values()))} alone is read (key: preprocess.file)"])
        for split, file in files.items():
            for one in texts_in(self.raw / file, section.format, fields):
                yield one if not split else one._replace(split=split)

    def read(self) -> None:
        for one in self.found():
            self.total += 1
            problem, labels = labels_of(one, self.preprocess)
            if not problem and not self.kept.add(one.text):
                problem = "has no text"
            if problem:
                self.left_out.add(one.name, problem)
                continue
            self.own.append(self.labels.setdefault(labels, len(self.labels)))
            if len(self.labels) > MAX_CLASSES:
                examples = named(sorted(chain(*self.labels))[:3])
                fix = "check which column or level of folders is the label"
                raise UserError(f"{self.raw} has more than {MAX_CLASSES:,} different labels, such as {examples}: {fix}.")
            self.lines.append(one.line if self.items is None else len(self.items))
            if self.items is not None:
                self.items.append(printable(one.name))
            if self.group:
                self.groups.append(self.group.known[one.group])
            if self.preprocess.says_split:
                self.splits.append(split_of(one.split) or 0)

    def choose_splits(self, seed: int) -> np.ndarray:
        """For every text the place of its split in SPLITS, uint8 [n]."""
        section, count = self.preprocess, len(self.kept)
        if not count:
            self.left_out.settle(self.total, 0.0)
            raise UserError(f"{self.raw}: there are no texts in it (keys: preprocess.file, preprocess.folders).")
        marks, own = self.marks(), np.array(self.own)
        if not section.says_split:
            places = splits_by_group(marks, own, seed, section.val_fraction, section.test_fraction or 0.0)
            if self.group or section.keep_copies_together:
                self.refuse_empty(places, marks)
            return places
        places = np.array(self.splits)
        if section.keep_copies_together:
            latest = np.zeros(int(marks.max()) + 1, np.uint8)
            np.maximum.at(latest, marks, places)
            if moved := int((latest[marks] != places).sum()):
                warn([f"{moved} texts have copies in a later split (train, val, test) than their own, and were moved there"])
            places = latest[marks]
        if section.val_fraction and not (places == 1).any():
            train = np.flatnonzero(places == 0)
            places[train] = splits_by_group(marks[train], own[train], seed, section.val_fraction, 0.0)
        return places

    def marks(self) -> np.ndarray:
        """int64 [n]: equal numbers for texts that stay together."""
        near = text_groups(self.kept) if self.preprocess.keep_copies_together else None
        if self.group:
            marks = self.group.each_alone(np.array(self.groups))
            return marks.astype(np.int64) if near is None else joined(marks, near)
        if near is not None:
            return near
        equal = equal_texts(self.kept)
        if 2 * (number := len(np.unique(equal))) < len(equal):  # of a few large groups there is no fair split
            warn([f"{len(equal)} texts have only {number} that differ: they are split one by one, equal ones into all splits"])
            return np.arange(len(equal))
        return equal

    def refuse_empty(self, places: np.ndarray, marks: np.ndarray) -> None:
        """Where groups, or copies, leave nothing for a split that should have a share."""
        for split, fraction in (("train", 1.0), ("val", self.preprocess.val_fraction), ("test", self.preprocess.test_fraction or 0.0)):
            if fraction and not (places == SPLITS.index(split)).any():
                key = f"group is {self.group.name!r}" if self.group else "keep_copies_together is true"
                fix = "take other fractions, or other groups" if self.group else "set it to false, or take other fractions"
                _, sizes = np.unique(marks, return_counts=True)
                what = f"what it keeps together, {sizes.max()} of {len(marks)} texts at most, leaves none for {split}"
                raise UserError(f"preprocess.{key}, and {what}: {fix}.")

    def settle(self, places: np.ndarray) -> None:
        """The classes; leaves out what has one that train lacks, and says what was cut."""
        names = sorted(self.labels, key=self.labels.__getitem__)
        in_train = {name for label in np.unique(np.array(self.own)[places == 0]) for name in names[label]}
        self.classes = self.preprocess.classes or sorted(in_train)
        if len(self.classes) < 2 or (self.preprocess.task == "binary" and len(self.classes) != 2):
            wanted = "two" if self.preprocess.task == "binary" else "at least two"
            raise UserError(
                f"{self.raw}: train has {len(self.classes)} classes ({named(self.classes)}), but the task {self.preprocess.task} "
                f"needs {wanted}: check preprocess.label (or folders) and task."
            )
        if len(self.classes) > MAX_CLASSES:
            raise UserError(
                f"{self.raw}: train has {len(self.classes):,} classes, more than {MAX_CLASSES:,}: check which column is the label."
            )
        for label, own in enumerate(names):
            if missing := [name for name in own if name not in self.classes]:
                for place in np.flatnonzero(np.array(self.own) == label):
                    self.left_out.add(self.name_of(int(place)), f"has the label {shown(missing[0])}, which no text of train has")
                    self.own[place] = -1
        self.left_out.settle(self.total, self.preprocess.max_bad_fraction)
        if self.kept.num_cut:
            most = self.preprocess.max_length
            warn([f"{self.kept.num_cut} of {len(self.kept)} texts are longer than preprocess.max_length ({most:,}) and are cut there"])

    def name_of(self, place: int) -> str:
        return self.items[self.lines[place]] if self.items is not None else f"line {self.lines[place]}"

    def by_split(self, places: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
        """(split, inputs, targets, lines) of the texts, each given to the split at its place."""
        targets, own, lines = self.targets(), np.array(self.own), np.array(self.lines, dtype=np.int64)
        with self.kept.file:
            size = max(1, CHUNK_CODES // self.kept.width)
            for start in range(0, len(self.kept), size):
                stop = min(start + size, len(self.kept))
                rows, here, labels = self.kept.rows(start, stop), places[start:stop], own[start:stop]
                for place, split in enumerate(SPLITS):
                    at = np.flatnonzero((here == place) & (labels >= 0))
                    yield split, rows[at], targets[labels[at]], lines[start:stop][at]

    def targets(self) -> np.ndarray:
        """By label: int64 [labels] of places in `classes`, or 0 and 1 for each of them."""
        place_of = {name: place for place, name in enumerate(self.classes)}
        names = [[place_of[name] for name in label if name in place_of] for label in sorted(self.labels, key=self.labels.__getitem__)]
        if self.preprocess.task != "multilabel":
            return np.array([own[0] if own else -1 for own in names], dtype=np.int64)
        targets = np.zeros((len(names), len(self.classes)), dtype=np.uint8)
        for row, own in zip(targets, names, strict=True):
            row[own] = 1
        return targets


def labels_of(one: Found, preprocess: Preprocess) -> tuple[str, tuple[str, ...]]:
    """What is wrong with a text, if anything, and its labels, by name."""
    if one.problem:
        return one.problem, ()
    is_several, known = preprocess.task == "multilabel", preprocess.classes
    words = [label.split(preprocess.label_separator) for label in one.labels] if preprocess.label_separator else [one.labels]
    labels = [as_class(word) for word in chain(*words) if word.strip()]
    if not labels and not is_several:
        return "has no label", ()
    if len(labels) > 1 and not is_several:
        return f"has {len(labels)} labels (key: task)", ()
    if None in labels:
        return f"has a label of more than {MAX_NAME} characters, or one that cannot be shown", ()
    names = tuple(sorted({label for label in labels if label is not None}))
    if known is not None and (unknown := [name for name in names if name not in known]):
        return f"has the label {shown(unknown[0])}, which is none of preprocess.classes", ()
    if preprocess.says_split and split_of(one.split) is None:
        return f"is said to be of the split {shown(one.split)}, not train, val or test", ()
    return "", names


def split_of(word: str) -> int | None:
    """Its place in SPLITS, if it is one."""
    return WORDS.get(word.strip().lower())


def as_class(label: str) -> str | None:
    """A class's name as it is shown; None where it cannot be."""
    if len(label) > MAX_NAME:
        return None
    name = " ".join(unicodedata.normalize("NFC", label).split())
    return name if name.isprintable() and name else None
