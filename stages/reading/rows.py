"""Reads the rows of a CSV file, plain or gzipped, as a stream, and writes small ones."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

# A gzip file of some megabytes can hold one line of many gigabytes, or so many lines that their labels fill the memory.
MAX_LINE_LENGTH = 1 << 20
MAX_LINES = 100_000_000


def numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, cells) of every line that is not blank; `path` is UTF-8, gzipped if it ends in .gz.

    A line is a row: a quote that is not closed on its line spoils that line and not the rest of the file; such a line
    comes as one cell.
    """
    opening = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with read_errors_named(path), opening(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(partial(file.readline, MAX_LINE_LENGTH), ""), start=1):
                if len(line) == MAX_LINE_LENGTH:
                    raise UserError(f"{path} line {number} is longer than {MAX_LINE_LENGTH:,} characters: this is not a CSV file of rows.")
                if number > MAX_LINES:
                    raise UserError(f"{path} has more than {MAX_LINES:,} lines: split the file, or leave rows out.")
                if line.strip():
                    yield number, _cells(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8.") from error


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line.rstrip("\n")], strict=True))]
    except csv.Error:
        return [line.strip()]


def write_rows(path: Path, rows: Iterable[Sequence[object]], quote_all: bool = False) -> None:
    """Write `rows`, gzipped if `path` ends in .gz, with no time stamp: the same rows give the same bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix.lower() == ".gz" else content)
