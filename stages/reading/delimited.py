"""Reads the rows of a text file whose cells are set apart by one sign (CSV, TSV), plain or gzipped, as a stream.

Cells in double quotes may hold the sign, doubled quotes and line ends (RFC 4180). A line of a hostile file is bounded in length, and so is
a quoted cell, which a quote that is never closed would make of all that follows.
"""

import csv
import gzip
from collections.abc import Iterator
from functools import partial
from io import BufferedReader, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import TextIO

from stages.reading.schema import Format
from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

MAX_LINE_LENGTH = 1 << 20
MAX_ROWS = 1_000_000_000
BOMS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")

Row = tuple[int, list[str]]


def bom_of(path: Path) -> str | None:
    """The encoding that a byte order mark at the file's start says."""
    with read_errors_named(path), opened(path) as file:
        start = file.read(4)
    return next((encoding for mark, encoding in BOMS.items() if start.startswith(mark)), None)


def refuse_workbook(path: Path) -> None:
    if path.suffix.lower() in WORKBOOKS:
        raise UserError(
            f"{path.name} is a workbook, whose sheets and formulas this does not read: save the sheet as CSV "
            "(in Excel: Save As, CSV UTF-8; in LibreOffice: Save As, Text CSV) and give that file."
        )


def all_rows(path: Path, form: Format) -> Iterator[Row]:
    """(number of the line that it begins on, from 1, and cells) of every row that is not blank, the header's too, if there is one."""
    refuse_workbook(path)
    encoding = bom_of(path) or form.encoding
    encoding = {"utf-8": "utf-8-sig", "latin-1": "cp1252"}.get(encoding, encoding)
    try:
        with read_errors_named(path), TextIOWrapper(opened(path), encoding=encoding, newline="") as file:
            yield from _rows(_lines(file, path), path, form.separator)
    except UnicodeError as error:
        raise UserError(
            f"{path} is not text in {form.encoding} ({getattr(error, 'reason', error)}): say which with `encoding` in the schema's format "
            "(ENCODING=cp1252 for make new), or save it as UTF-8."
        ) from error


def opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    for number, line in enumerate(iter(partial(file.readline, MAX_LINE_LENGTH), ""), start=1):
        if len(line) >= MAX_LINE_LENGTH:
            raise UserError(f"{path} line {number} is longer than {MAX_LINE_LENGTH:,} characters: this is not a table of rows.")
        if "\0" in line:
            raise UserError(f"{path} line {number} has a zero byte: this is not text, or not in the encoding that was said.")
        yield line


def _rows(lines: Iterator[str], path: Path, separator: str) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=separator, strict=False)
    start = 1
    try:
        for number, cells in enumerate(reader):
            if number > MAX_ROWS:
                raise UserError(f"{path} has more than {MAX_ROWS:,} rows: split the file.")
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} line {start}: a quoted cell begins there and does not end as one ({error}): close the quote.") from error


def names_of(path: Path, form: Format, rows: Iterator[Row]) -> tuple[list[str], Iterator[Row]]:
    """The columns' names by place, and the rows below the header."""
    first = next(rows, None)
    if first is None:
        raise UserError(f"{path} is empty: there is no header and no row.")
    if not form.header:
        rows = chain([first], rows)
    if form.names is not None and len(form.names) != len(first[1]):
        raise UserError(f"{path} has {len(first[1])} columns, but the schema's format.names has {len(form.names)}: name every column.")
    given = form.names or (first[1] if form.header else [""] * len(first[1]))
    return [name.strip() or f"column {place}" for place, name in enumerate(given, start=1)], rows


def data_rows(path: Path, form: Format, wanted: list[str]) -> tuple[list[int], int, Iterator[Row]]:
    """The places of the wanted columns, how many columns there are, and the rows. Columns may stand in any order, and there may be others;
    a UserError names those that are missing or twice there.
    """
    names, rows = names_of(path, form, all_rows(path, form))
    if missing := [name for name in wanted if name not in names]:
        raise UserError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}: fix the file, or the schema.")
    if twice := sorted({name for name in wanted if names.count(name) > 1}):
        raise UserError(f"{path} has two columns {', '.join(twice)}: give all columns names in the schema's format.names.")
    return [names.index(name) for name in wanted], len(names), rows
