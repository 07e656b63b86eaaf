"""Reads the rows of a Parquet file as cells of text, for cells.py: the one reader of Python, for preprocessing and for those who ask.

Needs pyarrow; rows.py asks for it where a Parquet file comes. Numbers are written in full, a true or false as `true` and `false`, a day as
2024-02-29, a time as 2024-02-29 12:30:00 (UTC, where it has a zone; without fractions of a second); what is null, or no number (NaN), is an
empty cell. A column may be told how its cells are read (a dict as cells.py has it), since a table is saved now as text and now as Parquet:
then numbers have its decimal sign, truths are spelled as its levels are, and days and times have the first of its formats that says all of
them, where it has none of those above. A column of another type (lists, structs, bytes) has no cells: it is not among the names, and
`unreadable` says what it is. Only types and values are taken from the file, not what it says for pandas or Spark.

Rows are counted from 1, and come in batches: of a row group only the pages that are looked at are in memory. A few bytes can become
gigabytes, so how large is looked at before: the footer's length, and in the header of every page its size when unpacked
(https://github.com/apache/parquet-format), for what the footer says of a page's size binds nobody.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, Any, BinaryIO

if __package__:  # imported from the repository's root
    from examples.rows import BadTable, Row
else:
    from rows import BadTable, Row  # type: ignore[no-redef]  # beside this file

if TYPE_CHECKING:
    from pyarrow import Array, DataType

Column = dict[str, Any]

BATCH_CELLS = 1 << 17
MAX_FOOTER = 1 << 24  # bytes, which can become 240 times as many in memory
MAX_PAGES, MAX_PAGE = 1 << 30, 1 << 22  # bytes of the largest pages of all columns together, unpacked; of one, where there are many
MAX_ROWS = 1_000_000_000
MAX_CELL = 1 << 17  # characters, as in a text file
MAX_BATCH = 1 << 28  # characters
MARK = b"PAR1"
# Types of fields in Thrift's compact protocol; which type the elements of a list have, C++ takes for granted.
INT, LONG, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
WHOLE = {4: 16, INT: 32, LONG: 64}  # bits
LISTS = {2: (INT, LONG), 3: (BINARY,), 8: (STRUCT,), 13: (STRUCT,)}  # of a column's description, by the field
KEPT, MAX_DEPTH = 2, 8  # structs within structs
# A page's type: the field with its own header, and there those with the number of values (of data alone) and with their encoding.
PAGES = {0: (5, 1, 2), 2: (7, None, 2), 3: (8, 1, 4)}
DICTIONARY = 2
GROWING = {6: "DELTA_LENGTH_BYTE_ARRAY", 7: "DELTA_BYTE_ARRAY"}  # encodings of which a page of any size can become gigabytes
PADDING = 100  # bytes that some old files have after a column
DAMAGED = "its description is damaged"


class Table:
    """A Parquet file that is open, `what` to people. Raises BadTable where it is none, is damaged, or could fill the memory."""

    def __init__(self, file: BinaryIO, what: str):
        self.file, self.what = file, what
        with refusing(what):
            self.size = file.seek(0, 2)
            file.seek(max(0, self.size - 8))
            end = file.read(8)
            if end[4:] == MARK and (length := int.from_bytes(end[:4], "little")) > MAX_FOOTER:
                raise BadTable(f"{what} has {length:,} bytes of names and types, more than {MAX_FOOTER:,}: write it with larger row groups")
            with self.opened() as whole:
                self.schema, self.num_leaves, num_rows = whole.metadata.schema, whole.metadata.num_columns, whole.metadata.num_rows
                self.types = {field.name: field.type for field in whole.schema_arrow if is_plain(field.type)}
                self.unreadable = {field.name: str(field.type) for field in whole.schema_arrow if not is_plain(field.type)}
                plain = sum(is_plain(field.type) for field in whole.schema_arrow)
            if len(self.types) < plain or self.types.keys() & self.unreadable.keys():
                raise BadTable(f"{what} has two columns of one name: rename one of them")
            if num_rows > MAX_ROWS:
                raise BadTable(f"{what} has more than {MAX_ROWS:,} rows: split the file")
            file.seek(self.size - 8 - length)
            self.footer = file.read(length)
        self.names = list(self.types)

    def opened(self, dictionaries: Iterable[str] = ()) -> Any:
        from pyarrow.parquet import ParquetFile

        limits = {"thrift_string_size_limit": MAX_FOOTER, "thrift_container_size_limit": MAX_FOOTER}
        return ParquetFile(self.file, read_dictionary=[*dictionaries], buffer_size=1 << 20, **limits)

    def rows(self, wanted: list[str], columns: Mapping[str, Column] | None = None) -> Iterator[Row]:
        """(number of the row, cells of the wanted columns); `columns` says how they are read, by name."""
        columns = columns or {}
        number, size = 0, max(1, BATCH_CELLS // max(1, len(wanted)))
        with refusing(self.what):
            self.refuse_growing(wanted)
            # As dictionaries: a few bytes of a hostile file can repeat a long text a million times.
            with self.opened(name for name in wanted if is_text(self.types[name])) as file:
                for batch in file.iter_batches(batch_size=size, columns=wanted, use_threads=False):
                    cells = (cells_of(batch.column(name), f"{self.what}: column {name}", columns.get(name)) for name in wanted)
                    for row in zip(*cells, strict=True):
                        number += 1
                        yield number, list(row)

    def refuse_growing(self, wanted: list[str]) -> None:
        """Looks at the header of every page of the wanted columns."""
        places, total = self.places_of(wanted), 0
        pages, dictionaries = dict.fromkeys(places, 0), dict.fromkeys(places, 0)
        for place, column in columns_of(io.BytesIO(self.footer)):
            if place not in places:
                continue
            total += column[7, LONG]
            if column[7, LONG] < 0 or total > self.size:  # or a column looked at twice would take time squared
                raise ValueError("its columns are longer than the file")
            for kind, size, encoding in self.pages_of(column):
                if encoding in GROWING:
                    how = f"in the encoding {GROWING[encoding]}, of which a few bytes can become gigabytes"
                    raise BadTable(
                        f"{self.what}: column {places[place]} is {how}: write it in another (PLAIN, or a dictionary), or save as CSV"
                    )
                sizes = dictionaries if kind == DICTIONARY else pages
                sizes[place] = max(sizes[place], size)
        all_sizes = {place: pages[place] + dictionaries[place] for place in places}
        needed, most = sum(all_sizes.values()), max(MAX_PAGES, MAX_PAGE * len(wanted))
        if needed > most:
            largest = places[max(all_sizes, key=lambda place: all_sizes[place])]
            raise BadTable(
                f"{self.what} would fill {needed:,} bytes of memory at once, more than {most:,}, most of them with a page of "
                f"column {largest}: write it with smaller pages (data_page_size, max_rows_per_page), or save it as CSV"
            )

    def places_of(self, wanted: list[str]) -> dict[int, str]:
        """All that pyarrow reads for these names, by place: it takes `a.b` for a part of `a`, too."""
        names, found, longest = frozenset(wanted), dict[int, str](), max(map(len, wanted), default=0)
        for place in range(self.num_leaves):
            path, start = self.schema.column(place).path, ""
            for part in path.split("."):
                start += part
                if len(start) > longest:  # a hostile name may have a million parts
                    break
                if start in names:
                    found[place] = start
                start += "."
        return found

    def pages_of(self, column: "Fields") -> Iterator[tuple[int, int, int]]:
        """Type, size when unpacked, and encoding of every page of a row group's column, as its description says where they are."""
        num_values, size, start = column[5, LONG], column[7, LONG], column[9, LONG]
        if 0 < (dictionary := column.get((11, LONG), 0)) < start:
            start = dictionary
        end, seen = min(start + size + PADDING, self.size), 0
        while start < end and seen < num_values:
            self.file.seek(start)
            header = fields_of(self.file)
            kind, unpacked, packed = (header[number, INT] for number in (1, 2, 3))
            start = self.file.tell() + packed
            if min(unpacked, packed) < 0 or start > end:
                raise ValueError("a page is longer than its column")
            if kind in PAGES:
                own, number, encoding = PAGES[kind]
                seen += header[own, STRUCT][number, INT] if number else 0
                yield kind, unpacked, header[own, STRUCT][encoding, INT]


# Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), read here once more since
# pyarrow ends the whole process where it is asked for a damaged column's description. What C++ might read in another way is refused.

Fields = dict[tuple[int, int], Any]


def columns_of(footer: BinaryIO) -> Iterator[tuple[int, Fields]]:
    """The place and the description of every row group's columns."""
    for field in heads(footer):
        for _ in structs(footer) if field == (4, LIST) else passed_over(footer, field):
            for of_group in heads(footer):
                for place, _ in enumerate(structs(footer) if of_group == (1, LIST) else passed_over(footer, of_group)):
                    yield place, fields_of(footer)[3, STRUCT]


def passed_over(file: BinaryIO, field: tuple[int, int]) -> Iterator[None]:
    """A field of the footer or of a row group, whose lists are all of structs."""
    if field[1] == LIST:
        for _ in structs(file):
            fields_of(file, KEPT)
    else:
        value_of(file, field, KEPT)
    return iter(())


def structs(file: BinaryIO) -> Iterator[None]:
    """Once for every struct of a list, which is next to be read."""
    size, kind = size_and_kind(file)
    if size and kind != STRUCT:
        raise ValueError(DAMAGED)
    return repeat(None, size)


def heads(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Number and type of every field of a struct, whose value is next to be read."""
    number, known = 0, set[int]()
    while head := byte_of(file):
        number = number + (head >> 4) if head >> 4 else whole(file, 16)
        if number in known or not 0 <= number < 1 << 15:
            raise ValueError(DAMAGED)
        known.add(number)
        yield number, head & 15


def fields_of(file: BinaryIO, depth: int = 0) -> Fields:
    """Whole numbers and structs of a struct by their numbers and types; what else there is, and what is within them, is passed over."""
    found = Fields()
    for field in heads(file):
        value = value_of(file, field, depth)
        if depth < KEPT:
            found[field] = value
    return found


def value_of(file: BinaryIO, field: tuple[int, int], depth: int) -> Any:
    number, kind = field
    if depth > MAX_DEPTH:
        raise ValueError(DAMAGED)
    if kind == STRUCT:
        return fields_of(file, depth + 1)
    if kind in WHOLE:
        return whole(file, WHOLE[kind])
    if kind == BINARY:
        file.seek(size_of(file), 1)
    elif kind == LIST:
        size, kind = size_and_kind(file)
        known = LISTS.get(number, (kind,)) if depth == 1 else (INT, LONG)
        if (size and kind not in known) or kind in (1, 2):
            raise ValueError(DAMAGED)
        for _ in range(size):
            value_of(file, (0, kind), depth + 1)
    elif kind in (3, 7):  # a byte, a float64
        file.seek(1 if kind == 3 else 8, 1)
    elif kind not in (1, 2):  # truths, which have no bytes of their own
        raise ValueError(DAMAGED)
    return None


def size_and_kind(file: BinaryIO) -> tuple[int, int]:
    """Of a list."""
    head = byte_of(file)
    return head >> 4 if head >> 4 < 15 else size_of(file), head & 15


def size_of(file: BinaryIO) -> int:
    size = varint(file)
    if size >= 1 << 31:
        raise ValueError(DAMAGED)
    return size


def whole(file: BinaryIO, bits: int) -> int:
    value = varint(file)
    if value >= 1 << bits:
        raise ValueError(DAMAGED)
    return (value >> 1) ^ -(value & 1)


def varint(file: BinaryIO) -> int:
    value = shift = 0
    while (one := byte_of(file)) > 127:
        value |= (one & 127) << shift
        shift += 7
        if shift > 63:
            raise ValueError(DAMAGED)
    return value | one << shift


def byte_of(file: BinaryIO) -> int:
    one = file.read(1)
    if not one:
        raise ValueError(DAMAGED)
    return one[0]


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turns what a damaged or hostile file raises into a sentence, and also that there is no pyarrow."""
    how = f"{what} is a Parquet file, which needs pyarrow 21 or later (pip install 'pyarrow>=21')"
    try:
        import pyarrow

        if int(pyarrow.__version__.split(".")[0]) < 21:  # some earlier ones run what a file tells them to
            raise BadTable(f"{how}; here is {pyarrow.__version__}")
    except ImportError as error:
        raise BadTable(f"{how}: install it, or save the table as CSV") from error
    try:
        yield
    except BadTable:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise BadTable(f"{what} cannot be read as Parquet ({why}): write it anew, or save the table as CSV") from error


def is_text(kind: "DataType") -> bool:
    from pyarrow import types

    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))


