"""Reads the rows of a table's file or of JSON as a model's columns say: the one reader of Python, for preprocessing and for those who ask.

The file is Parquet, which parquet.py reads, or text whose cells are set apart by one sign (CSV, TSV). How, a dict says, which a signature
has under `format`:

    encoding   one of ENCODINGS; a byte order mark at the start of a file goes before it
    separator  the sign between cells
    header     whether the first row has the columns' names
    names      names by place, instead of those in the file (optional); a column without any is called `column 3`, by its place
    quotes     `plain` where double quotes are signs like any other (optional; of texts alone)

Cells in double quotes may hold the separator, doubled quotes and line ends (RFC 4180). cells.py says what a cell means; examples/rows.mjs
reads the same in JavaScript.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

if __package__:  # imported from the repository's root
    from examples import cells
else:
    import cells  # type: ignore[no-redef]  # beside this file

ENCODINGS = ("utf-8", "utf-16", "utf-32", "cp1252", "latin-1", "cp1250", "cp1251", "cp932", "gb18030", "big5", "euc-kr", "mac-roman")
CODECS = {"utf-8": "utf-8-sig", "latin-1": "cp1252"}  # files said to be latin-1 have the quotes and the euro sign of Windows
WITHOUT_MARK = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}
BOMS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
PARQUET = (".parquet", ".pq")
WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
NEEDED = {"date": "formats", "category": "levels"}
KEYS = {"type", "missing", "decimal", "thousands", "units", "brackets", "formats", "levels", "ignore_case"}  # of a column
MAX_LINE_LENGTH = 1 << 20
MAX_CELLS = 100_000  # of a line, about: more would be taken apart in one go of half a second, beside which nothing else runs
MAX_ROWS = 1_000_000_000
SHOWN = 10  # names in a sentence
SEPARATOR_LINE = re.compile(r'"?[sS][eE][pP]=([^"\r\n])"?\r?\n?')  # which Excel writes above the header; counts as a blank line

Row = tuple[int, list[str]]


class BadTable(ValueError):
    """What is no table, or no row of one, that can be read; the message is a sentence without its full stop."""


def encoding_by_bom(start: bytes) -> str | None:
    """The encoding that a byte order mark says."""
    return next((encoding for mark, encoding in BOMS.items() if start.startswith(mark)), None)


def rows_of(file: Any, form: dict[str, Any], what: str) -> Iterator[Row]:
    """(number of the line that it begins on, from 1, and cells) of every row of a binary file that has peek(), blank ones left out.

    Raises BadTable, and UnicodeError where it is not text in its encoding.
    """
    encoding = encoding_by_bom(file.peek(4)[:4]) or WITHOUT_MARK.get(form["encoding"], form["encoding"])
    with io.TextIOWrapper(file, CODECS.get(encoding, encoding), newline="") as text:
        # strict: a quote that is never closed would take what follows with it in silence.
        is_plain, lines = form.get("quotes") == "plain", lines_of(text, what, form["separator"])
        quoting: Any = csv.QUOTE_NONE if is_plain else csv.QUOTE_MINIMAL
        reader, start = csv.reader(lines, delimiter=form["separator"], quoting=quoting, strict=True), 1
        try:
            for number, row in enumerate(reader):
                if number > MAX_ROWS:
                    raise BadTable(f"{what} has more than {MAX_ROWS:,} rows: split the file")
                if len(row) > 1 or (row and cells.stripped(row[0])):
                    yield start, row
                start = reader.line_num + 1
        except csv.Error as error:
            if "limit" in str(error):
                long = f"{what} line {start}: a cell that begins there has more than {csv.field_size_limit():,} characters"
                raise BadTable(f"{long}: close its quote, if it has one that is open; what follows is not read") from error
            place = f"{what} line {start}: a quoted cell begins there and does not end as one"
            raise BadTable(f"{place} ({error}): close the quote, and double those inside; what follows is not read") from error


def lines_of(text: io.TextIOWrapper, what: str, separator: str = "") -> Iterator[str]:
    """Bounded in length, however hostile the file is."""
    for number, line in enumerate(iter(partial(text.readline, MAX_LINE_LENGTH), ""), start=1):
        if len(line) >= MAX_LINE_LENGTH:
            raise BadTable(f"{what} line {number} is longer than {MAX_LINE_LENGTH:,} characters: this is not a table of rows")
        if separator and len(line) > MAX_CELLS and line.count(separator) > MAX_CELLS:
            raise BadTable(f"{what} line {number} has more than {MAX_CELLS:,} cells: this is not a table of rows")
        if "\0" in line:
            hint = " (if it is UTF-16, say so with encoding)" if "utf-16" not in text.encoding else ""
            raise BadTable(f"{what} line {number} has a zero byte: this is not text, or not in {text.encoding}{hint}")
        yield "\n" if number == 1 and SEPARATOR_LINE.fullmatch(line) else line


def names_of(first: list[str], form: dict[str, Any]) -> list[str]:
    """The columns' names by place, from the cells of a file's first row."""
    given = form.get("names") or (first if form["header"] else [""] * len(first))
    return [cells.stripped(name) or f"column {place}" for place, name in enumerate(given, start=1)]


def refuse_other_order(first: list[str], names: list[str], form: dict[str, Any], what: str, whose: str) -> None:
    """Where names go by place, a file whose header has them at other places."""
    header, known = map(cells.stripped, first if form["header"] else []), set(names)  # a header may have a million cells
    if any(cell in known and cell != name for cell, name in zip(header, names, strict=False)):
        raise BadTable(f"{what} has its columns in another order than {whose}, where names go by place: {listed(names)}")


def places_of(wanted: Iterable[str], names: list[str], what: str, hint: str = "") -> list[int]:
    """Where the wanted columns stand: in any order, among others. Raises BadTable, with a hint where one is missing."""
    times, places = Counter(names), {name: place for place, name in enumerate(names)}
    if missing := [name for name in wanted if name not in places]:
        raise BadTable(f"{what} has no column {listed(missing)}; it has {listed(names)}{hint}")
    if twice := [name for name in wanted if times[name] > 1]:
        raise BadTable(f"{what} has two columns {listed(twice)}")
    return [places[name] for name in wanted]


def listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} others" if len(names) > SHOWN else "")


def is_parquet(name: str) -> bool:
    return name.lower().endswith(PARQUET)


def parquet_reader() -> Any:
    """parquet.py, for Parquet files alone. Raises BadTable where it is not here."""
    try:
        if __package__:
            from examples import parquet
        else:
            import parquet  # type: ignore[no-redef]  # beside this file
    except ImportError as error:
        raise BadTable("a Parquet file needs parquet.py beside rows.py, and pyarrow: or save the table as CSV") from error
    return parquet


def refuse_workbook(name: str) -> None:
    if name.lower().endswith(WORKBOOKS):
        raise BadTable(
            f"{name} is a workbook, whose sheets and formulas this does not read: save the sheet as CSV "
            "(in Excel: Save As, CSV UTF-8; in LibreOffice: Save As, Text CSV) and give that file"
        )


# For a model


class Taken(NamedTuple):
    """A row as a model takes it: its name; numbers and words in the order of the model's inputs; what there is to say of it."""

    name: str
    numbers: list[float]
    words: list[str]
    note: str = ""


