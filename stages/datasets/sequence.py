"""One text to spell from another of the same length, a character at a time: the smallest task for a recurrent network.

Reads raw/sequences.csv, with the header input,target and one row. Train and test are that one example, for
there is nothing to generalise to; val is empty.
"""

from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field, field_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.reading.contents import Contents
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError

Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[!-~]+$")]


class Preprocess(Section):
    """`alphabet`: every character that occurs, in the order of their numbers."""

    task: ClassVar[str] = "sequence"
    input_kind: ClassVar[str] = "characters"
    alphabet: Text

    @field_validator("alphabet")
    @classmethod
    def _each_once(cls, alphabet: str) -> str:
        if len(set(alphabet)) != len(alphabet):
            raise ValueError("expected every character once")
        return alphabet


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    text, target = _read_example(raw / "sequences.csv", preprocess.alphabet)
    inputs = np.array([[ord(character) for character in text]], dtype=np.int16)
    targets = np.array([[preprocess.alphabet.index(character) for character in target]], dtype=np.int64)
    return Contents(
        description=f"One example, written in params.yaml: {text} is to become {target}.",
        input=Input(kind="characters", shape=[None], dtype="int16", alphabet=preprocess.alphabet),
        classes=list(preprocess.alphabet),
        chunks=((split, inputs, targets) for split in ("train", "test")),
    )


def _read_example(path: Path, alphabet: str) -> tuple[str, str]:
    rows = [cells for _, cells in numbered_rows(path)]
    if len(rows) != 2 or rows[0] != ["input", "target"] or len(rows[1]) != 2 or len(rows[1][0]) != len(rows[1][1]):
        raise UserError(f"{path} must hold the line input,target and one row of two texts as long as each other: download it again.")
    for character in "".join(rows[1]):
        if character not in alphabet:
            raise UserError(f"{path} has the character {character!r}, which is not in preprocess.alphabet ({alphabet}): add it there.")
    return rows[1][0], rows[1][1]
