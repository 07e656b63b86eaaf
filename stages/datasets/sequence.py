"""One text to spell from another of the same length, a character at a time: the smallest task for a recurrent network.

Reads raw/sequences.csv, with the header input,target and one row. Train and test are that one example, for
there is nothing to generalise to; val is empty.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.reading.contents import Chunk, Contents
from stages.reading.left_out import LeftOutItems
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

HEADER = ["input", "target"]

Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[!-~]+$")]


class Preprocess(Section):
    """`alphabet`: every character that occurs, in the order of their numbers."""

    alphabet: Text

    @field_validator("alphabet")
    @classmethod
    def _each_once(cls, alphabet: str) -> str:
        if len(set(alphabet)) != len(alphabet):
            raise ValueError("expected every character once")
        return alphabet

    @property
    def task(self) -> str:
        return "sequence"

    @property
    def input_kind(self) -> str:
        return "characters"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    text, target = _read_example(raw / "sequences.csv", preprocess.alphabet)
    description = f"One example, written in params.yaml: {text} is to become {target}."
    return Contents(
        description=description,
        task=preprocess.task,
        input=Input(kind=preprocess.input_kind, shape=[None], dtype="int16", alphabet=preprocess.alphabet),
        classes=list(preprocess.alphabet),
        outputs=None,
        item_shape=(len(text),),
        target_shape=(len(target),),
        chunks=_chunks(text, target, preprocess.alphabet),
        left_out=LeftOutItems(),
    )


def _chunks(text: str, target: str, alphabet: str) -> Iterator[Chunk]:
    inputs = np.array([[ord(character) for character in text]], dtype=np.int16)
    targets = np.array([[alphabet.index(character) for character in target]], dtype=np.int64)
    yield "train", inputs, targets
    yield "test", inputs, targets


def _read_example(path: Path, alphabet: str) -> tuple[str, str]:
    rows = [cells for _, cells in numbered_rows(path)]
    if len(rows) != 2 or rows[0] != HEADER or len(rows[1]) != 2 or len(rows[1][0]) != len(rows[1][1]):
        raise UserError(f"{path} must hold the line input,target and one row of two texts as long as each other: download it again.")
    for character in "".join(rows[1]):
        if character not in alphabet:
            raise UserError(f"{path} has the character {character!r}, which is not in preprocess.alphabet ({alphabet}): add it there.")
    return rows[1][0], rows[1][1]
