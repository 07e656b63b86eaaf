"""A class for every character of a text: targets int64 [batch, length], -1 where padded; logits [batch, length, num_classes]."""

from typing import TYPE_CHECKING

import numpy as np

from stages.common import classes
from stages.common.classes import CLAIM, OUTPUTS, SCORE, SIMPLEST, answers, draw, is_close_call, marks, points, simplest, width
from stages.common.meta import Meta
from stages.common.signature import BATCH, LENGTH, Entry

if TYPE_CHECKING:
    from torch import Tensor

PER = "character"
NAMES_ONE_CLASS = False
LOSSES = ("CrossEntropy", "NLL")
ERROR = "share of wrong characters"  # the mean of errors()
WRONGNESS = "one minus the probability of the true class of the worst character"  # what wrongness() is
METRICS = {"exact_match": "higher", "accuracy": "higher", "macro_f1": "higher", "balanced_accuracy": "higher", "log_loss": "lower"}
COMPARED = ("log_loss", "accuracy", "macro_f1", "exact_match")  # with baselines; by the first it is said which is better
PADDED = -1

__all__ = ["CLAIM", "OUTPUTS", "SCORE", "SIMPLEST", "answers", "draw", "is_close_call", "marks", "points", "simplest", "width"]


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    return (2, 1, num_outputs), np.zeros((2, 1), dtype=np.int64)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    return None


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 where a character's class is right (no class has the number of padding), and how many characters count."""
    return (logits.argmax(-1) == targets).float(), (targets != PADDED).sum()


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    probabilities = logits.softmax(dim=-1)
    return probabilities, probabilities.argmax(dim=-1).masked_fill(inputs == 0, PADDED)


def of_characters(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Both with an item a character, in one row, without the padding."""
    real = targets != PADDED
    return targets[real], [output[real] for output in outputs]


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: classes.Interval) -> classes.Metrics:
    """Exact match over whole texts, the rest over characters."""
    exact = np.all((outputs[1] == targets) | (targets == PADDED), axis=1).astype(float)
    return interval("exact_match", classes.mean, (exact,)) | classes.measure(*of_characters(targets, outputs), interval)


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    return classes.rows(meta, *of_characters(targets, outputs))


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[classes.Row]:
    return classes.breakdown(meta, *of_characters(targets, outputs))


def score(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[float, int]:
    return classes.score(*of_characters(targets, outputs))


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: one minus the probability of the true class of the worst character."""
    return np.where(targets != PADDED, classes.wrongness(targets, outputs), 0).max(axis=1)


def errors(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: the share of a text's characters whose class is wrong."""
    real = targets != PADDED
    return ((outputs[1] != targets) & real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)


def reliability(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    return classes.reliability(*of_characters(targets, outputs))


def caption(target: np.ndarray, outputs: list[np.ndarray], names: list[str]) -> tuple[str, str, bool]:
    true, predicted = ("".join(names[label] for label in labels if label != PADDED) for labels in (target, outputs[1]))
    return f"is {true}", f"predicted {predicted}", true == predicted


def describe(names: dict[str, str], class_names: list[str]) -> list[Entry]:
    meaning = "Of each class, in the order of `classes`; they sum to 1."
    place = "Place of the most probable class in `classes`. -1 where the input is padding."
    return [
        Entry(name=names["probabilities"], dtype="float32", shape=[BATCH, LENGTH, len(class_names)], meaning=meaning, range=[0, 1]),
        Entry(name=names["label"], dtype="int64", shape=[BATCH, LENGTH], meaning=place, range=[-1, len(class_names) - 1]),
    ]
