"""Items of a split with what is known of them, evenly spaced over the split where it has more than a page can be made of."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from stages.common.meta import Input
from stages.common.splits import SplitFile
from stages.modelling.model import Model
from stages.modelling.predict import predict

MAX_ITEMS = 20_000
# Of permutation importance: rows that are shuffled, all that the model gets for it, repeats, and columns of which one repeat must do.
MAX_SHUFFLED, MIN_SHUFFLED, MAX_GIVEN, REPEATS, MANY = 2000, 50, 150_000, 3, 100

Columns = dict[str, tuple[list[int], np.ndarray]]  # as the inputs' columns() gives them


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many places of `count`, from the first to the last."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


@dataclass(frozen=True)
class Items:
    """Of the split `file`, in its order; `places` are theirs in it. `described` is meta.json's: a checkpoint keeps no order of columns.
    `names` are of raw files, where there are many.
    """

    file: SplitFile
    model: Model
    described: Input
    places: np.ndarray
    names: list[str] | None = None

    def pieces(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.places), self.file.at_once):
            yield self.file.take("inputs", self.places[start : start + self.file.at_once])

    @cached_property
    def targets(self) -> np.ndarray:
        return self.file.take("targets", self.places)

    @cached_property
    def columns(self) -> Columns:
        pieces = [self.model.input.part.columns(rows, self.described) for rows in self.pieces()]
        return {name: (at, np.concatenate([piece[name][1] for piece in pieces])) for name, (at, _) in (pieces or [{}])[0].items()}

    def where(self, of: np.ndarray) -> list[str] | None:
        """Of the items at these of the places: the line of its file on which each stands, or its own file, where that is known."""
        if "lines" not in self.file.tensors:
            return None
        lines = self.file.take("lines", self.places[of]).tolist()
        return [str(line) if self.names is None else self.names[line] for line in lines]

    def answers(self, device: torch.device) -> list[np.ndarray]:
        return predict(self.model, self.pieces(), device)


def importance(test: Items, device: torch.device, seed: int) -> dict[str, np.ndarray]:
    """By raw column, the most important first: by how much the mean wrongness grows when its values are shuffled among rows, [repeats].

    Breiman, 2001, "Random Forests", section 10; the numbers that one raw column gives are shuffled together.
    """
    groups = {name: at for name, (at, _) in test.columns.items() if at}
    if not groups:
        return {}
    repeats = REPEATS if len(groups) < MANY else 1
    num_rows = int(np.clip(MAX_GIVEN / (repeats * len(groups)), MIN_SHUFFLED, MAX_SHUFFLED))
    some = replace(test, places=test.places[evenly(len(test.places), num_rows)])
    rows, task = np.concatenate(list(some.pieces())), test.model.task

    def wrongness(inputs: np.ndarray) -> float:
        return float(task.wrongness(some.targets, predict(some.model, [inputs], device)).mean())

    before, found = wrongness(rows), dict[str, np.ndarray]()
    for number, (name, at) in enumerate(groups.items()):
        rng, grown = np.random.default_rng([seed, number]), list[float]()
        for _ in range(repeats):
            shuffled = rows.copy()
            shuffled[:, at] = rows[rng.permutation(len(rows))][:, at]
            grown.append(wrongness(shuffled) - before)
        found[name] = np.array(grown)
    return dict(sorted(found.items(), key=lambda item: -item[1].mean()))
