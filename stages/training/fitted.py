"""Training by a recipe with `fit`: the network stays as it is, but for its head, which is fitted to the end on features of train.

The features are computed once. Of the values of C the one is taken whose heads had the lowest loss on items that were held out: those of
val or, where the dataset has no val, those of each fold of train in turn. Then a head is fitted on the whole of train.
"""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stages.modelling.model import Model
from stages.shell.resume import Keeper
from stages.training.batches import AnyBatches
from stages.training.features import Features, SparseFeatures
from stages.training.head import Head, choose_folds, fit_head
from stages.training.losses import build_loss
from stages.training.recipe import Fit, Row

Places = np.ndarray | None  # of a split's items; None is all


class Trial(NamedTuple):
    """On which items of train a head is fitted, and on which items of which split it is then measured."""

    fitted: Places
    split: str
    held_out: Places


class FittedRun:
    """What fit_fixed() works on, what is done of it (`features`, `measured` heads, a row for each C), and what it made: `head`.

    The run has its process to itself. `targets` are those of each split of `batches`, train and perhaps val; `memory` is how many bytes
    the features may take; with `sparse` they are mostly 0.
    """

    def __init__(
        self, model: Model, fit: Fit, batches: dict[str, AnyBatches], targets: dict[str, np.ndarray], seed: int, memory: int, sparse: bool
    ):
        self.model, self.task, self.fit = model, model.task, fit
        self.network: Any = model.network  # with features() and head, perhaps measure(): docs/extending.md
        self.batches, self.targets, self.seed = batches, targets, seed
        kind = SparseFeatures if sparse else Features
        self.features = {split: kind(own.count, memory) for split, own in batches.items()}
        self.is_measured = not hasattr(self.network, "measure")
        self.values = sorted(set(fit.C))
        self.measured, self.rows, self.head = list[list[float]](), list[Row](), dict[str, Tensor]()

    @cached_property
    def trials(self) -> list[Trial]:
        """Of every C."""
        if "val" in self.batches:
            return [Trial(None, "val", None)]
        folds = choose_folds(self.targets["train"], self.fit.folds, self.seed)
        return [Trial(fitted, "train", held_out) for fitted, held_out in folds]

    @property
    def num_steps(self) -> int:
        """How often fit_fixed() calls `step`."""
        return sum(len(own) for own in self.batches.values()) + len(self.values) * len(self.trials)

    @property
    def is_over(self) -> bool:
        return bool(self.head)

    @property
    def place(self) -> str:
        for split, features in self.features.items():
            if features.done < features.count and not self.is_over:
                return f"at item {features.done} of {features.count} of {split}"
        return "after its last value of C" if self.is_over else f"at value {len(self.rows) + 1} of {len(self.values)} of C"

    @property
    def best_row(self) -> Row:
        """Of the C with the lowest loss on held-out items; of equal ones the smaller, as of those that nothing could be held out for."""
        losses = [math.inf if row["val_loss"] is None else row["val_loss"] for row in self.rows]
        return self.rows[losses.index(min(losses))]

    @property
    def chosen(self) -> dict[str, Any]:
        return {"C": self.best_row["C"], "folds": 0 if "val" in self.batches else len(self.trials)}

    @property
    def summary(self) -> str:
        return f"C {self.best_row['C']:g} (of {len(self.values)} values)"

    def state(self) -> dict[str, Any]:
        """What load() needs to go on from here."""
        is_measured = self.is_measured and hasattr(self.network, "measure")
        kept = {"network": dict(self.network.state_dict()) if is_measured else None, "rows": self.rows, "head": self.head}
        if self.is_over:
            return kept
        return kept | {"measured": self.measured, "features": {split: features.state() for split, features in self.features.items()}}

    def load(self, state: dict[str, Any]) -> None:
        if state["network"] is not None:
            self.network.load_state_dict(state["network"])
            self.is_measured = True
        self.rows = state["rows"]
        if state["head"]:
            self.keep(state["head"])
            return
        self.measured = state["measured"]
        for split, features in self.features.items():
            features.load(state["features"][split])

    def keep(self, head: dict[str, Tensor]) -> None:
        self.network.head.load_state_dict(head)
        self.head = head


