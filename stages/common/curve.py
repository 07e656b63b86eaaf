"""What plots/learning_curve.csv holds, and what was chosen by it, for those who draw it and tell of it."""

from collections.abc import Iterable
from typing import Any

EPOCH, SPLIT, RATE, TRIED = "epoch", "split", "lr", ("weight", "C")


def axis(columns: Iterable[str]) -> str:
    """What the curve is drawn over: epochs, or the weights or values of C that were tried."""
    return next((column for column in columns if column in TRIED), EPOCH)


def measures(columns: Iterable[str]) -> list[str]:
    """The columns with what was measured: the loss and the metric."""
    return [column for column in columns if column not in (EPOCH, SPLIT, RATE, *TRIED)]


def scale(columns: Iterable[str]) -> str:
    """As matplotlib calls it: values of C differ by factors."""
    return "log" if axis(columns) == "C" else "linear"


def chosen(training: dict[str, Any], has_val: bool) -> str:
    """What was kept, in a sentence; `training` is a checkpoint's."""
    if "C" not in training:
        on = "validation" if has_val else "train"
        return f"Epoch {training['best_epoch']} of {training['epochs']} was the best on {on} and is kept."
    values, folds = training["recipe"]["fit"]["C"], training["folds"]
    by = f"cross-validation in {folds} parts of train" if folds else "validation"
    if not has_val and not folds:
        return f"The head was fitted to the end with C {training['C']:g}: train has too few items to hold any out."
    if len(values) == 1:
        return f"The head was fitted to the end with C {training['C']:g}; the curve is by {by}."
    return f"The head was fitted to the end with C {training['C']:g}, of {len(values)} values the best by {by}."
