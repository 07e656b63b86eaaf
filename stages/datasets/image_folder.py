"""Pictures in folders, a folder a class: photographs of any size and format, or small pictures that are left as they are.

Reads   raw/<class>/*, or raw/<train>/<class>/* and raw/<test>/<class>/*, a hundred pictures at a time; test (where it has no folder) and
        val are held out of train.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from stages.reading.contents import Contents
from stages.reading.left_out import LeftOutItems, printable
from stages.reading.pictures import EXTENSIONS, Files, Pictures, decoded, held_out
from stages.shell.errors import UserError


def stays_in_raw(folder: str) -> str:
    if ".." in folder.split("/"):
        raise ValueError("expected a folder within raw/")
    return folder


Folder = Annotated[str, Field(pattern=r"^[^/\\.][^\\]*$"), AfterValidator(stays_in_raw)]


class Preprocess(Pictures):
    """How pictures are split; their size is described in stages/reading/pictures.py.

    `train` is the folder within raw/ that holds the class folders (left out: raw/ itself), `test` another one; without it
    `test_fraction` of the pictures, chosen by the seed, are for the test.
    """

    train: Folder | None = None
    test: Folder | None = None
    test_fraction: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _folders_fit(self) -> "Preprocess":
        if (self.test is None) == (self.test_fraction is None):
            raise ValueError("expected either test, a folder, or test_fraction, a share of the pictures")
        train, test = (PurePosixPath(folder or ".") for folder in (self.train, self.test))
        if self.test is not None and (train.is_relative_to(test) or test.is_relative_to(train)):
            raise ValueError("expected different folders for train and test, and neither within the other")
        return self

    @property
    def task(self) -> str:
        return "multiclass"  # of two classes too: the usual networks have an output a class

    @property
    def input_kind(self) -> str:
        return "image"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    left_out = LeftOutItems()
    classes = _class_names(raw, preprocess, left_out)
    files = _list_splits(raw, preprocess, classes, seed, left_out)
    return Contents(
        description=f"Pictures in class folders: {', '.join(classes)}.",
        task=preprocess.task,
        input=preprocess.input(),
        classes=classes,
        outputs=None,
        item_shape=preprocess.shape(),
        train_shape=preprocess.shape("train"),
        target_shape=(),
        chunks=decoded(raw, files, preprocess, np.int64, left_out),
        left_out=left_out,
        measure=preprocess.normalize == "train",
    )


def _class_names(raw: Path, preprocess: Preprocess, left_out: LeftOutItems) -> list[str]:
    """The sub-folders of train, sorted; test must have the same. Loose files and hidden folders beside them are left out."""
    found: dict[str, list[str]] = {}
    for folder in (preprocess.train or "", *filter(None, [preprocess.test])):
        if not (raw / folder).is_dir():
            raise UserError(f"{raw / folder} is not a folder: fix preprocess.train and preprocess.test, or run the stage download again.")
        found[folder] = []
        for path in sorted((raw / folder).iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                found[folder].append(path.name)
            elif not is_of_a_desktop(path):
                left_out.add(path.relative_to(raw).as_posix(), "not a class folder")
    train, test = [*found.values(), *found.values()][:2]
    for name in sorted(set(train) ^ set(test)):
        raise UserError(f"The class folder {printable(name)!r} is in only one of {' and '.join(found)}: add it to the other.")
    if len(train) < 2:
        where = raw / (preprocess.train or "")
        raise UserError(f"{where} has {len(train)} class folder(s), expected two or more, each holding its pictures.")
    for name in train:
        if printable(name) != name:
            raise UserError(f"The class folder {printable(name)!r} has a name that cannot be shown: rename it.")
    return train


def _list_splits(raw: Path, preprocess: Preprocess, classes: list[str], seed: int, left_out: LeftOutItems) -> dict[str, Files]:
    """The files of each split: test from its own folder, or held out like val, in every class its share."""
    train = _list_files(raw, preprocess.train or "", classes, left_out)
    if preprocess.test_fraction is None:
        test = _list_files(raw, preprocess.test or "", classes, left_out)
    else:
        train, test = _held_out(train, preprocess.test_fraction, seed)
    train, val = _held_out(train, preprocess.val_fraction, seed)
    return {"train": train, "val": val, "test": test}


def _held_out(files: Files, fraction: float, seed: int) -> tuple[Files, Files]:
    return held_out(files, [label for _, label in files], fraction, seed)


def is_of_a_desktop(path: Path) -> bool:
    """A hidden file, or what a desktop leaves in folders that were opened: it is no data, and not worth a word."""
    return path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini")


def _list_files(raw: Path, folder: str, classes: list[str], left_out: LeftOutItems) -> Files:
    """(picture, class) sorted by class and name; what is no picture by its name is left out."""
    files: Files = []
    for label, name in enumerate(classes):
        before = len(files)
        for path in sorted((raw / folder / name).iterdir()):
            if is_of_a_desktop(path):
                continue
            if path.suffix.lower() not in EXTENSIONS or not path.is_file():
                left_out.add(path.relative_to(raw).as_posix(), f"not a picture file ({', '.join(sorted(EXTENSIONS))})")
            else:
                files.append((path, label))
        if len(files) == before:
            raise UserError(f"The class folder {raw / folder / name} has no pictures: add some, or remove the class from train and test.")
    return files
