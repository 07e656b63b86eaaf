"""A dataset and a model of pictures: finds what says what they show, says what it found, and proposes the two entries.

What they show is said by class folders, by the files' names, by a table or by texts beside them; splits, by folders of the usual names.
Photographs get the network that knows ImageNet, of which only the head is fitted; many pictures of an icon's size, a small network of their
own.
"""

import argparse
import re
import shutil
import statistics
import tempfile
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from entries.networks import CROP, SMALL, fitted, learns_from_scratch, small
from entries.pictures.tables import TABLES, labels_by_tables
from entries.proposal import NOT_WRITTEN, checked, flag, listed_with_counts, reads_like_splits, refuse_odd_name, settings, some_of, with_set
from examples.pictures import BadPicture, decode, is_hidden, is_meant_to_be_one, is_other, looks_like_one
from stages.common.files import naming
from stages.common.splits import SPLITS
from stages.datasets.pictures import Preprocess, Reading
from stages.reading.archives import SUFFIXES
from stages.reading.contents import LeftOutItems, Notes, printable
from stages.reading.group_splits import WORDS
from stages.reading.picture_labels import LETTERS, Pattern
from stages.reading.raw_files import RawFiles, pack
from stages.shell.errors import UserError

DATA = "a folder of pictures, or a .zip or .tar of one"
OF_TABLES = ("target", "group", "encoding", "separator", "header", "names")  # options that mean something where a table is found
TAKES = ("set", "test_fraction", "scratch", "split", *OF_TABLES)
LOOKED_AT = 1000  # names by which a folder is told to be one of pictures
DECODED = 60  # pictures that are looked at
LAST_LETTERS = r"([^\W\d_]+)[\W\d_]*\.\w+$"  # of a name without its suffix
LABEL_KEYS = ("level", "label_pattern", "label_files", "table")  # of which one says where labels are read from
MOSTLY = 0.8  # of the cells of a column, that name pictures
MIN_OF_CLASS = 2  # pictures, where the names of files are to say the class
FEW_CLASSES = 0.2  # of the number of pictures
PACKED = 1000  # files: from here on DVC would spend its time on their bookkeeping
WORTH_A_TRY = 1000  # pictures, from where on a network of their own may be better
BAD_PICTURES = 0.05
OTHER_LABELS = re.compile(r"\.(jsonl?|ndjson|xml|xlsx?|ods|txt|parquet|ya?ml|mat|pkl|names|data)\Z", re.IGNORECASE)  # not read as labels
PAGES = re.compile(r"readme|licen[cs]e|requirements", re.IGNORECASE)
BEGINNINGS = 50  # files without a picture's name, of which the first bytes are looked at
RESIZE = 288  # of which CROP is cut out
SHOWN = 8  # classes


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("pictures").add_argument
    add("--scratch", action="store_true", help=f"a small network of their own, on {SMALL} pixels at most, instead of ImageNet's")


def fits(path: Path, options: argparse.Namespace) -> bool:
    """Whether there are pictures, or an archive that may hold some."""
    if not path.is_dir():
        return path.name.lower().endswith(SUFFIXES)
    files = [file for file in islice(path.rglob("*"), LOOKED_AT) if not is_hidden(file.name)]
    if any(is_meant_to_be_one(file.name) or file.name.lower().endswith(SUFFIXES) for file in files):
        return True
    unnamed = list(islice((file for file in files if not is_other(file.name) and file.is_file()), BEGINNINGS))
    return 2 * sum(begins_as_one(file) for file in unnamed) > len(unnamed)


def begins_as_one(file: Path) -> bool:
    """By its first bytes."""
    try:
        with file.open("rb") as opened:
            return looks_like_one(opened.read(32))
    except OSError:
        return False


def look(path: Path, options: argparse.Namespace) -> "Pictures":
    refuse_odd_name(path)
    return Pictures(path, options)


def are_splits(folders: set[str]) -> bool:
    """Whether all have names as train, or train2017."""
    return {re.sub(r"[\d_-]+$", "", name.lower()) for name in folders} <= WORDS.keys()


