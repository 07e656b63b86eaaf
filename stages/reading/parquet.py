"""Reads the rows of a Parquet file as cells of text, so that a schema and examples/cells.py say what they mean, as of any table.

Numbers are written in full, a true or false as `true` and `false`, a day as 2024-02-29, a time as 2024-02-29 12:30:00 (UTC, where it has a
zone; without fractions of a second); what is null is an empty cell. A column of another type (lists, structs, bytes) has no cells: it is
not among the columns, and `unreadable` says why. Only types and values are taken from the file, not what it says for pandas or Spark.

Rows are counted from 1, and come in batches: of a row group only the pages that are looked at are in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages.shell.errors import UserError, first_line

if TYPE_CHECKING:
    from pyarrow import Array, DataType
    from pyarrow.parquet import ParquetFile

BATCH_CELLS = 1 << 17
MAX_METADATA = 1 << 26  # bytes of names and types that a hostile file may have
MAX_ROWS = 1_000_000_000
MAX_CELL = 1 << 17  # characters, as in a text file
MAX_BATCH = 1 << 28  # characters


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() in (".parquet", ".pq")


def unreadable(path: Path) -> dict[str, str]:
    """Columns that have no cells, and why, for people."""
    with opened(path) as file:
        return {field.name: f"{field.type}, which is no cell of a table" for field in file.schema_arrow if not is_plain(field.type)}


def all_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(0, names), then (number of the row, cells)."""
    with opened(path) as file:
        fields = [field for field in file.schema_arrow if is_plain(field.type)]
        if len({field.name for field in fields}) < len(fields):
            raise UserError(f"{path} has two columns of one name: rename one of them.")
        if file.metadata.num_rows > MAX_ROWS:
            raise UserError(f"{path} has more than {MAX_ROWS:,} rows: split the file.")
    names, number = [field.name for field in fields], 0
    yield 0, names
    # As dictionaries: a few bytes of a hostile file can repeat a long text a million times.
    with opened(path, [field.name for field in fields if is_text(field.type)]) as file:
        for batch in file.iter_batches(batch_size=max(1, BATCH_CELLS // max(1, len(names))), columns=names, use_threads=False):
            for row in zip(*(cells_of(batch.column(name), f"{path}: column {name}") for name in names), strict=True):
                number += 1
                yield number, list(row)


@contextmanager
def opened(path: Path, dictionaries: list[str] | None = None) -> Iterator["ParquetFile"]:
    """Turns what a missing, damaged or hostile file raises into a sentence."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    limits = {"thrift_string_size_limit": MAX_METADATA, "thrift_container_size_limit": MAX_METADATA}
    try:
        with ParquetFile(path, read_dictionary=dictionaries, buffer_size=1 << 20, **limits) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: check its name, or get it back (dvc checkout).") from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read as Parquet ({first_line(error)[:300]}): write it anew, or save the table as CSV."
        ) from error


def is_text(kind: "DataType") -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))


def is_plain(kind: "DataType") -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return is_plain(kind.value_type)
    tests = (is_text, types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_date, types.is_timestamp)
    return any(test(kind) for test in (*tests, types.is_time, types.is_null))


def cells_of(column: "Array", what: str) -> list[str]:
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind):
        texts = cells_of(column.dictionary, what)
        places = column.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False).tolist()
        if sum(len(texts[place]) for place in places if place < len(texts)) > MAX_BATCH:
            raise UserError(f"{what} has cells that are too long for a table: leave it out.")
        return list(map([*texts, ""].__getitem__, places))
    if types.is_date(kind):
        column = column.cast(pyarrow.date32(), safe=False)
    elif types.is_timestamp(kind):
        column = column.cast(pyarrow.timestamp("us"), safe=False) if kind.unit == "ns" else column
        column = compute.floor_temporal(column, unit="second").cast(pyarrow.timestamp("s"), safe=False)
    texts = column.cast(pyarrow.large_string()).fill_null("").to_numpy(zero_copy_only=False).tolist()
    if max(map(len, texts), default=0) > MAX_CELL:
        raise UserError(f"{what} has a cell of more than {MAX_CELL:,} characters: leave the column out.")
    return list(texts)
