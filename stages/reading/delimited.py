"""Opens a table's file and reads its rows as a stream: text (CSV, TSV), plain or gzipped, by examples/rows.py; Parquet by parquet.py."""

import gzip
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import TypeVar

from examples import cells, parquet, rows
from examples.rows import Row, listed
from stages.common.meta import Format
from stages.reading.contents import printable
from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

F = TypeVar("F", bound=Format)

SCHEMA_KEY = "the schema's format"
MAX_COLUMNS = 10_000
MAX_NAME = 1 << 14  # characters of a column's name
MAX_CHUNK = 1 << 24  # characters of the rows that are looked at together
AS_CSV = "save the sheet as CSV (in Excel: Save As, CSV UTF-8; in LibreOffice: Save As, Text CSV) and give that file"
# What a file begins with that is no text, whatever its name is.
OTHERS = {
    b"PK\x03\x04": f"is a workbook or another zip file by its content: {AS_CSV}",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": f"is an old workbook (.xls) by its content: {AS_CSV}",
    b"\x1f\x8b": "is gzipped, but its name does not end in .gz: rename it",
    b"PAR1": "is a Parquet file, but its name does not end in .parquet: rename it",
    b"%PDF": "is a PDF by its content, and no table",
    b"SQLite format 3\0": "is an SQLite database by its content: export the table as CSV",
}


def bom_of(path: Path) -> str | None:
    """The encoding that a byte order mark at the file's start says."""
    with read_errors_named(path), opened(path) as file:
        return rows.encoding_by_bom(file.read(4))


def refuse_workbook(path: Path) -> None:
    try:
        rows.refuse_workbook(path.name)
    except rows.BadTable as error:
        raise UserError(f"{error}.") from error


def is_parquet(path: Path) -> bool:
    return rows.is_parquet(path.name)


def form_of(path: Path, form: F) -> F:
    """The format as the file is read: one of Parquet always has its names."""
    return form.model_copy(update={"header": True}) if is_parquet(path) else form


@contextmanager
def parquet_opened(path: Path) -> Iterator[parquet.Table]:
    try:
        with read_errors_named(path), path.open("rb") as file:
            yield parquet.Table(file, str(path))
    except rows.BadTable as error:
        raise UserError(f"{error}.") from error


def unreadable(path: Path) -> dict[str, str]:
    """Columns of a Parquet file that have no cells, and why, for people."""
    with parquet_opened(path) as table:
        return {name: f"{kind}, which cannot be a cell of a table" for name, kind in table.unreadable.items()}


def refuse_other_content(path: Path) -> None:
    """What is no text by its first bytes, whatever its name says."""
    with read_errors_named(path), opened(path) as file:
        start = file.read(16)
    for mark, what in OTHERS.items():
        if start.startswith(mark):
            raise UserError(f"{path} {what}.")


def all_rows(path: Path, form: Format, key: str = SCHEMA_KEY, columns: Mapping[str, cells.Column] | None = None) -> Iterator[Row]:
    """(number of the line that it begins on, from 1, and cells) of every row that is not blank, the header's too, if there is one; of
    Parquet the number of the row, and 0 of its names, which are always there. `key` is where a person says the format, `columns` how cells
    are read, which only Parquet, whose cells are made here, needs to know.
    """
    refuse_workbook(path)
    if is_parquet(path):
        with parquet_opened(path) as table:
            yield 0, table.names
            yield from table.rows(table.names, columns)
        return
    refuse_other_content(path)
    line = 0
    try:
        with read_errors_named(path), opened(path) as file:
            for row in rows.rows_of(file, form.model_dump(), str(path)):
                line = row[0]
                yield row
    except rows.BadTable as error:
        raise UserError(f"{error}.") from error
    except UnicodeError as error:
        what = f"{path} is not text in {form.encoding} ({getattr(error, 'reason', error)}) after line {line}"
        fix = f"say its encoding with `encoding` in {key} (--encoding cp1252 for make new), or save it as UTF-8"
        raise UserError(f"{what}: {fix}.") from error


def opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def in_chunks(found: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """So many rows at a time, or fewer where they are long."""
    chunk, room = list[Row](), MAX_CHUNK
    for row in found:
        chunk.append(row)
        room -= sum(map(len, row[1]))
        if len(chunk) >= most or room < 0:
            yield chunk
            chunk, room = [], MAX_CHUNK
    if chunk:
        yield chunk


def names_of(path: Path, form: Format, found: Iterator[Row], key: str = SCHEMA_KEY) -> tuple[list[str], Iterator[Row]]:
    """The columns' names by place, and the rows below the header."""
    form = form_of(path, form)
    first = next(found, None)
    if first is None:
        raise UserError(f"{path} is empty: there is no header and no row.")
    if len(first[1]) > MAX_COLUMNS:
        raise UserError(f"{path} has {len(first[1]):,} columns, more than {MAX_COLUMNS:,}: leave some out, or check the separator.")
    if not form.header:
        found = chain([first], found)
    if form.names is not None and len(form.names) != len(first[1]):
        raise UserError(f"{path} has {len(first[1])} columns, but {key}.names has {len(form.names)}: name every column.")
    names = rows.names_of(first[1], form.model_dump())
    try:
        rows.refuse_other_order(first[1], names, form.model_dump(), str(path), f"{key}.names")
    except rows.BadTable as error:
        raise UserError(f"{error}; put the names in the file's order.") from error
    if long := [place for place, name in enumerate(names, start=1) if len(name) > MAX_NAME]:
        raise UserError(
            f"{path}: the name of column {long[0]} has {len(names[long[0] - 1]):,} characters, more than {MAX_NAME:,} "
            f"({printable(names[long[0] - 1][:40])!r}): shorten it, or check the header and the separator."
        )
    return names, found


def data_rows(
    path: Path, form: Format, wanted: list[str], columns: Mapping[str, cells.Column] | None = None
) -> tuple[list[int], list[str], Iterator[Row]]:
    """The places of the wanted columns, the names of all, and the rows. Columns may stand in any order, and there may be others; a
    UserError names those that are missing or twice there. `columns` says how cells are read.
    """
    names, found = names_of(path, form, all_rows(path, form, columns=columns))
    problems, times, own = list[str](), Counter(names), set(wanted)
    if missing := [name for name in wanted if not times[name]]:
        others = [name for name in names if name not in own]
        problems.append(f"has no column {named(missing)}{f' (it also has {named(others)})' if others else ''}")
    if twice := [name for name in wanted if times[name] > 1]:
        problems.append(f"has two columns {named(twice)}")
    if problems:
        fix = "rename the columns in the file, or in the schema; its format.names can name all columns by place"
        if len(names) == 1 and len(wanted) > 1:
            fix = f"one column alone was found with {form.separator!r} between cells: check format.separator in the schema"
        elif not all(name.isascii() for name in [*names, *missing]):
            fix += f"; if names look garbled, check its format.encoding, which is {form.encoding}"
        raise UserError(f"{path} {' and '.join(problems)}: {fix}.")
    places = {name: place for place, name in enumerate(names)}
    return [places[name] for name in wanted], names, found


def named(names: list[str]) -> str:
    return listed([printable(name) for name in names])