class Pictures:
    """Pictures that were looked at. Raises UserError where something must be told."""

    def __init__(self, path: Path, options: argparse.Namespace):
        self.path, self.options, self.said = path, options, list[str]()
        self.told = settings(options.set, Preprocess)
        with tempfile.TemporaryDirectory() as beside:
            folder = path
            if not path.is_dir():
                folder = Path(beside)
                shutil.copyfile(path, folder / path.name)
            try:
                with RawFiles(folder, LeftOutItems(), Notes()) as files:
                    self.look_at(files)
            except UserError as error:
                raise with_set(error, {f"{folder}/": "", str(folder): path.name}) from error

    def look_at(self, files: RawFiles) -> None:
        if not files.pictures:
            raise UserError(f"{self.path.name} holds no picture: {'; '.join(files.left_out.examples) or 'its files are of other kinds'}.")
        self.count = len(files.pictures)
        self.sides = self.look_at_some(files)
        values = {**self.sizes(), **self.splits(files), "max_bad_fraction": BAD_PICTURES}
        self.refuse_unused()
        labels = {} if self.labels_are_told() else self.labels(files, values)
        table = self.told.get("table", labels.get("table"))
        if isinstance(table, dict):  # which says the splits
            values = {key: value for key, value in values.items() if key not in (*SPLITS, "test_fraction", "keep_copies_together")}
            values |= {} if "val" in table else {"val_fraction": values.get("val_fraction", 0.0)}
        self.preprocess = {"task": "multiclass", **labels, **values, **self.told}
        self.section = checked(Preprocess, self.preprocess)
        self.look_at_labels(files)

    def look_at_some(self, files: RawFiles) -> list[int]:
        """Shorter sides of an even sample; what cannot be read of it is said."""
        sides, bad, stride = list[int](), list[str](), max(1, self.count // DECODED)
        with warnings.catch_warnings(action="ignore"):
            for name in files.pictures[::stride]:
                try:
                    sides.append(min(decode(files.read(name)).image.size))
                except (BadPicture, ValueError) as error:
                    bad.append(f"{printable(name)}: {error}")
        if not sides:
            raise UserError(f"{self.path.name}: no picture can be read; {bad[0]}.")
        if bad:
            self.said.append(f"of {len(sides) + len(bad)} that were looked at {len(bad)} cannot be read, such as {bad[0]}")
        return sides

    # Sizes and splits

    @property
    def is_small(self) -> bool:
        """Whether a small network learns from nothing else: where it is asked for, and of many pictures of an icon's size."""
        return self.options.scratch or learns_from_scratch(self.count, statistics.median(self.sides))

    def sizes(self) -> dict[str, Any]:
        if not self.is_small:
            return {"resize": RESIZE, "crop": CROP, "train_crop": CROP, "normalize": "symmetric"}
        side = min(int(statistics.median(self.sides)), SMALL)
        return {"resize": side if set(self.sides) != {side} else None, "crop": side, "train_crop": side, "normalize": "train"}

    def splits(self, files: RawFiles) -> dict[str, Any]:
        """Folders of the usual names, else shares."""
        val = 0.1 if self.is_small else 0.0  # without one, the head's strength is chosen by folds of train
        if self.options.split or "split" in self.told:
            return {"split": self.options.split} if self.options.split else {}
        if any(one in self.told for one in SPLITS):
            shares = {"test": {"test_fraction": self.options.test_fraction}, "val": {"val_fraction": val}}
            return {key: value for split, share in shares.items() if split not in self.told for key, value in share.items()}
        found, left_out = self.folders_of_splits(files)
        self.said += [f"the pictures of {top} have no class folders, as the others have: passed over" for top in left_out]
        if "test" not in found and {"train", "val"} <= found.keys():
            found["test"] = found.pop("val")
            self.said.append(f"the folder {found['test']} is the test: there is no other")
        if {"train", "test"} <= found.keys():
            self.said.append(f"splits as their folders say: {', '.join(f'{found[one]} is {one}' for one in SPLITS if one in found)}")
            return {**{one: found[one] for one in SPLITS if one in found}, **({} if "val" in found else {"val_fraction": val})}
        of_train = {"train": found["train"]} if left_out and "train" in found else {}
        return {**of_train, "test_fraction": self.options.test_fraction, "val_fraction": val, "keep_copies_together": True}

    def folders_of_splits(self, files: RawFiles) -> tuple[dict[str, str], list[str]]:
        """By split, and those of val and test whose pictures nobody has labelled, as a competition hands them out."""
        base, found, in_classes = files.base([]), dict[str, str](), set[str]()
        for name in files.pictures:
            top, sign, inside = name[len(base) :].partition("/")
            if sign and top.lower() in WORDS:
                found.setdefault(SPLITS[WORDS[top.lower()]], top)
                in_classes |= {top} if "/" in inside else set()
        has_table = any(name.lower().endswith(TABLES) for name in files.others)
        left_out = [] if has_table or found.get("train") not in in_classes else [top for top in found.values() if top not in in_classes]
        return {split: top for split, top in found.items() if top not in left_out}, left_out

    # Labels

    def labels_are_told(self) -> bool:
        return any(key in self.told for key in LABEL_KEYS)

    def refuse_unused(self) -> None:
        """Options that mean nothing where --set says where labels are read from."""
        told = [key for key in LABEL_KEYS if key in self.told]
        unused = [flag(name) for name in (*OF_TABLES, *(() if "table" in told else ("split",))) if getattr(self.options, name) is not None]
        if told and unused:
            keys = " (file, label, group, split and format are keys of --set too)" if "table" in told else ""
            raise UserError(f"{' and '.join(unused)}: not read beside --set {told[0]}=...: leave it out{keys}.")

    def labels(self, files: RawFiles, splits: dict[str, Any]) -> dict[str, Any]:
        """The keys that say where labels are read from."""
        base = files.base([])
        inside = [name[len(base) :] for name in files.pictures]
        named = splits | self.told
        tops = tuple(f"{named[one]}/" for one in SPLITS if one in named)
        inside = [name.partition("/")[2] if tops and name.startswith(tops) else name for name in inside]
        folders = [name.rpartition("/")[0] for name in inside]
        tables = [name for name in sorted(files.others) if name.lower().endswith(TABLES)]
        if of_table := [flag(name) for name in (*OF_TABLES, "split") if getattr(self.options, name) is not None]:
            if told := labels_by_tables(files, tables, self.path.name, self.options, self.said):
                return told
            mean, them = ("mean", "them") if len(of_table) > 1 else ("means", "it")
            what = f"{' and '.join(of_table)} {mean} nothing: leave {them} out"
            raise UserError(f"{self.path.name} has no table (CSV, TSV) that names its pictures, so {what}.")
        if all(folders) and len(set(folders)) > 1:
            last = {folder.rpartition("/")[2] for folder in folders}
            if are_splits(last) and (told := labels_by_tables(files, tables, self.path.name, self.options, self.said)):
                return told
            self.refuse_other_labels(files, last)
            self.refuse_splits_in_classes(folders)
            if nested := next((folder for folder in folders if "/" in folder), ""):
                first, deepest = nested.split("/")[0], nested.split("/")[-1]
                what = f"the deepest says the class, {deepest} (level); --set level=1 takes the first, {first}"
                self.said.append(f"folders lie in folders, such as {nested}: {what}")
            return {"level": "deepest"} if nested else {}
        if told := labels_by_tables(files, tables, self.path.name, self.options, self.said):
            return told
        if all(folders):  # of one name: the stage's own words say that this is one class alone
            self.refuse_other_labels(files, {folder.rpartition("/")[2] for folder in folders})
            return {}
        for pattern, where in ((LETTERS, "begin"), (LAST_LETTERS, "end")):
            if self.names_say(inside, pattern):
                self.refuse_splits_in_names(inside, pattern, where)
                self.said.append(f"what they show is what their names {where} with (label_pattern)")
                return {"label_pattern": pattern}
        if self.num_texts_beside(files) > MOSTLY * self.count:
            self.said.append("what they show stands in a text beside each")
            return {"label_files": True}
        self.refuse_other_labels(files, set())
        raise UserError(
            f"{self.path.name}: nothing says what the {self.count} pictures show; the first is {printable(inside[0])}. "
            "Put those of each class into a folder of its own; or say which part of their names it is (--set label_pattern='^([a-z]+)'), "
            "or which table has it (--set table=labels.csv --set file=COLUMN --set 'label=[COLUMN]')."
        )

    def refuse_splits_in_classes(self, folders: list[str]) -> None:
        last = {folder.rpartition("/")[2] for folder in folders}
        if all("/" in folder for folder in folders) and {name.lower() for name in last} <= WORDS.keys():
            split, folder = min(last), min(folders).partition("/")[0]
            raise UserError(
                f"{self.path.name}: the folders {some_of(sorted(last), SHOWN)} lie in those of the classes ({printable(folder)}/{split}): "
                f"put splits outside and classes inside ({split}/{printable(folder)}), or split anew (--set level=1)."
            )
        if are_splits(last):
            raise UserError(
                f"{self.path.name}: the folders {printable(some_of(sorted(last), SHOWN))} have names of splits, which are not classes: "
                "put a folder for each class into each of them, and call them train, val and test."
            )

    def refuse_other_labels(self, files: RawFiles, folders: set[str]) -> None:
        """Where folders say nothing, files beside them may: of formats in which labels are not read, or tables that name no pictures."""
        if len(folders) > 1 and not are_splits(folders):
            return
        others = [name for name in sorted(files.others) if not PAGES.match(name.rpartition("/")[2])]
        if tables := [name for name in others if name.lower().endswith(TABLES)]:
            found = f"{some_of(tables, 2)} has no column of which most cells name pictures"
            fix = f"write the pictures' names into a column, with or without folder and suffix, as {printable(files.pictures[0])}"
        elif beside := [name for name in others if OTHER_LABELS.search(name)]:
            found = f"{some_of(beside, 2)} {'is' if len(beside) == 1 else 'are'} not read as labels"
            fix = "write a table (CSV or TSV) with a column of the pictures' names and a column of their labels, and put it into the folder"
            if self.num_texts_beside(files) > MOSTLY * self.count:
                fix += "; or, if the text beside each picture is its label, say so (--set label_files=true)"
        else:
            return
        nothing = f"all lie in folders called {some_of(sorted(folders), SHOWN)}" if folders else "nothing says what the pictures show"
        raise UserError(f"{self.path.name}: {printable(nothing)}, and {printable(found)}: {fix}.")

    def num_texts_beside(self, files: RawFiles) -> int:
        return sum(f"{name.removesuffix(PurePosixPath(name).suffix)}.txt" in files.others for name in files.pictures)

    def refuse_splits_in_names(self, names: list[str], pattern: str, where: str) -> None:
        words = sorted({Pattern(pattern).of(name) or "" for name in names})
        if not reads_like_splits(words):
            return
        any_word, between, letters = f"(?:{'|'.join(words)})", r"[\W\d_]*", r"([^\W\d_]+)"
        other = f"^{any_word}{between}{letters}" if where == "begin" else rf"{letters}{between}{any_word}{between}\.\w+$"
        would = other if self.names_say(names, other) else "..."
        raise UserError(
            f"{self.path.name}: the names of the pictures {where} with splits ({', '.join(words)}), which are not classes: put them into "
            f"folders such as {words[0]}/CLASS; or split anew, and say which part of the names is the class: --set 'label_pattern={would}'."
        )

    def names_say(self, names: list[str], pattern: str) -> bool:
        found = Counter(Pattern(pattern).of(name) for name in names)
        return None not in found and 2 <= len(found) <= max(2, FEW_CLASSES * len(names)) and min(found.values()) >= MIN_OF_CLASS

    def look_at_labels(self, files: RawFiles) -> None:
        """What the entry will read, as the stage preprocess reads it."""
        reading = Reading(files, self.section, 0)
        labels = reading.labels()
        self.classes = list[str]() if self.section.task == "regression" else reading.classes_of(labels)[0]
        counts = Counter(label for of_one in labels.values() for label in of_one)
        self.counts = dict(counts.most_common())
        self.num_labelled, self.left_out = len(labels), files.left_out
        self.passed_over = Counter(
            "hidden" if any(map(is_hidden, name.split("/"))) else PurePosixPath(name).suffix.lower() or name
            for name in files.passed_over
            if name not in files.used
        )

    # The proposal

    def print(self) -> None:
        sides = sorted(self.sides)
        size = (
            f"{sides[0]} pixels"
            if sides[0] == sides[-1]
            else f"{sides[0]} to {sides[-1]} pixels, {int(statistics.median(sides))} in the middle"
        )
        print(f"{self.path.name}: {self.count:,} pictures; of {len(sides)} the shorter side has {size}")
        if self.classes:
            print(f"  {len(self.classes)} classes: {printable(listed_with_counts(self.counts, SHOWN))}")
        for line in self.said:
            print(f"  {printable(line)}")
        if self.count >= WORTH_A_TRY and not self.is_small:
            print(
                "  x-rays, drawings and the like may be better off with a network of their own: compare with --scratch under another NAME"
            )
        if self.passed_over:
            print(f"  not pictures, passed over: {printable(listed_with_counts(dict(self.passed_over), SHOWN))}")
        if self.left_out.count:
            print(f"  left out: {self.left_out.count:,}, such as {'; '.join(self.left_out.examples[:3])}")

    def dataset(self, name: str) -> dict[str, Any]:
        shown = self.section.label or [] if self.section.task == "regression" else self.classes
        use = f"To tell what pictures show: {some_of(shown, SHOWN)}."
        return {"kind": "pictures", "raw": f"data/{name}/raw", "preprocess": self.preprocess, "about": {"use": use, **NOT_WRITTEN}}

    def model(self, name: str) -> dict[str, Any]:
        return small(name, self.section.task, self.section.crop, self.count) if self.is_small else fitted(name)

    def schema(self, address: str) -> str:
        return ""

    def place(self, raw: Path) -> None:
        """As it is, but for many files, which become one zip."""
        if not self.path.is_dir():
            with naming(raw / self.path.name):
                shutil.copyfile(self.path, raw / self.path.name)
            return
        with RawFiles(self.path, LeftOutItems(), Notes()) as files:
            has_archives, number = bool(files.places), files.count
        if number > PACKED and not has_archives:
            stem = re.sub(r"[^\w-]", "_", self.path.name)
            pack(self.path, raw / f"{stem}.zip")
            return
        for path in sorted(self.path.rglob("*")):
            into = raw / path.relative_to(self.path)
            if path.is_dir() or any(map(is_hidden, into.relative_to(raw).parts)) or not path.resolve().is_relative_to(self.path.resolve()):
                continue
            if path.is_file():
                into.parent.mkdir(parents=True, exist_ok=True)
                with naming(into):
                    shutil.copyfile(path, into)
