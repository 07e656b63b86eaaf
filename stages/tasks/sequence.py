"""A class for every character of a text: targets int64 [batch, length], -1 where padded; logits [batch, length, num_classes]."""

from typing import TYPE_CHECKING

import numpy as np

from stages.common import classes
from stages.common.classes import draw, is_close_call, marks, points
from stages.common.meta import Meta
from stages.common.signature import BATCH, LENGTH, Entry

if TYPE_CHECKING:
    from torch import Tensor

PER = "character"
OUTPUTS = ("probabilities", "label")
LOSSES = ("CrossEntropy", "NLL")
SCORE = "accuracy"
METRICS = {"exact_match": "higher", "accuracy": "higher", "macro_f1": "higher"}
PADDED = -1

__all__ = ["draw", "is_close_call", "marks", "points"]


def width(num_names: int) -> int:
    return num_names


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape of the logits of two items, and their targets."""
    return (2, 1, num_outputs), np.zeros((2, 1), dtype=np.int64)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    """An item has many classes."""
    return None


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 where a character's class is right (no class has the number of padding), and how many characters count."""
    return (logits.argmax(-1) == targets).float(), (targets != PADDED).sum()


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    probabilities = logits.softmax(dim=-1)
    return probabilities, probabilities.argmax(dim=-1).masked_fill(inputs == 0, PADDED)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: classes.Interval) -> classes.Metrics:
    """Exact match over whole texts, the rest over characters."""
    probabilities, labels = outputs
    exact = np.all((labels == targets) | (targets == PADDED), axis=1).astype(float)
    real = targets != PADDED
    return interval("exact_match", classes.mean, (exact,)) | classes.measure(targets[real], probabilities[real], labels[real], interval)


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    """One a character."""
    real = targets != PADDED
    return classes.rows(targets[real], outputs[1][real], meta.names)


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    real = targets != PADDED
    return classes.breakdown(targets[real], outputs[1][real], meta.names)


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: one minus the probability of the true class of the worst character."""
    true = np.take_along_axis(outputs[0], np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    return np.where(targets != PADDED, 1 - true, 0).max(axis=1)


def caption(target: np.ndarray, outputs: list[np.ndarray], names: list[str]) -> tuple[str, str, bool]:
    """Of one item: what it is, what was predicted, and whether that is the same."""
    true, predicted = ("".join(names[label] for label in labels if label != PADDED) for labels in (target, outputs[1]))
    return f"is {true}", f"predicted {predicted}", true == predicted


def score(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[float, int]:
    """How many characters' labels are right, and of how many."""
    real = targets != PADDED
    return float((outputs[1] == targets)[real].sum()), int(real.sum())


def describe(names: dict[str, str], class_names: list[str]) -> list[Entry]:
    """The outputs, one class a character."""
    meaning = "Of each class, in the order of `classes`; they sum to 1."
    place = "Place of the most probable class in `classes`. -1 where the input is padding."
    return [
        Entry(name=names["probabilities"], dtype="float32", shape=[BATCH, LENGTH, len(class_names)], meaning=meaning, range=[0, 1]),
        Entry(name=names["label"], dtype="int64", shape=[BATCH, LENGTH], meaning=place, range=[-1, len(class_names) - 1]),
    ]