class Reader:
    """Reads what the signature of an exported model asks for. Raises ValueError, KeyError or TypeError where that is no sound one."""

    def __init__(self, signature: dict[str, Any]):
        columns, self.format = signature["columns"], signature["format"]
        self.levels = {name: frozenset(columns[name]["levels"]) for name in signature["categories"]}
        numbers = [feature["name"] for feature in signature["features"] if feature["name"] in columns]
        self.columns: dict[str, dict[str, Any]] = {name: columns[name] for name in (*numbers, *self.levels)}
        self.read = {name: cells.reader_of(column) for name, column in self.columns.items()}

    def file(self, file: Any, what: str, hear: Callable[[str], None]) -> Iterator[Taken | BadTable]:
        """The rows of a binary file that has peek(); `hear` is told once what is ignored in it. Raises BadTable for the whole of it."""
        form = self.format
        try:
            refuse_workbook(what)
            if is_parquet(what) or file.peek(4)[:4] == b"PAR1":
                yield from self.parquet(file, what, hear)
                return
            rows = rows_of(file, form, what)
            first = next(rows, None)
            if first is None:
                raise BadTable(f"{what} is empty")
            names = names_of(first[1], form)
            refuse_other_order(first[1], names, form, what, "the model's own table")
            hint = f": read as {form['encoding']} with {form['separator']!r} between cells, as the model's own table"
            places = places_of(self.columns, names, what, f"{hint}; keep a column of which nothing is known, its cells empty")
            width = self.width_of(first[1], names, places, what)
            own = set(places)
            if others := [name for place, name in enumerate(names[:width]) if place not in own]:
                hear(f"{what}: not taken by the model and ignored: {listed(others)}")
            if not form["header"]:
                yield self.row(f"{what} line {first[0]}", first[1], width, places)
            for line, row in rows:
                yield self.row(f"{what} line {line}", row, width, places)
        except UnicodeError as error:
            raise BadTable(f"{what} is not text in {form['encoding']} ({getattr(error, 'reason', error)}): save it in UTF-8") from error

    def parquet(self, file: Any, what: str, hear: Callable[[str], None]) -> Iterator[Taken | BadTable]:
        """The same of a Parquet file. Its columns are found by their names, or, where it has other names alone and those of the model's own
        table go by place, by place.
        """
        if what.lower().endswith(".gz"):
            raise BadTable(f"{what} is a Parquet file in gzip: unpack it (gunzip), and give that file")
        table = parquet_reader().Table(file, what)
        if strange := [name for name in self.columns if name in table.unreadable]:
            raise BadTable(f"{what}: column {strange[0]} is {table.unreadable[strange[0]]}, of which there are no cells")
        names, form = table.names, self.format | {"header": True}
        if form.get("names") and not set(self.columns) & set(names):
            names = names_of(names, form)
        places = places_of(self.columns, names, what, "; keep a column of which nothing is known, its cells null")
        self.width_of(table.names, names, places, what)
        taken = set(places)
        if others := [name for place, name in enumerate(table.names) if place not in taken]:
            hear(f"{what}: not taken by the model and ignored: {listed(others)}")
        own = [table.names[place] for place in places]
        for number, row in table.rows(own, dict(zip(own, self.columns.values(), strict=True))):
            yield self.taken(f"{what} row {number}", row)

    def width_of(self, first: list[str], names: list[str], places: list[int], what: str) -> int:
        """How many cells a row has. Where names go by place, columns at the end that the model does not take, such as what is to be
        predicted, may be left out.
        """
        if not max(places) < len(first) <= len(names):
            raise BadTable(f"{what} has {len(first)} columns, expected {len(names)}: {listed(names)}")
        return len(first)

    def row(self, what: str, row: list[str], width: int, places: list[int]) -> Taken | BadTable:
        if len(row) != width:
            return BadTable(f"{what} has {len(row)} cell{'s' if len(row) != 1 else ''}, expected {width}")
        return self.taken(what, [row[place] for place in places])

    def taken(self, what: str, own: list[str]) -> Taken | BadTable:
        """Of the model's own cells."""
        numbers, words, notes = list[float](), list[str](), list[str]()
        for (name, column), cell in zip(self.columns.items(), own, strict=True):
            try:
                value = self.read[name](cell)
            except cells.BadCell as error:
                return BadTable(f"{what}: {name} is {shown(cell)}: {error}, or an empty cell where it is missing")
            if name in self.levels:
                words.append(value)
                if value and value not in self.levels[name]:
                    notes.append(f"{name} {shown(cell)} is not known and counts as other")
            else:
                numbers += value[: 1 + cells.has_time(column)] if column["type"] == "date" else [value]
        return Taken(what, numbers, words, "; ".join(notes))

    def values(self, what: str, given: dict[str, Any], hear: Callable[[str], None]) -> Taken | BadTable:
        """Of a row as JSON has it, by name; null is missing."""
        if missing := [name for name in self.columns if name not in given]:
            return BadTable(f"{what} has no {listed(missing)}: leave it empty (null in JSON) where it is missing")
        if others := [name for name in given if name not in self.columns]:
            hear(f"{what}: not taken by the model and ignored: {listed(others)}")
        own = list[str]()
        for name, column in self.columns.items():
            try:
                own.append(cells.cell_of(given[name], column))
            except cells.BadCell as error:
                return BadTable(f"{what}: {name} is {shown(given[name])}: {error}, or null where it is missing")
        return self.taken(what, own)

    def text(self, text: str, hear: Callable[[str], None]) -> Taken | BadTable:
        """Of one row, written as JSON or as name=value,name2=value2."""
        if not text.lstrip().startswith("{"):
            known = f"{','.join(f'{name}=...' for name in list(self.columns)[:3])}{',...' if len(self.columns) > 3 else ''}"
            given = self.pairs(text)
            return self.values(text, given, hear) if given else BadTable(f"{text} is neither a file that is here nor a row: {known}")
        try:
            return self.values(text, json.loads(text, parse_int=float), hear)
        except (ValueError, RecursionError) as error:
            return BadTable(f"{text} is no row in JSON ({error})")

    def pairs(self, text: str) -> dict[str, str]:
        """Commas may stand in names that the model knows, and in values before what is no name=."""
        known, blank = "|".join(re.escape(name) for name in sorted(self.columns, key=len, reverse=True)), f"[{cells.BLANKS}]*"
        # No blank can belong to two parts of it, or long runs of them would take time squared.
        found = list(re.finditer(rf"(?:^|,)(?:{blank}({known}){blank}|([^,=]+))=", text))
        ends = [*(one.start() for one in found[1:]), len(text)]
        return {one[1] or cells.stripped(one[2]): text[one.end() : end] for one, end in zip(found, ends, strict=False)}


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def is_sound(signature: dict[str, Any]) -> bool:
    """Whether what a stranger's signature says of columns fits itself and what is read here. May raise ValueError, KeyError and such."""
    columns, categories = signature["columns"], signature["categories"]
    features = [feature["name"] for feature in signature["features"]]
    numbers = [name for name in features if name in columns]
    check_format(signature["format"])
    check_columns(columns)
    return (
        features == [one for name in numbers for one in cells.feature_names(name, columns[name])]
        and are_texts(categories)
        and sorted([*numbers, *categories]) == sorted(columns)
        and [name for name in (*numbers, *categories) if columns[name]["type"] == "category"] == categories
    )


