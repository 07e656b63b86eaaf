"""Pictures that each show any number of several things: a table with a row a picture, and a column of 0 and 1 for each thing.

Reads   raw/<table>, a CSV file whose header is the column `picture` (a path below raw/) and the names of the classes, and the pictures.
"""

from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from pydantic import Field

from stages.reading.contents import Contents, LeftOutItems, printable
from stages.reading.pictures import EXTENSIONS, Files, Pictures, open_pictures, split_files
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

MAX_CLASSES = 10_000


class Preprocess(Pictures):
    """`table` is the name of the table in raw/; `test_fraction` of its pictures, chosen by the seed, are for the test."""

    task: ClassVar[str] = "multilabel"
    input_kind: ClassVar[str] = "image"
    table: str = Field(pattern=r"^[^/\\.][^/\\]*$")
    test_fraction: float = Field(gt=0, lt=1)


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    left_out = LeftOutItems()
    classes, table = _read_table(raw, raw / preprocess.table, left_out)
    together = ["".join(map(str, targets)) for _, targets in table]  # pictures with the same classes are split in proportion
    files = split_files(table, together, preprocess, preprocess.test_fraction, seed)
    description = f"Pictures that show any of: {', '.join(classes)}."
    return open_pictures(raw, files, preprocess, classes, description, np.uint8, left_out)


def _read_table(raw: Path, path: Path, left_out: LeftOutItems) -> tuple[list[str], Files]:
    """The classes, and (picture, targets) in the table's order; a row that cannot be used is left out."""
    rows = numbered_rows(path)
    header = next(rows, (0, []))[1]
    classes = header[1:]
    if header[:1] != ["picture"] or not 1 <= len(classes) <= MAX_CLASSES or len(set(header)) < len(header) or not all(classes):
        shown = printable(", ".join(header)) or "nothing"
        raise UserError(f"{path} must begin with the line picture,CLASS,CLASS and so on, all different; it begins with {shown}.")
    files: Files = []
    for number, cells in rows:
        if reason := _problem(raw, cells, header):
            left_out.add(f"{path.name} line {number}", reason)
        else:
            files.append((raw / cells[0], [int(cell) for cell in cells[1:]]))
    return classes, files


def _problem(raw: Path, cells: list[str], header: list[str]) -> str:
    """Why a row cannot be used; empty if it can."""
    if len(cells) != len(header):
        return f"has {len(cells)} cells, not {len(header)}"
    place = PurePosixPath(cells[0])
    if place.is_absolute() or ".." in place.parts or place.suffix.lower() not in EXTENSIONS or not (raw / place).is_file():
        return f"{cells[0]!r} is not a picture below {raw} ({', '.join(sorted(EXTENSIONS))})"
    for cell, name in zip(cells[1:], header[1:], strict=True):
        if cell not in ("0", "1"):
            return f"column {name} has {cell!r}, expected 0 or 1"
    return ""
