"""Pictures of anybody's: photographs of any size and format, labelled by their folders, their names, a table or texts beside them.

Reads   raw/, a folder at any depth, or archives in it (stages/reading/raw_files.py), some hundreds of pictures at a time.

What is not a picture (texts, what desktops leave) is passed over and counted apart; a picture that cannot be read, or has no label, is left
out and named, and more of them than `max_bad_fraction` are refused.
"""

import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from examples.rows import listed
from stages.common.meta import Format
from stages.common.params import EACH, ONE, ONE_OR_EACH, Section
from stages.common.splits import SPLITS
from stages.reading.contents import Contents, LeftOutItems, Notes, printable
from stages.reading.group_splits import MIN_TO_SPLIT, WORDS, joined, splits_by_group
from stages.reading.picture_labels import Classes, Columns, Labels, Pattern, Told, bounded, by_folder, by_pattern, by_table, by_text
from stages.reading.pictures import PictureReader, Spool
from stages.reading.raw_files import RawFiles
from stages.reading.sizes import Pictures
from stages.shell.errors import UserError

# What no other kind of data reads with: check puts a hash of these into data/checked/datasets/<dataset>.json.
READS = (
    "examples/cells.py",
    "examples/parquet.py",
    "examples/pictures.py",
    "examples/rows.py",
    "stages/reading/archives.py",
    "stages/reading/copies.py",
    "stages/reading/delimited.py",
    "stages/reading/group_splits.py",
    "stages/reading/picture_labels.py",
    "stages/reading/pictures.py",
    "stages/reading/raw_files.py",
    "stages/reading/sizes.py",
)
SHOWN = 20  # classes in the description
MANY_CLASSES = 20  # pictures from which on labels that are nearly all different are a mistake

Folder = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*(/[^/\\.][^/\\]*)*/?$")]  # no path that leaves raw/
Name = Annotated[str, Field(min_length=1)]


class TableBySplit(Section):
    train: Folder
    val: Folder | None = None
    test: Folder