def check_format(form: dict[str, Any]) -> None:
    """Raises ValueError, which says what was expected, where no file can be read so; TypeError and such where this is no format."""
    separator, names = form["separator"], form.get("names") or []
    if form["encoding"] not in ENCODINGS or not isinstance(form["header"], bool) or not are_texts(names):
        raise ValueError("expected an encoding, a header and names")
    if not (are_texts([separator]) and len(separator) == 1 and separator <= "\uffff") or separator.isalnum() or separator in '"\r\n':
        raise ValueError(f"expected as separator one sign that is no letter, digit, quote or line end; got {shown(separator)}")


def check_columns(columns: dict[str, Any]) -> None:
    """Of those that a model takes, by name. Raises ValueError, as above."""
    for column in columns.values():
        check_column(column)
    names = [one for name, column in columns.items() for one in cells.feature_names(name, column)]
    if not are_texts(names):
        raise ValueError("expected names that UTF-8 can hold, without zero bytes")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(
            f"expected no column {shown(twice[0])}, which is what the time of a date is called: rename it, or drop one of the two"
        )


def check_column(column: dict[str, Any]) -> None:
    """Raises ValueError where no cell can be read so, or where one could be read in two ways."""
    kind, levels = column["type"], column.get("levels", [])
    lists = [column.get(key, []) for key in ("missing", "units", "formats", "levels")]
    flags = [column.get(key, False) for key in ("brackets", "ignore_case")]
    is_one = kind in ("number", "date", "category") and column.keys() <= KEYS
    if not (is_one and all(map(are_texts, lists)) and all(isinstance(flag, bool) for flag in flags)):
        raise ValueError("expected a column of numbers, dates or words, and texts that UTF-8 can hold, without zero bytes")
    if (needed := NEEDED.get(kind, "type")) not in column or not column[needed]:
        raise ValueError(f"a {kind} needs {needed}")
    if column.get("decimal", ".") not in (".", ",") or column.get("thousands", "") not in ("", ",", ".", "'", " "):
        raise ValueError("expected another sign before the fraction, or between thousands")
    if column.get("decimal", ".") == column.get("thousands", ""):
        raise ValueError("expected two signs that differ as decimal and thousands")
    if strange := [unit for unit in column.get("units", []) if not is_unit(unit)]:
        raise ValueError(f"expected units without digits, signs, brackets and blanks around them; got {shown(strange[0])}")
    if len(set(levels)) != len(levels):
        raise ValueError("expected levels that are all different")
    if strange := [level for level in levels if not is_level(level)]:
        raise ValueError(
            f"expected levels of 1 to {cells.MAX_WORD} characters, without blanks around them, each letter with its accents one character "
            f"(NFC); got {shown(strange[0])}"
        )
    cells.reader_of(column)  # ValueError where a format of dates is none


def is_unit(text: str) -> bool:
    """Whether nothing in it could be a part of the number that it stands beside."""
    return text == cells.stripped(text) and not re.search(r"[0-9+\-\u2212()]", text) and bool(re.search(r"[^.,'\s]", text))


def is_level(text: str) -> bool:
    """Whether there is a cell that says it."""
    try:
        return text != "" and cells.category(text, {"type": "category"}) == text
    except cells.BadCell:
        return False


def are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and not cells.NO_TEXT.search(value) for value in values)