def fit_fixed(run: FittedRun, keeper: Keeper, watch: Callable[[int, Row], None], step: Callable[[], object]) -> FittedRun:
    """Fits the head of the run's network, in place.

    The run resumes from what `keeper` has of it, and is saved there. `watch` is called after every C with its number and its row, and at
    the start for those that an earlier run has done; `step` after every batch of features and every head.
    """
    keeper.take_up(run)
    for number, row in enumerate(run.rows, 1):
        watch(number, row)
    if run.is_over:
        return run
    run.network.eval()
    if not run.is_measured:
        run.network.measure(prepared(run, "train", 0))
        run.is_measured = True
    for split, features in run.features.items():
        for batch in prepared(run, split, features.done):
            with torch.no_grad():
                features.add(run.network.features(batch))
            step()
            keeper.pause(run)
    for number, c in enumerate(run.values, 1):
        for trial in run.trials[len(run.measured) - (number - 1) * len(run.trials) :] if number > len(run.rows) else []:
            run.measured.append(measure(run, trial, c))
            step()
            keeper.pause(run)
        if number > len(run.rows):
            run.rows.append(as_row(run, number, c))
            watch(number, run.rows[-1])
    run.keep(as_weights(fit_on(run, None, float(run.best_row["C"] or 0))))
    keeper.end_epoch(run)
    return run


def prepared(run: FittedRun, split: str, start: int) -> Iterator[Tensor]:
    """Batches of a split as the network takes them, from item `start` on."""
    batches = run.batches[split]
    for place in range(start, batches.count, batches.batch_size):
        yield run.model.input(run.model.middle(batches.rows(place, place + batches.batch_size)[0]))


def fit_on(run: FittedRun, places: Places, c: float) -> Head:
    """A head for the network, fitted on these items of train."""
    targets = run.targets["train"] if places is None else run.targets["train"][places]
    learned = run.model.standardised(torch.from_numpy(targets).to(run.batches["train"].device)).cpu().numpy()
    return fit_head(run.features["train"].matrix(places), learned, run.model.meta.num_outputs, c, run.fit.standardise)


def measure(run: FittedRun, trial: Trial, c: float) -> list[float]:
    """Sums of loss and metric, and how many items (or labels) they are of, where the head was fitted and where it was held out."""
    head = fit_on(run, trial.fitted, c)
    return [*sums(run, head, "train", trial.fitted), *sums(run, head, trial.split, trial.held_out)]


def sums(run: FittedRun, head: Head, split: str, places: Places) -> list[float]:
    device, meta = run.batches[split].device, run.model.meta
    logits = torch.from_numpy(head.logits(run.features[split].matrix(places))).to(device)
    targets = torch.from_numpy(run.targets[split] if places is None else run.targets[split][places]).to(device)
    loss = build_loss(run.task.LOSSES[0], {}, meta.task, meta.num_outputs, "fit")(logits, run.model.standardised(targets))
    per_item, count = run.task.score_per_item(run.model.in_units(logits.float()), targets)
    return [float(loss) * int(count), float(per_item.double().sum()), int(count)]


def as_row(run: FittedRun, number: int, c: float) -> Row:
    """Means of what was measured with this C: of all folds together. Without any, of a head on the whole of train."""
    mine = run.measured[(number - 1) * len(run.trials) :]
    if not run.trials:
        mine = [[*sums(run, fit_on(run, None, c), "train", None), 0, 0, 0]]
    totals = [math.fsum(column) for column in zip(*mine, strict=True)]
    means = [total / count if count else None for *both, count in (totals[:3], totals[3:]) for total in both]
    metric = run.task.SCORE
    names = ("train_loss", f"train_{metric}", "val_loss", f"val_{metric}")
    return {"epoch": number, "C": c, **dict(zip(names, means, strict=True))}


def as_weights(head: Head) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in head._asdict().items()}
