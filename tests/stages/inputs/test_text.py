"""Texts: what a network gets of them, against plain Python."""

import unicodedata

import numpy as np
import pytest
import torch

from stages.common.meta import Input, Text
from stages.inputs import text
from stages.modelling.model import Preparation


def described(max_length=60, case="fold"):
    return Input(kind="text", shape=[None], dtype="int32", text=Text(max_length=max_length, case=case))


def prepared(rows, own):
    return Preparation(own)(torch.from_numpy(np.asarray(rows, dtype=np.int64))).numpy()


def as_string(row):
    assert (row[: np.count_nonzero(row)] != 0).all(), "0 only at the end"
    return "".join(map(chr, row[row != 0]))


def reference(codes, max_length, case):
    """What stages/inputs/text.py says, a character at a time, in Python's own words."""
    signs = []
    for code in codes[:max_length]:
        sign = chr(code) if 0 <= code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else "\ufffd"
        if sign.isspace() or sign == "\ufeff" or unicodedata.category(sign) == "Cc":
            signs.append(" ")
        else:
            signs.append(sign.lower() if case == "fold" and len(sign.lower()) == 1 else sign)
    words = [word for word in "".join(signs).split(" ") if word]
    return f" {' '.join(words)} " if words else " "


@pytest.mark.parametrize("case", ["fold", "keep"])
def test_a_network_gets_what_plain_python_makes_of_texts_in_every_script(case):
    own = described(25, case)
    lines = text.as_batch(text.as_rows(list(text.LINES)))
    assert {as_string(row) for row in prepared(lines, own)} >= {" ", " two bees, one ant " if case == "fold" else " Two bees, one ANT "}
    rng = np.random.default_rng(0)
    any_of_them = rng.integers(-5, 0x110005, (200, 30))
    cased = rng.choice([ord(sign) for sign in " \t\x85\u3000aAÄéÉΣςЖжİẞ\U00010400\U0001e900\U0001f98a"], (200, 40))
    for rows in (*text.cases([lines[:, :9], lines], own), any_of_them, cased):
        given = prepared(rows, own)
        assert given.shape == (len(rows), min(rows.shape[1], 25) + 2)
        assert [as_string(row) for row in given] == [reference(row.tolist(), 25, case) for row in rows]


def test_every_letter_becomes_what_python_makes_of_it_alone():
    codes = np.arange(0x110000)[:, None]
    small = [chr(code).lower() if len(chr(code).lower()) == 1 else chr(code) for code in range(0x20000)]
    given = prepared(codes, described())[:, 1]
    changed = np.flatnonzero(given != codes[:, 0])
    assert changed.max() < 0x20000 and len(changed) > 3000, "letters, blanks, and the halves of characters"
    for code in changed.tolist():
        assert given[code] in (ord(small[code]), 0xFFFD, 0, ord(" "))
    assert [chr(code) for code in given[[ord("Σ"), ord("ς"), ord("İ"), ord("ẞ")]]] == ["\u03c3", "ς", "İ", "ß"]


def test_lengths_are_those_without_the_padding_and_texts_come_back_as_they_were():
    rows = text.as_rows(["ab", "", "\U0001f98a é\n"])
    assert rows.dtype == np.int32 and text.lengths(rows).tolist() == [2, 0, 4]
    assert text.lengths(np.array([[97, 0, 98, 0]])).tolist() == [3]
    assert text.as_texts(rows, described()) == ["ab", "", "\U0001f98a é\n"] and text.shown(rows, described())[2] == "\U0001f98a é"
    assert text.columns(rows, described())["words"][1].tolist() == [1, 0, 2]
