"""Pictures in folders, a folder a class: photographs of any size and format, or small pictures that are left as they are.

Reads   raw/<class>/*, or raw/<train>/<class>/* and raw/<test>/<class>/*, a hundred pictures at a time; test (where it has no folder) and
        val are held out of train.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, model_validator

from stages.reading.contents import Contents, LeftOutItems, printable
from stages.reading.pictures import EXTENSIONS, Files, Pictures, open_pictures, split_files
from stages.shell.errors import UserError

Folder = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*(/[^/\\.][^/\\]*)*/?$")]  # no path that leaves raw/


class Preprocess(Pictures):
    """How pictures are split; their size is described in stages/reading/pictures.py.

    `train` is the folder within raw/ that holds the class folders (left out: raw/ itself), `test` another one; without it
    `test_fraction` of the pictures, chosen by the seed, are for the test.
    """

    task: ClassVar[str] = "multiclass"  # of two classes too: the usual networks have an output a class
    input_kind: ClassVar[str] = "image"
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


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    left_out = LeftOutItems()
    classes = _class_names(raw, preprocess, left_out)
    train = _list_files(raw / (preprocess.train or ""), raw, classes, left_out)
    files = split_files(train, [label for _, label in train], preprocess, preprocess.test_fraction or 0.0, seed)
    if preprocess.test is not None:
        files["test"] = _list_files(raw / preprocess.test, raw, classes, left_out)
    return open_pictures(raw, files, preprocess, classes, f"Pictures in class folders: {', '.join(classes)}.", np.int64, left_out)


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
    train, *others = found.values()
    for name in sorted(set(train).symmetric_difference(*others) if others else []):
        raise UserError(f"The class folder {printable(name)!r} is in only one of {' and '.join(found)}: add it to the other.")
    if len(train) < 2:
        where = raw / (preprocess.train or "")
        raise UserError(f"{where} has {len(train)} class folder(s), expected two or more, each holding its pictures.")
    for name in train:
        if printable(name) != name:
            raise UserError(f"The class folder {printable(name)!r} has a name that cannot be shown: rename it.")
    return train


def is_of_a_desktop(path: Path) -> bool:
    """A hidden file, or what a desktop leaves in folders that were opened: it is no data, and not worth a word."""
    return path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini")


def _list_files(folder: Path, raw: Path, classes: list[str], left_out: LeftOutItems) -> Files:
    """(picture, class) sorted by class and name; what is no picture by its name is left out."""
    files: Files = []
    for label, name in enumerate(classes):
        before = len(files)
        for path in sorted((folder / name).iterdir()):
            if is_of_a_desktop(path):
                continue
            if path.suffix.lower() not in EXTENSIONS or not path.is_file():
                left_out.add(path.relative_to(raw).as_posix(), f"not a picture file ({', '.join(sorted(EXTENSIONS))})")
            else:
                files.append((path, label))
        if len(files) == before:
            raise UserError(f"The class folder {folder / name} has no pictures: add some, or remove the class from train and test.")
    return files
