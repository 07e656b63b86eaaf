"""Surnames and the country each comes from: text of varying length to classify.

Reads   raw/names_train.csv.gz and raw/names_test.csv.gz, rows "name","country" with no header, as a stream.
"""

import unicodedata
from array import array
from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from pydantic import Field

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.left_out import LeftOutItems
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

TRAIN_FILE, TEST_FILE = "names_train.csv.gz", "names_test.csv.gz"
CHUNK = 1024
MAX_COUNTRIES = 10_000


class Preprocess(Section):
    """Names longer than `max_length` characters are bad rows; `val_fraction` is of train."""

    max_length: int = Field(ge=1, le=1000)
    val_fraction: float = Field(ge=0, lt=1)
    max_bad_fraction: float = Field(ge=0, le=1)

    @property
    def task(self) -> str:
        return "multiclass"

    @property
    def input_kind(self) -> str:
        return "characters"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    labels, classes = _train_labels(raw / TRAIN_FILE, preprocess.max_length)
    left_out = LeftOutItems()
    return Contents(
        description=f"Surnames and their {len(classes)} countries; a name may stand in train and in test, and under two countries.",
        task=preprocess.task,
        input=Input(kind=preprocess.input_kind, shape=[None], dtype="int16"),
        classes=classes,
        outputs=None,
        item_shape=(preprocess.max_length,),
        target_shape=(),
        chunks=_chunks(raw, preprocess, classes, hold_out(labels, preprocess.val_fraction, seed), left_out),
        left_out=left_out,
    )


def _train_labels(path: Path, max_length: int) -> tuple[np.ndarray, list[str]]:
    """The class of every good row of train, int64 [n], and the countries in sorted order."""
    seen: dict[str, int] = {}
    order_seen = array("q")
    for _, country in _good_rows(path, max_length, LeftOutItems()):
        order_seen.append(seen.setdefault(country, len(seen)))
        if len(seen) > MAX_COUNTRIES:
            raise UserError(f"{path} has more than {MAX_COUNTRIES:,} countries: its second column should hold a name's country.")
    classes = sorted(seen)
    place = {country: number for number, country in enumerate(classes)}
    places = np.array([place[country] for country in seen], dtype=np.int64)
    return places[np.frombuffer(order_seen, dtype=np.int64)], classes


def _chunks(raw: Path, preprocess: Preprocess, classes: list[str], held_out: np.ndarray, left_out: LeftOutItems) -> Iterator[Chunk]:
    label = {country: place for place, country in enumerate(classes)}
    number = 0
    for inputs, targets in _encoded(_good_rows(raw / TRAIN_FILE, preprocess.max_length, left_out), label, preprocess.max_length):
        val = held_out[number : number + len(targets)]
        number += len(targets)
        yield "train", inputs[~val], targets[~val]
        yield "val", inputs[val], targets[val]
    for inputs, targets in _encoded(_good_rows(raw / TEST_FILE, preprocess.max_length, left_out, label), label, preprocess.max_length):
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