class Preprocess(Pictures):
    """How pictures are labelled and split; their size is described in stages/reading/sizes.py.

    The label is the name of the folder that a picture lies in; `level` 1 is the first folder below raw/, or below that of the split,
    `whole` the whole path. Or it is what `label_pattern`, a regular expression, finds in the file's name (its first group; a pattern with a
    / sees the path). Or a `table` (CSV, TSV, Parquet) has it, or one for each split ({train: ..., test: ...}): its column `file` names a
    picture, with or without folder and suffix, and a column named in `label` has the label; several columns of 0 and 1 are the classes
    themselves, and with multilabel `label_separator` stands between the labels of a cell. Or, with `label_files`, the text (.txt) of the
    same name. `ignore_case` makes labels that differ by case or blanks alone one class. `classes` lists the classes in order; pictures of
    others are bad then. A regression is of the numbers in the columns `label`.

    `train`, `val` and `test` are folders; where they are not given, `test_fraction` of the pictures, chosen by the seed, are for the test
    and `val_fraction` of the others for validation; or `split`, a column of the table, says it (train, val, test). Pictures with the same
    cell in the column `group`, or for which `group_pattern` finds the same in their names, stay together, and so, with
    `keep_copies_together`, do copies, whatever their size and compression. `leave_out` names files that are not read.
    """

    input_kind: ClassVar[str] = "image"
    task: Literal["multiclass", "multilabel", "regression"]  # of two classes multiclass too: the usual networks have an output a class
    level: Annotated[int, Field(ge=1)] | Literal["deepest", "whole"] | None = None
    label_pattern: str | None = None
    label_files: bool = False
    table: Annotated[Annotated[Folder, ONE] | Annotated[TableBySplit, EACH], ONE_OR_EACH] | None = None
    format: Format = Format()
    file: Name | None = None
    label: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None
    label_separator: Annotated[str, Field(min_length=1, max_length=10)] | None = None
    ignore_case: bool = False
    classes: Annotated[list[Name], Field(min_length=2)] | None = None
    leave_out: list[str] = Field(default_factory=list)
    train: Folder | None = None
    val: Folder | None = None
    test: Folder | None = None
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    val_fraction: float | None = Field(default=None, ge=0, lt=1)
    split: Name | None = None
    group: Name | None = None
    group_pattern: str | None = None
    keep_copies_together: bool = False

    @field_validator("label_pattern", "group_pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {pattern!r} ({error})") from error
        return pattern

    @model_validator(mode="after")
    def _labels_fit(self) -> "Preprocess":
        ways = [name for name in ("level", "label_pattern", "table") if getattr(self, name) is not None]
        ways += ["label_files"] if self.label_files else []
        if len(ways) > 1:
            raise ValueError(f"expected one way to know labels, got {' and '.join(ways)}")
        if self.table is None and (needing := [name for name in ("file", "label", "group", "split") if getattr(self, name) is not None]):
            raise ValueError(f"expected table, of which {' and '.join(needing)} name{'s' * (len(needing) == 1)} columns")
        if self.table is not None and (self.file is None or self.label is None):
            raise ValueError("expected file and label, columns of table")
        if self.task == "regression" and self.table is None:
            raise ValueError("expected table, which has the numbers of a regression")
        if self.task == "multilabel" and self.table is None and not self.label_files:
            raise ValueError("expected table or label_files where a picture has several labels")
        if self.label_separator is not None and self.task != "multilabel":
            raise ValueError("expected label_separator with the task multilabel alone")
        columns = self.columns_of_classes()
        for names in (self.classes or [], columns):
            if len({name.strip() for name in names}) < len(names) or names != [name.strip() for name in names]:
                raise ValueError("expected names of classes that are all different, without blanks around them")
        if columns and self.classes is not None and set(columns) != set(self.classes):
            raise ValueError("expected classes to be the columns of label, in any order")
        return self

    @model_validator(mode="after")
    def _splits_fit(self) -> "Preprocess":
        folders = {name: getattr(self, name) for name in ("train", "val", "test")}
        fractions = [name for name in ("test_fraction", "val_fraction") if getattr(self, name) is not None]
        if self.split is not None and (any(folders.values()) or fractions):
            raise ValueError("expected neither folders nor fractions where split names a column that says it")
        if isinstance(self.table, TableBySplit):
            if any(folders.values()) or self.split is not None or self.test_fraction is not None:
                raise ValueError("expected neither train, val, test and test_fraction nor split where table has one for each split")
            if (self.table.val is None) == (self.val_fraction is None):
                raise ValueError("expected either a table for val, or val_fraction, a share of train's pictures")
        for name in ("test", "val") if self.split is None and not isinstance(self.table, TableBySplit) else ():
            if (folders[name] is None) == (getattr(self, f"{name}_fraction") is None):
                raise ValueError(f"expected either {name}, a folder, or {name}_fraction, a share of the pictures")
        given = [PurePosixPath(folder or ".") for name, folder in folders.items() if folder or name == "train"]
        for place, one in enumerate(given):
            if any(one.is_relative_to(other) or other.is_relative_to(one) for other in given[:place]):
                raise ValueError("expected different folders for train, val and test, and none within another")
        if self.group is not None and self.group_pattern is not None:
            raise ValueError("expected at most one of group and group_pattern")
        if self.train_crop != self.crop and self.val_fraction == 0:
            raise ValueError(
                "expected val_fraction above 0 where train_crop is not crop: without val, epochs are compared on train's pictures"
            )
        return self

    @property
    def says_splits(self) -> bool:
        """Whether folders or tables say the splits."""
        return bool(self.train or self.val or self.test or self.split) or isinstance(self.table, TableBySplit)

    def columns_of_classes(self) -> list[str]:
        """Columns of 0 and 1, where the labels are such."""
        return self.label if self.label and self.task != "regression" and len(self.label) > 1 else []


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    files = RawFiles(raw, LeftOutItems(), Notes())
    try:
        return Reading(files, preprocess, seed).contents()
    except BaseException:
        files.close()
        raise


