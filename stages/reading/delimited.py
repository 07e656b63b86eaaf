"""Opens text files of rows (CSV, TSV), plain or gzipped, and reads them as a stream; examples/rows.py is the reader."""

import gzip
from collections.abc import Iterator
from io import BufferedReader
from itertools import chain
from pathlib import Path

from examples import rows
from examples.rows import Row
from stages.reading.schema import Format
from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named


def bom_of(path: Path) -> str | None:
    """The encoding that a byte order mark at the file's start says."""
    with read_errors_named(path), opened(path) as file:
        return rows.encoding_by_bom(file.read(4))


def refuse_workbook(path: Path) -> None:
    try:
        rows.refuse_workbook(path.name)
    except rows.BadTable as error:
        raise UserError(f"{error}.") from error


def all_rows(path: Path, form: Format) -> Iterator[Row]:
    """(number of the line that it begins on, from 1, and cells) of every row that is not blank, the header's too, if there is one."""
    refuse_workbook(path)
    try:
        with read_errors_named(path), opened(path) as file:
            yield from rows.rows_of(file, form.model_dump(), str(path))
    except rows.BadTable as error:
        raise UserError(f"{error}.") from error
    except UnicodeError as error:
        raise UserError(
            f"{path} is not text in {form.encoding} ({getattr(error, 'reason', error)}): say which with `encoding` in the schema's format "
            "(ENCODING=cp1252 for make new), or save it as UTF-8."
        ) from error


def opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def names_of(path: Path, form: Format, found: Iterator[Row]) -> tuple[list[str], Iterator[Row]]:
    """The columns' names by place, and the rows below the header."""
    first = next(found, None)
    if first is None:
        raise UserError(f"{path} is empty: there is no header and no row.")
    if not form.header:
        found = chain([first], found)
    if form.names is not None and len(form.names) != len(first[1]):
        raise UserError(f"{path} has {len(first[1])} columns, but the schema's format.names has {len(form.names)}: name every column.")
    return rows.names_of(first[1], form.model_dump()), found


def data_rows(path: Path, form: Format, wanted: list[str]) -> tuple[list[int], int, Iterator[Row]]:
    """The places of the wanted columns, how many columns there are, and the rows. Columns may stand in any order, and there may be others;
    a UserError names those that are missing or twice there.
    """
    names, found = names_of(path, form, all_rows(path, form))
    try:
        return rows.places_of(wanted, names, str(path)), len(names), found
    except rows.BadTable as error:
        fix = "fix the file, or the schema (its format.names can name all columns by place)"
        raise UserError(f"{error}: {fix}.") from error
