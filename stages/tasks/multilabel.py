"""Any number of classes for an item: targets uint8 [batch, num_classes] of 0 and 1, and a logit for each class."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.classes import OUTPUTS, PER, RELIABILITY_EDGES, Interval, Metrics, Row, losses, marks, mean, points, ratios, score, width
from stages.common.meta import Meta
from stages.common.signature import BATCH, Entry

if TYPE_CHECKING:
    from torch import Tensor

NAMES_ONE_CLASS = False
LOSSES = ("BCE", "BCEWithLogits", "Focal", "MultiLabelSoftMargin")
SCORE = "label_accuracy"
POOLED = 1e-7  # probabilities are kept so far from 0 and 1 while they are logits again
SEPARATOR = "; "
ERROR = "share of wrong labels"  # the mean of errors()
WRONGNESS = "how far the worst of the probabilities is from the truth"  # what wrongness() is
CLAIM = "probability of a label", "its share"  # the axes of reliability()
METRICS = {"macro_f1": "higher", "average_precision": "higher", "label_accuracy": "higher", "exact_match": "higher", "log_loss": "lower"}
COMPARED = ("log_loss", "macro_f1", "average_precision", "label_accuracy")  # with baselines; by the first it is said which is better
SIMPLEST = "majority"  # the baseline that simplest() is

__all__ = ["OUTPUTS", "PER", "marks", "points", "score", "width"]


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    return (2, num_outputs), np.zeros((2, num_outputs), dtype=np.uint8)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    return targets.sum(axis=0, dtype=np.int64)


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 for every label that is right, and how many labels there are."""
    return ((logits > 0) == (targets == 1)).float(), targets.numel()


def pool(logits: "Tensor") -> "Tensor":
    """Of several answers an item, [batch, members, num_classes], the logits of their mean probabilities."""
    import torch

    return torch.logit(logits.sigmoid().mean(dim=1), eps=POOLED)


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    probabilities = logits.sigmoid()
    return probabilities, (probabilities > 0.5).long()


def simplest(train: Iterable[np.ndarray], targets: np.ndarray, num_names: int) -> list[np.ndarray]:
    """Outputs for items with such targets that look at nothing: each class's share in train, whose targets come piece by piece."""
    pieces = [(len(piece), piece.sum(axis=0, dtype=np.float64)) for piece in train]
    shares = sum(total for _, total in pieces) / sum(number for number, _ in pieces)
    return answers(np.broadcast_to(shares.astype(np.float32), targets.shape))


def answers(probabilities: np.ndarray) -> list[np.ndarray]:
    """The outputs of a model that gives such probabilities."""
    return [probabilities, (probabilities > 0.5).astype(np.int64)]


def macro_f1(weights: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of 0 and 1, float64 [n, num_classes] each."""
    return ratios(2 * (weights @ (targets * labels)), weights @ (targets + labels)).mean(axis=1)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: Interval) -> Metrics:
    """F1 and average precision are means over the classes that the test split has; the log-loss is the mean of all labels'."""
    from sklearn import metrics

    probabilities, labels = outputs
    seen = targets.any(axis=0)
    result: Metrics = {}
    if seen.any():
        result |= interval("macro_f1", macro_f1, (targets[:, seen].astype(float), labels[:, seen].astype(float)))
        result["average_precision"] = float(metrics.average_precision_score(targets[:, seen], probabilities[:, seen], average="macro"))
    result |= interval("label_accuracy", mean, ((labels == targets).mean(axis=1),))
    result |= interval("exact_match", mean, ((labels == targets).all(axis=1).astype(float),))
    return result | interval("log_loss", mean, (losses(np.where(targets == 1, probabilities, 1 - probabilities)).mean(axis=1),))


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[Row]:
    """The score is the share of an item's labels that are right."""
    return [
        {"actual": as_text(target, meta.names), "predicted": as_text(label, meta.names), "score": float((target == label).mean())}
        for target, label in zip(targets, outputs[1], strict=True)
    ]


def as_text(labels: np.ndarray, names: list[str]) -> str:
    return SEPARATOR.join(name for name, is_there in zip(names, labels, strict=True) if is_there) or "none"


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[Row]:
    from sklearn import metrics

    probabilities, labels = outputs
    columns = metrics.precision_recall_fscore_support(targets, labels, average=None, zero_division=0)
    pairs = zip(targets.T, probabilities.T, strict=True)
    precision = [float(metrics.average_precision_score(true, given)) if true.any() else 0.0 for true, given in pairs]
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "average_precision": ap, "count": int(n)}
        for name, p, r, f, n, ap in zip(meta.names, *columns, precision, strict=True)
    ]


def draw(axes: Any, rows: list[Row], names: list[str], draw_matrix: Callable[..., None]) -> None:
    """How many items that have the class of a row were given the class of a column, on matplotlib's axes."""
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for row in rows:
        true, given = (np.array([name in row[key].split(SEPARATOR) for name in names]) for key in ("actual", "predicted"))
        counts += np.outer(true, given)
    draw_matrix(axes, counts, names)


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: how far the worst of an item's probabilities is from the truth."""
    return np.abs(outputs[0] - targets).max(axis=1)


def errors(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: the share of an item's labels that are wrong."""
    return (outputs[1] != targets).mean(axis=1)


def reliability(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Of all labels together: what was claimed [m], what was so [m], and the edges of the bins in which their means are compared."""
    return outputs[0].ravel(), targets.ravel().astype(np.float64), RELIABILITY_EDGES


def caption(target: np.ndarray, outputs: list[np.ndarray], names: list[str]) -> tuple[str, str, bool]:
    true, predicted = as_text(target, names), as_text(outputs[1], names)
    return f"is {true}", f"predicted {predicted}", true == predicted


def is_close_call(probabilities: np.ndarray, tolerance: float) -> np.ndarray:
    """Where a probability is that close to one half: there labels may differ."""
    return np.abs(probabilities - 0.5) < tolerance


def describe(names: dict[str, str], class_names: list[str]) -> list[Entry]:
    meaning = "Of each class by itself, in the order of `classes`; they do not sum to 1."
    shape: list[int | str] = [BATCH, len(class_names)]
    return [
        Entry(name=names["probabilities"], dtype="float32", shape=shape, meaning=meaning, range=[0, 1]),
        Entry(name=names["label"], dtype="int64", shape=shape, meaning="1 for each class with a probability above 0.5.", range=[0, 1]),
    ]
