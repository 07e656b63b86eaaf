"""A dataset and a model of pictures in arrays: finds which arrays are pictures and which are their labels, and proposes the two entries.

Arrays are idx files as MNIST's, .npy files, or those of an .npz. What they hold is told by their shapes and types, the split by their
names. What their numbers stand for is in none of them: the classes are named by --classes, or asked for.
"""

import argparse
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from entries.networks import CROP, SMALL, fitted, learns_from_scratch, small
from entries.project import ask
from entries.proposal import NOT_WRITTEN, checked, listed_with_counts, refuse_odd_name, settings, some_of, with_set
from stages.common.files import naming
from stages.common.splits import SPLITS
from stages.datasets.arrays import Pair, Part, Preprocess, read_labels
from stages.reading.arrays import Array
from stages.reading.contents import printable
from stages.reading.group_splits import WORDS
from stages.shell.errors import UserError

DATA = "a folder of idx or .npy files, or an .npz"
TAKES = ("set", "test_fraction", "scratch", "classes")  # options
MAX_FILES = 50  # in the folder; arrays are few
MAX_CLASSES = 10_000
OTHER_WORDS = {"t10k": 2}  # MNIST's test
SHOWN = 8  # classes


class Found(NamedTuple):
    """An array: its name below raw/, and its shape and type."""

    name: str
    array: Array

    @property
    def is_labels(self) -> bool:
        return self.array.dtype.kind in "bui" and self.array.shape[1:] in ((), (1,))

    @property
    def is_pictures(self) -> bool:
        return len(self.array.shape) in (3, 4)

    @property
    def split(self) -> int | None:
        """Its place in SPLITS, by the words of its name."""
        for word in re.findall("t10k|[a-z]+", self.name.lower().rpartition("/")[2] if ".npz/" in self.name else self.name.lower()):
            for known, place in (WORDS | OTHER_WORDS).items():
                if word == known or (len(known) > 3 and known in word):
                    return place
        return None


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("arrays").add_argument
    add("--classes", metavar="NAME,NAME,...", help="what the labels 0, 1 and so on stand for")


def fits(path: Path, options: argparse.Namespace) -> bool:
    """Whether there are arrays."""
    return any(found_in(path))


def look(path: Path, options: argparse.Namespace) -> "Arrays":
    refuse_odd_name(path)
    return Arrays(path, options)


def found_in(path: Path) -> list[Found]:
    """All arrays of a file, or of the files of a folder, but what no number can be read of."""
    folder = path if path.is_dir() else path.parent
    files = [path] if path.is_file() else sorted(file for file in path.glob("[!.]*") if file.is_file())[:MAX_FILES]
    return [found for file in files for name in names_in(file) if (found := opened(folder, name)) is not None]


def names_in(file: Path) -> list[str]:
    if file.suffix.lower() != ".npz":
        return [file.name]
    if file.suffix != ".npz" or not zipfile.is_zipfile(file):
        return []
    with zipfile.ZipFile(file) as archive:
        return [f"{file.name}/{name.removesuffix('.npy')}" for name in archive.namelist()[:MAX_FILES] if name.endswith(".npy")]


def opened(folder: Path, name: str) -> Found | None:
    try:
        return Found(name, Array(folder, name))
    except (UserError, OSError):
        return None


