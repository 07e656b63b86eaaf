"""What a kind of data (stages/datasets/) hands to the stage preprocess: items as a stream, what it left out, where its files are from."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np

from stages.common.meta import Input, Noted, Origin
from stages.shell.errors import UserError

NUM_EXAMPLES = 5
SOURCE = ".source"  # beside raw files that a download made: nobody can take a stand-in for the real data later on

# split, inputs, targets and, of some kinds, the line of its file on which each item stands, or its place in `items`
Chunk = tuple[str, np.ndarray, np.ndarray] | tuple[str, np.ndarray, np.ndarray, np.ndarray]


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes escaped, and cut at 300: names in hostile data may hold anything."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text[:301])
    return shown if len(text) <= 300 else shown[:300] + "..."


class LeftOutItems:
    """Bad rows and unreadable files, left out, counted and named; memory does not grow with their number."""

    def __init__(self) -> None:
        self.count, self.examples = 0, list[str]()

    def add(self, name: str, reason: str) -> None:
        """Leave out one item; `name` says where it stands (a file, or a file with line and column)."""
        self.count += 1
        if len(self.examples) < NUM_EXAMPLES:
            self.examples.append(printable(f"{name}: {reason}"))

    def settle(self, total: int, max_fraction: float) -> None:
        """Call it once, after the last of `total` items (good and bad): warns on stderr, or raises UserError if too many are bad."""
        if self.count == 0:
            return
        more = self.count - len(self.examples)
        named = "; ".join(self.examples) + (f"; and {more} more" if more else "")
        if self.count <= max_fraction * total:
            print(f"warning: {self.count} of {total} items are left out: {named}.", file=sys.stderr)
            return
        advice = "fix the data or raise max_bad_fraction in params.yaml"
        if self.count > 0.9 * total:
            advice = "with so many, check first that the dataset's keys in params.yaml name the right files and columns"
        raise UserError(f"{self.count} of {total} items are bad, more than max_bad_fraction ({max_fraction}) allows: {named}; {advice}.")


class Notes:
    """What was passed over, or read with a grain of salt: for each such thing how many items and the first few; memory does not grow."""

    def __init__(self) -> None:
        self.found = dict[str, tuple[int, list[str]]]()

    def add(self, what: str, example: str) -> None:
        """The words `what` are the same for all items of which it is true."""
        count, examples = self.found.get(what, (0, []))
        if count < NUM_EXAMPLES:
            examples.append(printable(example))
        self.found[what] = count + 1, examples

    def say(self, sentence: str) -> None:
        """Of all items, without a full stop."""
        self.found[printable(sentence)] = 0, []

    def tell(self) -> None:
        """On stderr, once."""
        for what, (count, examples) in self.found.items():
            more = f" and {count - len(examples):,} more" if count > len(examples) else ""
            named = f": {count:,} ({'; '.join(examples)}{more})" if count else ""
            print(f"notice: {what}{named}.", file=sys.stderr)

    def noted(self) -> list[Noted] | None:
        return [Noted(what=what, count=count, examples=examples) for what, (count, examples) in self.found.items()] or None


@dataclass(frozen=True)
class Contents:
    """A raw dataset, opened.

    - description: one honest sentence on the data, unless it is a stand-in, which describes itself.
    - input: what an input is; with `measure` its mean and std are yet to be measured, by the stage, on train alone.
    - chunks: (split, inputs [k, ...], targets [k, ...]) as they are stored, a few hundred items at a time, in any order of splits.
    - classes: names in label order; outputs: names of the numbers of a regression.
    - standardise_targets: networks learn the numbers of a regression by their mean and deviation on train.
    - left_out: filled while `chunks` runs; complete when it ends.
    - notes: what else there is to say, filled like left_out.
    - items: of raw files that are not lines of one file, the name of each; `lines` of the chunks are places in it, from 0.
    """

    description: str
    input: Input
    chunks: Iterator[Chunk]
    classes: list[str] | None = None
    outputs: list[str] | None = None
    left_out: LeftOutItems = field(default_factory=LeftOutItems)
    measure: bool = False
    standardise_targets: bool = False
    items: list[str] | None = None
    notes: Notes = field(default_factory=Notes)


def write_source(raw: Path, origin: Origin, stand_in: str = "") -> None:
    """`stand_in` describes a sample in a sentence."""
    (raw / SOURCE).write_text(f"{origin}\n{stand_in}", encoding="utf-8")


def read_source(raw: Path) -> tuple[Origin, str]:
    """The origin, and for a sample its description. Raw files that no download has made are somebody's own."""
    try:
        with (raw / SOURCE).open("rb") as file:  # raw files may be a stranger's: no more is read than a sentence has
            origin, _, stand_in = file.read(1000).decode(errors="replace").partition("\n")
    except FileNotFoundError:
        return "own", ""
    for known in get_args(Origin):
        if origin == known:
            return known, printable(stand_in)
    raise UserError(f"{raw / SOURCE} is damaged: run python -m stages.download {raw.parent.name} again.")
