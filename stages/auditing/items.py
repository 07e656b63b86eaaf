"""Pictures and texts as the checks look at them: which are copies of one another, and what each of them shows.

Memory holds some 500 bytes a picture, and the texts; nothing of pixels.
"""

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from stages.common.meta import Input
from stages.common.shelves import take_input
from stages.reading.copies import (
    SMALL,
    are_near,
    as_read,
    equal_texts,
    exact_groups,
    grey_of,
    mirrored,
    near_groups,
    picture_hashes,
    text_groups,
)

MAX_SHARP = 20_000  # pictures whose sharpness is measured, evenly spaced
MAX_SIGNS = 500  # of a text, by which its script is told
BRIGHTEST, CONTRAST, SHARPNESS = range(3)  # what is measured of pictures
OF_EAST_ASIA = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO")  # texts mix them


@dataclass
class Items:
    """Pictures or texts, in the order in which add() got them. `HOW` are the ways in which one is a copy of another, the closest first."""

    NOUN: ClassVar[str]
    HOW: ClassVar[tuple[str, ...]]
    described: Input

    def add(self, rows: np.ndarray) -> None:
        """Rows of a split."""
        raise NotImplementedError

    @cached_property
    def exact(self) -> np.ndarray:
        """int64 [n]: for each the place of the first one that is the same, as the first of HOW says."""
        raise NotImplementedError

    @cached_property
    def groups(self) -> np.ndarray:
        """int64 [n]: likewise of the first one of its group of copies of all kinds."""
        raise NotImplementedError

    def how(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """For pairs of copies, the place in HOW."""
        raise NotImplementedError


@dataclass
class Pictures(Items):
    NOUN, HOW = "picture", ("in every pixel", "nearly", "mirrored")
    stride: int
    parts: list[np.ndarray] = field(default_factory=list)
    looks: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: np.ndarray) -> None:
        shown = take_input(self.described.kind).shown(rows, self.described)
        first = sum(map(len, self.parts))
        self.parts.append(picture_hashes(shown))
        grey = grey_of(self.parts[-1])
        looks = np.stack([grey.max(axis=(1, 2)), grey.std(axis=(1, 2)), np.full(len(rows), np.nan)], axis=1)
        if min(shown.shape[1:3]) >= SMALL:
            for place in range(-first % self.stride, len(shown), self.stride):
                looks[place, SHARPNESS] = sharpness(shown[place])
        self.looks.append(looks)

    def look(self, what: int) -> np.ndarray:
        """float64 [n]: BRIGHTEST or CONTRAST of the picture made small, or SHARPNESS, NaN where that was not measured."""
        return np.concatenate([looks[:, what] for looks in self.looks])

    @cached_property
    def hashes(self) -> np.ndarray:
        return np.concatenate(self.parts)

    @cached_property
    def exact(self) -> np.ndarray:
        return exact_groups(self.hashes)

    @cached_property
    def groups(self) -> np.ndarray:
        return near_groups(self.hashes, mirrored(self.hashes))

    def how(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        """A copy of a mirrored copy that is like neither counts as near."""
        found = np.where(self.exact[ones] == self.exact[others], 0, 1)
        apart = np.flatnonzero(found)
        near, flipped = (are_near(of[ones[apart]], self.hashes[others[apart]]) for of in (self.hashes, mirrored(self.hashes)))
        found[apart[flipped & ~near]] = 2
        return found


@dataclass
class Texts(Items):
    NOUN, HOW = "text", ("but for case and blanks", "nearly")
    texts: list[str] = field(default_factory=list)
    lengths: list[np.ndarray] = field(default_factory=list)

    def add(self, rows: np.ndarray) -> None:
        part = take_input(self.described.kind)
        self.texts += part.shown(rows, self.described)
        self.lengths.append(part.lengths(rows))

    @cached_property
    def exact(self) -> np.ndarray:
        return equal_texts(self.texts)

    @cached_property
    def groups(self) -> np.ndarray:
        return text_groups(self.texts)

    def how(self, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.where(self.exact[ones] == self.exact[others], 0, 1)


def items_of(described: Input, has_columns: bool, shape: tuple[int, ...], num_items: int) -> Items | None:
    """An empty one for items of such a shape; None where an item is a row of columns."""
    if has_columns:
        return None
    nothing = take_input(described.kind).shown(np.zeros((0, *shape), described.dtype), described)
    return Texts(described) if isinstance(nothing, list) else Pictures(described, stride=max(1, -(-num_items // MAX_SHARP)))


def sharpness(picture: np.ndarray) -> float:
    """The deviation of the Laplacian of its grey values: beside a pixel as far as its four neighbours are from it."""
    grey = picture.mean(axis=2, dtype=np.float32)
    middle = grey[1:-1, 1:-1]
    return float((4 * middle - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]).std())


def script_of(text: str, known: dict[str, str]) -> str:
    """The script of most of its letters, by their names in Unicode; "" of a text without any. `known` are those of signs seen before."""
    counts = Counter[str]()
    for sign, count in Counter(text[:MAX_SIGNS]).items():
        if sign not in known:
            known[sign] = script_of_sign(sign)
        counts[known[sign]] += count
    del counts[""]
    return max(counts, key=lambda script: (counts[script], script)) if counts else ""


def script_of_sign(sign: str) -> str:
    if not sign.isalpha():
        return ""
    words = unicodedata.name(sign, "").split()
    script = next((word for word in words if word not in ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "OLD")), "").partition("-")[0]
    return "EAST ASIAN" if script in OF_EAST_ASIA else script


def is_empty(text: str) -> bool:
    """Whether nothing of it can be read: it has blanks and signs without a shape alone."""
    return not any(sign.isprintable() and not sign.isspace() for sign in as_read(text[:MAX_SIGNS]))
