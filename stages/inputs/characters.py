"""Texts: int16 code points below 128 on disk, padded with 0; int64 from consumers, of any length.

With `alphabet` the network gets each character's place in it, from 1 (0 for a character outside it), else its code point.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.meta import Input
from stages.common.signature import BATCH, LENGTH, Entry

if TYPE_CHECKING:
    from torch import Tensor

IS_AUGMENTED = False
NAMES = ("characters",)  # of what consumers send
CHANNELS_LAST = False
MAX_PADDING = 5
UNKNOWN_CODE = 0x20AC  # the euro sign


class Measurement:
    """Nothing is measured of texts."""

    def __init__(self, described: Input): ...

    def add(self, characters: np.ndarray) -> None: ...

    def measured(self) -> dict[str, Any]:
        return {}


def as_batch(rows: np.ndarray) -> np.ndarray:
    """Rows of a split as a consumer sends them."""
    return rows.astype(np.int64)


def lengths(rows: np.ndarray) -> np.ndarray | None:
    """The length of each text, [n]: those of like length are trained together, without the padding that all of them share."""
    return np.count_nonzero(rows, axis=1)


def constants(described: Input) -> dict[str, np.ndarray]:
    index = np.arange(128)
    if described.alphabet is not None:
        index = np.zeros(128, dtype=np.int64)
        index[[ord(character) for character in described.alphabet]] = np.arange(1, len(described.alphabet) + 1)
    return {"index": index}


def prepare(characters: "Tensor", constants: dict[str, "Tensor"]) -> "Tensor":
    """int64 code points [batch, length] to int64 indices of the same shape; 0 is padding, and what is outside 0..127 counts as '?'."""
    unknown = (characters < 0) | (characters >= 128)
    return constants["index"][characters.masked_fill(unknown, ord("?")).long()]


def describe(described: Input, names: dict[str, str]) -> list[Entry]:
    """The inputs in the signature: one."""
    known = f" Known characters: {described.alphabet}." if described.alphabet else " Fold other characters to ASCII first."
    meaning = f"Code points below 128, 0 = padding at the end, at least one a row.{known}"
    return [Entry(name=names["characters"], dtype="int64", shape=[BATCH, LENGTH], meaning=meaning, range=[0, 127])]


def golden(described: Input) -> np.ndarray:
    """One row, made by rule and not taken from the data: that may be somebody's, and the model goes to others."""
    return np.array([[ord(character) for character in described.alphabet or "Reprise"]], dtype=np.int16)


def cases(batches: list[np.ndarray], described: Input) -> Iterator[np.ndarray]:
    """Batches that exported forms are compared on, from batches of rows of a split (int64): each at its full width, cut to its longest row,
    cut shorter still, and padded further. Characters of no known code, which a split never has, come last.
    """
    texts = [np.pad(batch, ((0, 0), (0, MAX_PADDING))) for batch in batches]
    for text, batch in zip(texts, batches, strict=True):
        longest = max(int((text != 0).sum(axis=1).max()), 1)
        for length in sorted({1, max(1, longest // 2), longest, batch.shape[1], text.shape[1]}):
            yield text[:, :length]
    last = texts[-1]
    yield np.where((last != 0) & (np.arange(last.size).reshape(last.shape) % 3 == 0), UNKNOWN_CODE, last)


def shown(rows: np.ndarray, described: Input) -> np.ndarray | list[str]:
    """Pictures, or a line of text for each item."""
    return ["".join(chr(code) for code in row if code) for row in rows]


def columns(rows: np.ndarray, described: Input) -> dict[str, tuple[list[int], np.ndarray]]:
    """What can be said of each text, float64 [n]; it is at no place of its own in a row."""
    return {"length": ([], np.count_nonzero(rows, axis=1).astype(np.float64))}
