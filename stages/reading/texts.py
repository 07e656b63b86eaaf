"""Texts and what is said of them as raw files, as a stream: a table (CSV, TSV, Parquet), a JSON object a line, or .txt files in folders.

They may be a stranger's: no more of a text is read than counts, and what cannot be used is named and left out.
"""

import codecs
import json
import os
import re
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from examples import rows
from examples.rows import CODECS, listed
from examples.texts import MOST_JOINED, is_blank, normalised
from stages.common.meta import Encoding, Format
from stages.reading.columns import warn
from stages.reading.contents import printable
from stages.reading.delimited import all_rows, bom_of, named, names_of, opened, refuse_other_content
from stages.shell.errors import UserError, reason
from stages.shell.read_errors import read_errors_named

FORMAT = "preprocess.format"
JSON_LINES = (".jsonl", ".ndjson", ".json")
MAX_FILES = 10_000_000
PIECE = 1 << 20  # bytes
OF_DVC = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # of DVC's cache, to which a checkout may link
CODE_BYTES = 4  # of a character at most, in every encoding

Level = Literal["class", "split", "group", "any"]


class TextFormat(Format):
    """As of a table. `quotes`: whether double quotes go around cells that hold the separator or line ends, and are doubled inside
    (`doubled`), or are signs like any other (`plain`). Of .txt files `encoding` is that of those which are not UTF-8; no other key is
    looked at.
    """

    quotes: Literal["doubled", "plain"] = "doubled"


class Fields(NamedTuple):
    """The columns of a table, or the keys of an object, that are read: several of `text` are joined."""

    text: list[str]
    label: str
    group: str | None
    split: str | None

    def all(self) -> list[str]:
        return list(dict.fromkeys([*self.text, self.label, *filter(None, (self.group, self.split))]))


class Found(NamedTuple):
    """A text: where it stands, what it says, and what is said of it; or the `problem` for which it cannot be used."""

    name: str
    line: int
    text: str = ""
    labels: tuple[str, ...] = ()
    group: str = ""
    split: str = ""
    problem: str = ""


