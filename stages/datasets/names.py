"""Surnames and the country each comes from: text of varying length to classify.

Reads   raw/names_train.csv.gz and raw/names_test.csv.gz, rows "name","country" with no header, as a stream.
"""

import unicodedata
from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import by_split, choose_splits
from stages.reading.contents import Chunk, Contents, LeftOutItems
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

TRAIN_FILE, TEST_FILE = "names_train.csv.gz", "names_test.csv.gz"
CHUNK = 1024
MAX_COUNTRIES = 10_000


class Preprocess(Section):
    """Names longer than `max_length` characters are bad rows; `val_fraction` is of train."""

    task: ClassVar[str] = "multiclass"
    input_kind: ClassVar[str] = "characters"
    max_length: int = Field(ge=1, le=1000)
    val_fraction: float = Field(ge=0, lt=1)
    max_bad_fraction: float = Field(ge=0, le=1)


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    countries, left_out = _train_countries(raw / TRAIN_FILE, preprocess.max_length), LeftOutItems()
    label = {country: place for place, country in enumerate(sorted(set(countries)))}
    places = choose_splits(np.array([label[country] for country in countries], dtype=np.int64), seed, preprocess.val_fraction)
    return Contents(
        description=f"Surnames and their {len(label)} countries; a name may stand in train and in test, and under two countries.",
        input=Input(kind="characters", shape=[None], dtype="int16"),
        classes=list(label),
        chunks=_chunks(raw, preprocess, label, places, left_out),
        left_out=left_out,
    )


def _train_countries(path: Path, max_length: int) -> list[str]:
    """Of every good row of train; a country's text is in memory once."""
    countries, seen = list[str](), dict[str, str]()
    for _, country in _good_rows(path, max_length, LeftOutItems()):
        countries.append(seen.setdefault(country, country))
        if len(seen) > MAX_COUNTRIES:
            raise UserError(f"{path} has more than {MAX_COUNTRIES:,} countries: its second column should hold a name's country.")
    return countries


def _chunks(raw: Path, preprocess: Preprocess, label: dict[str, int], places: np.ndarray, left_out: LeftOutItems) -> Iterator[Chunk]:
    length, number = preprocess.max_length, len(places)
    yield from by_split(_encoded(_good_rows(raw / TRAIN_FILE, length, left_out), label, length), places)
    for inputs, targets in _encoded(_good_rows(raw / TEST_FILE, length, left_out, label), label, length):
        number += len(targets)
        yield "test", inputs, targets
    left_out.settle(number + left_out.count, preprocess.max_bad_fraction)


def _good_rows(path: Path, max_length: int, left_out: LeftOutItems, known: Container[str] | None = None) -> Iterator[tuple[str, str]]:
    """(name in ASCII, country) of every good row; with `known` a country outside it makes a bad row."""
    for number, cells in numbered_rows(path):
        reason = ""
        if len(cells) != 2 or not all(cells):
            reason = "expected a name and a country"
        elif not cells[1].isprintable():
            reason = f"the country {cells[1]!r} has a character that cannot be shown"
        elif known is not None and cells[1] not in known:
            reason = f"the country {cells[1]!r} is not in {TRAIN_FILE}"
        elif len(cells[0]) > 4 * max_length:  # before it is folded, which takes its time on a long text
            reason = f"the name has {len(cells[0])} characters, expected 1 to {max_length}"
        elif not 0 < len(name := fold(cells[0])) <= max_length:
            reason = f"{cells[0]!r} has {len(name)} ASCII characters, expected 1 to {max_length}"
        if reason:
            left_out.add(f"{path.name} line {number}", reason)
        else:
            yield name, cells[1]


def fold(text: str) -> str:
    """`text` in visible ASCII and spaces: accents are taken off (NFKD), what has no ASCII form is dropped."""
    return "".join(character for character in unicodedata.normalize("NFKD", text) if " " <= character <= "~").strip()


def _encoded(rows: Iterator[tuple[str, str]], label: dict[str, int], max_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Code points int16 [k, max_length], padded with 0, and classes int64 [k], chunk after chunk."""
    while chunk := list(islice(rows, CHUNK)):
        inputs = np.zeros((len(chunk), max_length), dtype=np.int16)
        for row, (name, _) in zip(inputs, chunk, strict=True):
            row[: len(name)] = np.frombuffer(name.encode("ascii"), dtype=np.uint8)
        yield inputs, np.array([label[country] for _, country in chunk], dtype=np.int64)