class Reading:
    """From names of files to Contents: which split a picture is given to, its labels, its group."""

    def __init__(self, files: RawFiles, preprocess: Preprocess, seed: int):
        self.files, self.preprocess, self.seed = files, preprocess, seed
        self.left_out, self.notes = files.left_out, files.notes
        given = {name: getattr(preprocess, name) for name in SPLITS}
        self.folders = {name: folder.rstrip("/") for name, folder in given.items() if folder}
        self.base = files.base(list(self.folders.values()))
        self.prefixes = {name: f"{self.base}{folder}/" for name, folder in self.folders.items()} or {"train": self.base}
        self.split_of = self.by_folder_of_split()
        self.told = Told({}, {}, {}, set())

    def by_folder_of_split(self) -> dict[str, str]:
        """The split in whose folder each picture lies; those in none are passed over."""
        skipped, found = set(self.preprocess.leave_out), dict[str, str]()
        for name in self.files.pictures:
            split = next((split for split, prefix in self.prefixes.items() if name.startswith(prefix)), None)
            if name in skipped:
                self.notes.add("named in preprocess.leave_out", name)
            elif split is None:
                self.notes.add(f"pictures outside {' and '.join(self.folders.values())}, passed over", name)
            else:
                found[name] = split
        for split, prefix in self.prefixes.items():
            if split not in found.values():
                what = "has no picture" if split not in self.folders else f"has no folder {prefix.rstrip('/')} with pictures"
                keys = "preprocess.train, val and test" if self.folders else "datasets.<name>.raw, or get the files there"
                raise UserError(f"{self.files.raw} {what}: fix {keys}.")
        if not self.preprocess.says_splits:
            self.tell_of_splits()
        return found

    def tell_of_splits(self) -> None:
        """Folders of splits that no key names."""
        tops = {name[len(self.base) :].split("/")[0] for name in self.files.pictures if "/" in name[len(self.base) :]}
        if len(named := [top for top in sorted(tops) if top.lower() in WORDS]) > 1:
            self.notes.say(f"pictures of the folders {' and '.join(named)} are split anew: preprocess.train, val and test do not name them")

    def contents(self) -> Contents:
        section, labels = self.preprocess, self.labels()
        classes: list[str] | None
        targets: dict[str, list[Any]]
        if section.task == "regression":
            classes, targets = None, {name: list(map(float, values)) for name, values in labels.items()}
        else:
            classes, targets = self.classes_of(labels)
        names = self.in_order(targets)
        values = self.shaped([targets[name] for name in names], classes)
        reader = PictureReader(self.files, names, values, section)
        spool = Spool(reader) if section.keep_copies_together else None
        splits = self.choose_splits(names, values, None if spool is None else spool.groups)
        chunks = reader.by_split(splits) if spool is None else spool.by_split(splits)
        return Contents(
            description=self.description(classes),
            input=section.input(),
            classes=classes,
            outputs=None if classes else section.label,
            chunks=chunks,
            left_out=self.left_out,
            measure=section.normalize == "train",
            standardise_targets=classes is None,
            items=names,
            notes=self.notes,
        )

    # Labels

    def labels(self) -> Labels:
        section, names = self.preprocess, list(self.split_of)
        several = section.task == "multilabel"
        if section.table is not None:
            found = self.by_tables(names)
        elif section.label_pattern is not None:
            found = by_pattern(names, section.label_pattern, "preprocess.label_pattern", self.left_out)
        elif section.label_files:
            found = by_text(names, self.files, section.label_separator, several)
        else:
            folders = {name: name[len(self.prefixes[split]) :].rpartition("/")[0] for name, split in self.split_of.items()}
            found = by_folder(folders, section.level, self.left_out, self.notes)
            for folder in self.files.empty:
                if folder.startswith(tuple(self.prefixes.values())):
                    self.notes.add("a folder without pictures, which is not a class", folder)
        if not found:
            raise UserError(f"{self.files.raw}: no picture has a label: {'; '.join(self.left_out.examples)}.")
        self.files.tell()
        for name, of_one in found.items() if several and not section.columns_of_classes() else ():
            if not of_one:
                self.notes.add("pictures without a label, which show none of the classes", name)
        return found

    def by_tables(self, names: list[str]) -> Labels:
        section = self.preprocess
        columns = Columns(section.file or "", section.label or [], section.group, section.split)
        tables = {"": section.table} if isinstance(section.table, str) else (section.table or Section()).model_dump(exclude_none=True)
        for split, table in tables.items():
            told = by_table(self.files, table, section.format, columns, section.task, section.label_separator, names)
            if again := sorted(self.told.seen & told.seen):
                raise UserError(f"{table} names {printable(again[0])}, which the table of another split names too: keep one of the rows.")
            splits = dict.fromkeys(told.labels, split) if split else told.splits
            labels, groups = self.told.labels | told.labels, self.told.groups | told.groups
            self.told = Told(labels, groups, self.told.splits | splits, self.told.seen | told.seen)
        for name in names:
            if name not in self.told.seen:
                self.notes.add(f"pictures without a row in {' and '.join(tables.values())}, passed over", name)
        return self.told.labels

    def classes_of(self, labels: Labels) -> tuple[list[str], dict[str, list[int]]]:
        section, targets = self.preprocess, dict[str, list[int]]()
        classes = Classes(labels, section.classes or section.columns_of_classes() or None, section.ignore_case)
        for name, of_one in labels.items():
            try:
                targets[name] = classes.of(of_one)
            except ValueError as error:
                self.left_out.add(name, str(error))
        if len(classes.all) < (2 if section.task == "multiclass" else 1):
            only = f", {printable(classes.all[0])}" if classes.all else ""
            raise UserError(f"{self.files.raw} has one class alone{only}, where two or more are needed: add pictures of another one.")
        if len(labels) >= MANY_CLASSES and 2 * len(classes.all) > len(labels) and section.task == "multiclass":
            some = listed(list(map(printable, classes.all[:5])))
            raise UserError(f"{len(labels)} pictures have {len(classes.all)} classes, such as {some}: check where labels are read from.")
        if section.task == "multiclass":
            self.refuse_lone_classes(classes.all, targets)
        return classes.all, targets

    def refuse_lone_classes(self, classes: list[str], targets: dict[str, list[int]]) -> None:
        """A class that is not in each of the given folders, and those of which a test by chance has none."""
        few = Counter(place for (place,) in targets.values())
        if self.preprocess.test_fraction and max(few.values()) < MIN_TO_SPLIT:
            told = listed([f"{name!r} has {few[place]}" for place, name in enumerate(classes)])
            what = f"of each class {MIN_TO_SPLIT} pictures are needed to split them, since one cannot be both in train and in test; {told}"
            raise UserError(f"{self.files.raw}: {what}: add some, or give preprocess.test, a folder.")
        counts = {split: Counter(place for name, (place,) in targets.items() if self.split_of[name] == split) for split in self.prefixes}
        for place, name in enumerate(classes):
            lacking = [folder for split, folder in self.folders.items() if split != "val" and not counts[split][place]]
            if lacking and (self.preprocess.classes is None or self.folders.get("train") in lacking):
                fix = "remove the class" if self.preprocess.classes else "list all classes in preprocess.classes"
                raise UserError(f"The class {name!r} has no picture in {' and '.join(lacking)}: add some, or {fix}.")
            number = counts["train"][place]
            if lacking:
                self.notes.say(f"the class {name!r} has no picture in {' and '.join(lacking)}")
            elif number < MIN_TO_SPLIT and self.preprocess.test_fraction:
                what = "one picture, which cannot be both in train and in test" if number == 1 else f"{number} pictures"
                self.notes.say(f"the class {name!r} has {what}: all of it stays in train, and no figure is of it")

    def in_order(self, targets: dict[str, Any]) -> list[str]:
        """As the table has them; else by split, class and name."""
        if self.preprocess.table is not None:
            return list(targets)
        order = {split: place for place, split in enumerate(SPLITS)}
        return sorted(targets, key=lambda name: (order[self.split_of[name]], targets[name], name.split("/")))

    def shaped(self, targets: list[list[Any]], classes: list[str] | None) -> np.ndarray:
        if self.preprocess.task == "regression":
            return np.array(targets, dtype=np.float32)
        if self.preprocess.task == "multiclass":
            return np.array([place for (place,) in targets], dtype=np.int64)
        values = np.zeros((len(targets), len(classes or [])), np.uint8)
        for row, places in zip(values, targets, strict=True):
            row[places] = 1
        return values

    def description(self, classes: list[str] | None) -> str:
        section = self.preprocess
        names = f"{', '.join(classes[:SHOWN])}{f' and {len(classes) - SHOWN} more' if len(classes) > SHOWN else ''}" if classes else ""
        if section.task == "regression":
            return f"Pictures, and {', '.join(section.label or [])} to be predicted."
        if section.task == "multilabel":
            return f"Pictures that show any of: {names}."
        if section.table is None and section.label_pattern is None and not section.label_files:
            return f"Pictures in class folders: {names}."
        return f"Pictures of these classes: {names}."

    # Splits

    def choose_splits(self, names: list[str], targets: np.ndarray, copies: np.ndarray | None) -> np.ndarray:
        """For every picture the place of its split in SPLITS."""
        section = self.preprocess
        splits, groups = self.given_splits(names), self.groups_of(names)
        if copies is not None:
            groups = joined(groups, copies)
        free = np.flatnonzero(splits == 0)
        if section.split is None and len(free):
            fractions = section.val_fraction or 0.0, section.test_fraction or 0.0
            splits[free] = splits_by_group(groups[free], strata(targets[free], section.task), self.seed, *fractions)
            for place, fraction in zip((1, 2), fractions, strict=True):
                if (section.group or section.group_pattern) and fraction and not (splits == place).any():
                    what = f"The {len(np.unique(groups[free]))} groups of pictures leave none for {SPLITS[place]}"
                    raise UserError(f"{what}: take smaller groups, or other fractions.")
        in_splits = np.bincount(np.unique(np.stack([groups, splits]), axis=1)[0])
        if several := int((in_splits > 1).sum()) if section.group or section.group_pattern else 0:
            self.notes.say(f"{several} groups have pictures in more than one split: the folders or the table say so")
        if copies is None or not section.says_splits:
            return splits
        latest = np.zeros(int(copies.max()) + 1, np.uint8)
        np.maximum.at(latest, copies, splits)
        if moved := int((latest[copies] != splits).sum()):
            self.notes.say(f"{moved} pictures have copies in a later split (train, val, test) than their own, and were moved there")
        return latest[copies]

    def given_splits(self, names: list[str]) -> np.ndarray:
        if self.preprocess.split is None and not isinstance(self.preprocess.table, TableBySplit):
            return np.array([SPLITS.index(self.split_of[name]) for name in names], np.uint8)
        words = self.told.splits
        if strange := [name for name in names if words[name] not in WORDS]:
            what = f"{len(strange)} pictures have another word, such as '{printable(words[strange[0]])}'"
            raise UserError(f"preprocess.split is {self.preprocess.split!r}, whose cells must be train, val or test; {what}.")
        return np.array([WORDS[words[name]] for name in names], np.uint8)

    def groups_of(self, names: list[str]) -> np.ndarray:
        """A number for each picture, the same within a group; a picture without one is a group of its own."""
        section, of = self.preprocess, dict[str, str | None](self.told.groups)
        if section.group_pattern is not None:
            pattern = Pattern(section.group_pattern)
            with bounded("preprocess.group_pattern"):
                of = {name: pattern.of(name) for name in names}
        if section.group is None and section.group_pattern is None:
            return np.arange(len(names))
        numbers = dict[str, int]()
        for name in names:
            if not of.get(name):
                self.notes.add("pictures without a group, each of which is one of its own", name)
        return np.array([numbers.setdefault(of.get(name) or f"\0{name}", len(numbers)) for name in names])


def strata(targets: np.ndarray, task: str) -> np.ndarray:
    """Whole numbers by which pictures are spread over the splits: their class; their classes together, rare ones as one; or one for all."""
    if task == "multiclass":
        return targets
    if task == "regression":
        return np.zeros(len(targets), np.int64)
    combinations, codes, counts = np.unique(["".join(map(str, row)) for row in targets], return_inverse=True, return_counts=True)
    return np.where(counts[codes] < MIN_TO_SPLIT, len(combinations), codes)
