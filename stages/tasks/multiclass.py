"""One of several classes for an item: targets int64 [batch], logits [batch, num_classes]."""

from typing import TYPE_CHECKING

import numpy as np

from stages.common import classes
from stages.common.classes import caption, describe, draw, is_close_call, marks, points, score
from stages.common.meta import Meta

if TYPE_CHECKING:
    from torch import Tensor

PER = "item"
OUTPUTS = ("probabilities", "label")
LOSSES = ("CrossEntropy", "NLL", "Focal", "MultiLabelSoftMargin")
SCORE = "accuracy"
METRICS = {"accuracy": "higher", "macro_f1": "higher"}

__all__ = ["caption", "describe", "draw", "is_close_call", "marks", "points", "score"]


def width(num_names: int) -> int:
    return num_names


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape of the logits of two items, and their targets."""
    return (2, num_outputs), np.zeros(2, dtype=np.int64)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    """How many items each class has, [num_classes]."""
    return np.bincount(targets, minlength=num_classes)


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 where the class is right, and how many count."""
    return (logits.argmax(-1) == targets).float(), len(targets)


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    probabilities = logits.softmax(dim=-1)
    return probabilities, probabilities.argmax(dim=-1)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: classes.Interval) -> classes.Metrics:
    return classes.measure(targets, outputs[0], outputs[1], interval)


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    return classes.rows(targets, outputs[1], meta.names)


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    return classes.breakdown(targets, outputs[1], meta.names)


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    return classes.wrongness(targets, outputs[0])
