"""Of a table of texts: how its file is laid out, and which of its columns are texts and classes."""

import argparse
import contextlib
import csv
import io
import re
import statistics
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from entries.tables.formats import encoding_of, refuse_lines_above, separator_of, start_of
from examples.rows import Row
from stages.common.params import check_section
from stages.reading.delimited import all_rows, is_parquet, names_of, refuse_other_content
from stages.reading.texts import TextFormat
from stages.shell.errors import UserError

READ, LOOKED_AT = 20_000, 2000  # rows from the start, and evenly of these: by them columns are told apart
IS_TEXT = 0.5  # share of different cells from which on a column of words is a text, and no class
LETTERS = re.compile(r"[^\W\d_]")
MOST_CLASSES = 500
SHOWN_TEXT = 60  # characters of an example


class Columns(NamedTuple):
    """Of a table or of objects: by name, some of the cells."""

    cells: dict[str, list[str]]

    def texts(self) -> list[str]:
        return [name for name, cells in self.cells.items() if is_text(cells)]

    def classes(self) -> list[str]:
        """Columns that may be what is to be predicted."""
        return [name for name, cells in self.cells.items() if is_class(cells)]


def is_text(cells: list[str]) -> bool:
    found = [cell for cell in cells if cell.strip()]
    return (
        len(found) > 1 and len(set(found)) > IS_TEXT * len(found) and sum(bool(LETTERS.search(cell)) for cell in found) > 0.9 * len(found)
    )


def is_class(cells: list[str]) -> bool:
    found = {cell.strip() for cell in cells} - {""}
    return 2 <= len(found) <= min(MOST_CLASSES, max(2, IS_TEXT * len(cells)))


def is_row_number(cells: list[str]) -> bool:
    return len(set(cells)) == len(cells) and all(re.fullmatch(r"\d*", cell) for cell in cells)


def table_at(path: Path, options: argparse.Namespace, of: Callable[[Iterator[Row]], Iterator[Row]] = iter) -> tuple[TextFormat, Columns]:
    """How the file is laid out, and some of its cells: `of` those rows that are found."""
    form = TextFormat() if is_parquet(path) else format_of(path, options)
    names, rows = names_of(path, form, all_rows(path, form), "--names")
    some = evenly([row for _, row in islice(of(rows), READ) if len(row) == len(names)])
    return form, Columns({name: [row[place] for row in some] for place, name in enumerate(names)})


def until_error(rows: Iterator[Row]) -> Iterator[Row]:
    """Those before the first that cannot be read: what is wrong with it is said when the kind of data is known."""
    with contextlib.suppress(UserError):
        yield from rows


def evenly(rows: list[list[str]]) -> list[list[str]]:
    """Many files are sorted, so that neighbours are alike."""
    return rows[:: -(-len(rows) // LOOKED_AT) or 1]


def format_of(path: Path, options: argparse.Namespace) -> TextFormat:
    given = {key: value for key in ("encoding", "separator") if (value := getattr(options, key))}
    check_section(TextFormat, given, "", path.name)
    refuse_other_content(path)
    encoding, _ = encoding_of(path, options.encoding)
    start = start_of(path, encoding)
    if not start.strip():
        raise UserError(f"{path.name} is empty: there is no header and no row.")
    separator = separator_of(path, start, options.separator)
    quotes = "plain" if are_plain(start, separator) else "doubled"
    told = {"encoding": encoding, "separator": separator, "quotes": quotes, "names": options.names, "header": True}
    quoting: Any = csv.QUOTE_NONE if quotes == "plain" else csv.QUOTE_MINIMAL
    first = list[list[str]]()
    with contextlib.suppress(csv.Error):  # a long cell, or an odd quote: reading all of the file says on which line
        first.extend(islice(csv.reader(io.StringIO(start, newline=""), delimiter=separator, quoting=quoting), READ))
    first = [*first[:1], *evenly(first[1:])]
    if first and options.header is None and not options.names:
        refuse_lines_above(path, first)
        told["header"] = is_header(first, options)
    elif options.header is not None:
        told["header"] = options.header
    return check_section(TextFormat, told, "", f"{path.name}, its format")


def are_plain(text: str, separator: str) -> bool:
    """Whether double quotes are signs like any other: every line is a row without them, and with them some lines would be joined."""
    lines = [line for line in text.splitlines() if line.strip()]
    widths = {line.count(separator) for line in lines}
    try:
        joined = sum(1 for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
    except csv.Error:
        return len(widths) == 1
    return len(widths) == 1 and joined < len(lines)


def is_header(rows: list[list[str]], options: argparse.Namespace) -> bool:
    """Whether the first row names the columns: none of its cells comes again in a column of classes, and none is as long as a text."""
    first, others = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    told = [name for name in (*(options.target or []), *(options.text or [])) if name]
    if told:
        return any(name in first for name in told)
    for place, cell in enumerate(first):
        cells = [row[place] for row in others]
        if is_class(cells) and cell in cells:
            return False
        if is_text(cells) and len(cell) > max(SHOWN_TEXT, statistics.median(map(len, cells))):
            return False
    return not any(re.fullmatch(r"\s*[-+]?[0-9.,]+\s*", cell) for cell in first)