def is_plain(kind: "DataType") -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return is_plain(kind.value_type)
    tests = (is_text, types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_date, types.is_timestamp)
    return any(test(kind) for test in (*tests, types.is_time, types.is_null))


def cells_of(column: "Array", what: str, spec: Column | None) -> list[str]:
    """Of an array, as a column is read."""
    from pyarrow import compute, large_string, types

    kind = column.type
    if types.is_dictionary(kind):
        texts = cells_of(column.dictionary, what, spec)
        places = column.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False).tolist()
        if sum(len(texts[place]) for place in places if place < len(texts)) > MAX_BATCH:
            raise BadTable(f"{what} has cells that are too long for a table: leave it out")
        return list(map([*texts, ""].__getitem__, places))
    texts = (dates_of(column, spec) if types.is_date(kind) or types.is_timestamp(kind) else column).cast(large_string()).fill_null("")
    if types.is_floating(kind):
        texts = compute.if_else(compute.equal(texts, "nan"), "", texts)
    if spec is not None and spec["type"] == "number" and spec.get("decimal", ".") != "." and not is_text(kind):
        texts = compute.replace_substring(texts, ".", spec["decimal"])
    texts = texts.to_numpy(zero_copy_only=False).tolist()
    if max(map(len, texts), default=0) > MAX_CELL:
        raise BadTable(f"{what} has a cell of more than {MAX_CELL:,} characters: leave the column out")
    if types.is_boolean(kind) and spec is not None and spec["type"] == "category":
        spelled = {text: [level for level in spec.get("levels", []) if level.lower() == text] for text in ("true", "false")}
        return [spelled[text][0] if len(spelled.get(text, ())) == 1 else text for text in texts]
    return list(texts)


def dates_of(column: "Array", spec: Column | None) -> "Array":
    """Days, or times without fractions of a second, or texts in a format of the column's own."""
    import pyarrow
    from pyarrow import compute, types

    is_day = types.is_date(column.type)
    if is_day:
        column = column.cast(pyarrow.date32(), safe=False)
    else:
        column = column.cast(pyarrow.timestamp("us"), safe=False) if column.type.unit == "ns" else column
        column = compute.floor_temporal(column, unit="second").cast(pyarrow.timestamp("s"), safe=False)
    formats = spec["formats"] if spec is not None and spec["type"] == "date" else []
    if not formats or ("%Y-%m-%d" if is_day else "%Y-%m-%d %H:%M:%S") in formats:
        return column
    parts = {} if is_day else {"%S": compute.second, "%M": compute.minute, "%H": compute.hour}
    needed = ["%Y", *(sign for sign, part in parts.items() if compute.any(compute.not_equal(part(column), 0)).as_py())]
    exact = [form for form in formats if all(sign in form for sign in needed)]
    return compute.strftime(column, format=exact[0]) if exact else column