class Arrays:
    """Arrays that were looked at. Raises UserError where something must be told."""

    def __init__(self, path: Path, options: argparse.Namespace):
        self.path, self.options = path, options
        self.folder = path if path.is_dir() else path.parent
        self.told = settings(options.set, Preprocess)
        try:
            self.look_at(found_in(path))
        except UserError as error:
            raise with_set(error, {f"{self.folder}/": "", str(self.folder): path.name}) from error

    def look_at(self, found: list[Found]) -> None:
        told = {split: self.told[split] for split in SPLITS if split in self.told}
        parts = {**{split: part for split, part in self.parts(found).items() if part not in told.values()}, **told}
        if "train" not in parts and parts:
            known = "; ".join(f"{part['pictures']} and {part['labels']} are {split}" for split, part in parts.items())
            pair = next(f"{{pictures: {part['pictures']}, labels: {part['labels']}}}" for part in parts.values())
            raise UserError(
                f"{self.path.name}: a pair of arrays for train is missing; by their names {printable(known)}. Put train's files there too; "
                f"or split these: --set 'train={printable(pair)}'."
            )
        if "train" not in parts:
            names = ", ".join(f"{one.name} {list(one.array.shape)}" for one in found)
            raise UserError(
                f"{self.path.name}: no array of pictures [n, height, width] has labels of the same number beside it; there are "
                f"{printable(names)}. Say which belong together: --set 'train={{pictures: x.npy, labels: y.npy}}'."
            )
        self.pictures = {split: Array(self.folder, part["pictures"]) for split, part in parts.items()}
        labels = {split: read_labels(Array(self.folder, part["labels"]), [""] * MAX_CLASSES) for split, part in parts.items()}
        self.count, shape = sum(len(of) for of in labels.values()), self.pictures["train"].shape
        self.side = sorted(shape[1:])[-2]  # the shorter one; channels are fewer
        self.is_small = self.options.scratch or learns_from_scratch(self.count, self.side)
        shares = {"test_fraction": self.options.test_fraction, "val_fraction": 0.1 if self.is_small else 0.0}
        self.preprocess = {
            "classes": self.told["classes"] if "classes" in self.told else self.classes(int(max(of.max() for of in labels.values()))),
            **parts,
            **{key: share for key, share in shares.items() if key.removesuffix("_fraction") not in parts},
            "resize": None if self.is_small and self.side <= SMALL else SMALL if self.is_small else CROP,
            "normalize": "train" if self.is_small else "symmetric",
            **{key: value for key, value in self.told.items() if key not in SPLITS},
        }
        self.section = checked(Preprocess, self.preprocess)
        for part in parts.values():
            Pair(self.folder, Part(**part), self.section)  # refuses what preprocess would
        found_labels = np.bincount(np.concatenate(list(labels.values())), minlength=len(self.section.classes))
        self.counts = dict(zip(self.section.classes, found_labels.tolist(), strict=True))
        self.used = sorted({re.sub(r"(\.npz)/.*", r"\1", part[key]) for part in parts.values() for key in ("pictures", "labels")})

    def parts(self, found: list[Found]) -> dict[str, dict[str, str]]:
        """By split, the arrays of pictures and of labels of one number; without a word for a split in its name it is train's."""
        parts = dict[str, dict[str, str]]()
        for place, split in enumerate(SPLITS):
            of_split = [one for one in found if (one.split if one.split is not None else 0) == place]
            pairs = [
                {"pictures": one.name, "labels": other.name}
                for one in of_split
                for other in of_split
                if one.is_pictures and other.is_labels and one.array.shape[0] == other.array.shape[0]
            ]
            if len(pairs) > 1:
                known = "; ".join(f"{pair['pictures']} and {pair['labels']}" for pair in pairs)
                raise UserError(
                    f"{self.path.name}: several arrays could be {split}: {printable(known)}. "
                    f"Say which: --set '{split}={{pictures: {printable(pairs[0]['pictures'])}, labels: {printable(pairs[0]['labels'])}}}'."
                )
            if pairs:
                parts[split] = pairs[0]
        if "test" not in parts and {"train", "val"} <= parts.keys():
            parts["test"] = parts.pop("val")
        return parts

    def classes(self, largest: int) -> list[str]:
        text = self.options.classes
        while not text:
            question = f"What are the classes called that the labels 0 to {largest} stand for, in this order, with commas between them?"
            text = ask(question, "--classes NAME,NAME,... (with make new: ARGS='--classes NAME,NAME,...')")
        classes = [name.strip() for name in text.split(",")]
        if twice := [name for name in classes if classes.count(name) > 1]:
            raise UserError(f"--classes names {printable(twice[0] or 'an empty class')} twice: expected a different name for each label.")
        return classes

    def print(self) -> None:
        shapes = {split: array.shape for split, array in self.pictures.items()}
        size = " x ".join(map(str, shapes["train"][1:]))
        print(f"{self.path.name}: pictures of {size}; {', '.join(f'{shape[0]:,} of {split}' for split, shape in shapes.items())}")
        print(f"  {len(self.counts)} classes: {printable(listed_with_counts(self.counts, SHOWN))}")

    def dataset(self, name: str) -> dict[str, Any]:
        use = f"To tell what pictures show: {some_of(self.section.classes, SHOWN)}."
        return {"kind": "arrays", "raw": f"data/{name}/raw", "preprocess": self.preprocess, "about": {"use": use, **NOT_WRITTEN}}

    def model(self, name: str) -> dict[str, Any]:
        side = self.section.resize or self.side
        return small(name, "multiclass", side, self.count) if self.is_small else fitted(name)

    def schema(self, address: str) -> str:
        return ""

    def place(self, raw: Path) -> None:
        """The files that are read."""
        for name in self.used:
            with naming(raw / name):
                shutil.copyfile(self.folder / name, raw / name)
