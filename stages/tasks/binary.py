"""One of two classes for an item: targets int64 [batch], one logit [batch, 1], which is of the second class."""

from typing import TYPE_CHECKING

import numpy as np

from stages.common import classes
from stages.common.classes import caption, describe, draw, is_close_call, marks, points, score
from stages.common.meta import Meta

if TYPE_CHECKING:
    from torch import Tensor

PER = "item"
OUTPUTS = ("probabilities", "label")
LOSSES = ("BCE", "BCEWithLogits", "Focal", "MultiLabelSoftMargin")
SCORE = "accuracy"
METRICS = {"accuracy": "higher", "macro_f1": "higher", "auc": "higher"}

__all__ = ["caption", "describe", "draw", "is_close_call", "marks", "points", "score"]


def width(num_names: int) -> int:
    return 1


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape of the logits of two items, and their targets."""
    return (2, 1), np.zeros(2, dtype=np.int64)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    """How many items each class has, [num_classes]."""
    return np.bincount(targets, minlength=num_classes)


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 where the class is right, and how many count."""
    return ((logits[:, 0] > 0) == (targets == 1)).float(), len(targets)


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    import torch  # here, for not every stage that reads tasks needs it

    positive = logits.sigmoid()
    probabilities = torch.cat([1 - positive, positive], dim=1)
    return probabilities, probabilities.argmax(dim=-1)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: classes.Interval) -> classes.Metrics:
    return classes.measure(targets, outputs[0], outputs[1], interval)


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    return classes.rows(targets, outputs[1], meta.names)


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    return classes.breakdown(targets, outputs[1], meta.names)


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    return classes.wrongness(targets, outputs[0])