def is_json(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(JSON_LINES)


def texts_in(path: Path, form: TextFormat, fields: Fields) -> Iterator[Found]:
    """The texts of one file."""
    return objects_in(path, form, fields) if is_json(path) else rows_in(path, form, fields)


def rows_in(path: Path, form: TextFormat, fields: Fields) -> Iterator[Found]:
    names, found = names_of(path, form, all_rows(path, form, FORMAT), FORMAT)
    if wrong := [name for name in fields.all() if names.count(name) != 1]:
        what = "no column" if wrong[0] not in names else "two columns"
        fix = f"correct preprocess.text and preprocess.label, or name all columns by place with {FORMAT}.names"
        if len(names) == 1 and not form.names:
            fix = f"with {form.separator!r} between cells it has one column: check {FORMAT}.separator"
        elif not form.header:
            fix = f"with {FORMAT}.header: false columns are called column 1, column 2 and so on"
        raise UserError(f"{path} has {what} {printable(wrong[0])}; it has {named(names)}: {fix}.")
    places = {name: names.index(name) for name in fields.all()}
    for line, row in found:
        name = f"{path.name} line {line}"
        if len(row) != len(names):
            yield Found(name, line, problem=f"has {len(row)} cells, not {len(names)}{goes_on(line, row)}")
            continue
        text = "\n".join(filter(None, (row[places[field]] for field in fields.text)))
        group, split = (row[places[field]] if field else "" for field in (fields.group, fields.split))
        yield Found(name, line, text, (row[places[fields.label]],), group, split)


def goes_on(line: int, row: list[str]) -> str:
    further = sum(cell.count("\n") for cell in row)
    return f", and goes on to line {line + further}: is a quote not closed?" if further else ""


def objects_in(path: Path, form: TextFormat, fields: Fields) -> Iterator[Found]:
    """Of a file with a JSON object on each line. Numbers and true and false are labels as they are spelt there."""
    refuse_other_content(path)
    for line, content in lines_in(path, bom_of(path) or form.encoding):
        name = f"{path.name} line {line}"
        try:
            given = json.loads(content, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            yield Found(name, line, problem=f"expected a JSON object on each line ({json_problem(error)})")
            continue
        if not isinstance(given, dict):
            yield Found(name, line, problem="expected a JSON object on each line")
            continue
        texts = [given.get(field) for field in fields.text]
        if wrong := [field for field, text in zip(fields.text, texts, strict=True) if not isinstance(text, str | None)]:
            flat = ", but an object: flatten it" if isinstance(given[wrong[0]], dict) else ""
            yield Found(name, line, problem=f"{wrong[0]} is not a text{flat}")
            continue
        label = given.get(fields.label)
        several = label if isinstance(label, list) else [label]
        if any(isinstance(one, dict | list) for one in several):
            yield Found(name, line, problem=f"{fields.label} is not a label, but holds objects or lists: flatten it")
            continue
        labels = tuple(map(as_word, several))
        group, split = (as_word(given.get(field)) if field else "" for field in (fields.group, fields.split))
        yield Found(name, line, "\n".join(filter(None, texts)), labels, group, split)


def json_problem(error: Exception) -> str:
    """Where in its line it stands: each line is read as a JSON text of its own, which has one line alone."""
    return f"{error.msg.removesuffix(' at')} at character {error.colno}" if isinstance(error, json.JSONDecodeError) else reason(error)


def as_word(value: Any) -> str:
    """Empty where there is none, or it is no word."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else ""


def lines_in(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """(number from 1, content without its end) of every line that is not blank."""
    number = 0
    try:
        with read_errors_named(path), opened(path) as file, TextIOWrapper(file, CODECS.get(encoding, encoding), newline="") as text:
            for number, line in enumerate(rows.lines_of(text, str(path)), start=1):
                if not is_blank(line):
                    yield number, line.rstrip("\r\n")
    except rows.BadTable as error:
        raise UserError(f"{error}.") from error
    except UnicodeError as error:
        fix = f"say its encoding with {FORMAT}.encoding, or save it as UTF-8"
        raise UserError(f"{path} is not text in {encoding} after line {number}: {fix}.") from error


# Files in folders


def texts_below(
    raw: Path,
    levels: list[Level],
    each: Literal["file", "line"],
    form: TextFormat,
    max_length: int,
    leave_out: frozenset[str] = frozenset(),
) -> Iterator[Found]:
    """The .txt files below `raw`, whose folders say what `levels` has, and where none of them says the class, the file's name does; without
    those that `leave_out` names, or a folder of theirs.

    A file is a text, or each of its lines is. Others than .txt files are passed over, and named on stderr.
    """
    others, root = list[str](), raw.resolve()
    for path in files_below(raw):
        place = path.relative_to(raw)
        name = place.as_posix()
        if not leave_out.isdisjoint([name, *(folder.as_posix() for folder in place.parents)]):
            continue
        if path.suffix.lower() != ".txt":
            others.append(name)
            continue
        said = dict(zip(levels, place.parts[:-1], strict=False))
        words = Found(name, 0, "", (said.get("class", path.stem),), said.get("group", ""), said.get("split", ""))
        if len(place.parts) - 1 != len(levels):
            yield words._replace(problem=f"lies {len(place.parts) - 1} folders deep; preprocess.folders has {len(levels)}")
        elif not (real := path.resolve()).is_relative_to(root) and not OF_DVC.search(real.as_posix()):
            yield words._replace(problem="is a link to a file elsewhere")
        elif each == "line":
            for line, text in lines_in(path, encoding_of(path, form)):
                yield words._replace(name=f"{name} line {line}", line=line, text=text)
        else:
            yield content_of(path, words, form, MOST_JOINED * max_length)
    if others:
        warn([f"{raw}: files that are not .txt are passed over, {len(others)}: {named(others)}"])


def files_below(raw: Path) -> Iterator[Path]:
    """In the order of their names; what systems leave there is none of them."""
    number = 0
    for folder, folders, names in os.walk(raw):
        folders[:] = sorted(name for name in folders if not is_of_a_system(name))
        for name in sorted(name for name in names if not is_of_a_system(name)):
            number += 1
            if number > MAX_FILES:
                raise UserError(f"{raw} has more than {MAX_FILES:,} files: put the texts into one file, such as one JSON object a line.")
            yield Path(folder) / name


def is_of_a_system(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def encoding_of(path: Path, form: TextFormat) -> str:
    """By the byte order mark; else UTF-8 where the whole file is, and what the format says where it is not."""
    if mark := bom_of(path):
        return mark
    decoder = codecs.getincrementaldecoder("utf-8")()
    with read_errors_named(path), path.open("rb") as file:
        try:
            while piece := file.read(PIECE):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return form.encoding
    return "utf-8"


def content_of(path: Path, words: Found, form: TextFormat, most: int) -> Found:
    """With so many characters of the file at most."""
    with read_errors_named(path), path.open("rb") as file:
        content = file.read(CODE_BYTES * most + 1)
    is_whole = len(content) <= CODE_BYTES * most
    marked: list[Encoding | str] = [mark] if (mark := rows.encoding_by_bom(content[:4])) else ["utf-8", form.encoding]
    for encoding in marked:
        try:
            text = codecs.getincrementaldecoder(CODECS.get(encoding, encoding))().decode(content, final=is_whole)
        except UnicodeError:
            continue
        return words._replace(text=text)
    return words._replace(problem=f"is not text in {listed(list(dict.fromkeys(marked)))} (key: format.encoding)")


# Between reading and the splits


class Kept(Sequence[str]):
    """Texts as code points in a file without a name, cut to `max_length`; in memory is only how long each is."""

    def __init__(self, folder: Path, max_length: int):
        self.file, self.max_length = tempfile.TemporaryFile(dir=folder), max_length  # noqa: SIM115  # until the splits are written
        self.lengths, self.starts, self.num_cut = array("i"), array("q"), 0
        self.end = 0

    def add(self, text: str) -> bool:
        """Whether there is anything to be read in it; else it is not kept."""
        kept = normalised(text, self.max_length)
        if is_blank(kept):
            return False
        content = kept.encode("utf-32-le")
        self.starts.append(self.end)
        self.lengths.append(len(kept))
        self.end += self.file.write(content)
        self.num_cut += len(text) > len(kept) == self.max_length
        return True

    @property
    def width(self) -> int:
        return max(self.lengths, default=1)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, place: Any) -> Any:
        self.file.seek(self.starts[place])
        return self.file.read(CODE_BYTES * self.lengths[place]).decode("utf-32-le")

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Neighbouring texts, int32 [k, width], padded with 0."""
        found = np.zeros((stop - start, self.width), dtype=np.int32)
        self.file.seek(self.starts[start])
        for row, length in zip(found, self.lengths[start:stop], strict=True):
            row[:length] = np.frombuffer(self.file.read(CODE_BYTES * length), dtype="<i4")
        return found
