"""What tasks with classes share, in numpy: of targets int64 [n], and of the outputs, probabilities [n, num_classes] and labels int64 [n].

`interval(name, statistic, columns)` comes from evaluate: the statistic of the columns with its bootstrap interval, as `name`, `name_low`
and `name_high`. scikit-learn is imported where it is used, for other stages read tasks too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.common.meta import Meta
from stages.common.signature import BATCH, Entry

Metrics = dict[str, float]
Interval = Callable[[str, Callable[..., Any], tuple[np.ndarray, ...]], Metrics]
Row = dict[str, Any]

PER = "item"
OUTPUTS = ("probabilities", "label")
SCORE = "accuracy"
NUM_BINS = 15
RELIABILITY_EDGES = np.linspace(0, 1, 11)
ERROR = "share of wrong answers"  # the mean of errors()
WRONGNESS = "one minus the probability of the true class"  # what wrongness() is
CLAIM = "probability of the predicted class", "share of right answers"  # the axes of reliability(); {} is the second class


def width(num_names: int) -> int:
    """Of the network's last layer, by the number of classes, or of regressed numbers."""
    return num_names


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    """The shape of the logits of two items, and their targets."""
    return (2, num_outputs), np.zeros(2, dtype=np.int64)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    """How many items each class has, [num_classes]; None where there are no classes, or an item has many."""
    return np.bincount(targets, minlength=num_classes)


def mean(values: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(values, axis=axis)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: Interval) -> Metrics:
    from sklearn import metrics

    probabilities, labels = outputs
    result = interval("accuracy", mean, ((labels == targets).astype(float),))
    # Of the classes that the test split or a prediction has, as scikit-learn averages them.
    result["macro_f1"] = float(metrics.f1_score(targets, labels, average="macro", zero_division=0))
    result["calibration_error"] = calibration_error(labels == targets, probabilities.max(axis=1))
    if probabilities.shape[1] == 2 and len(np.unique(targets)) == 2:
        result |= interval("auc", auc, (targets, np.unique(probabilities[:, 1], return_inverse=True)[1]))
    return result


def auc(targets: np.ndarray, ranks: np.ndarray) -> float:
    """Of int64 [n] each: the classes 0 and 1, and the places of the scores among all different ones. NaN where there is one class only.

    As Mann and Whitney count: the share of pairs of the two classes in which the second has the higher score, an equal one counting half.
    The ranks stay when rows are drawn, so that a bootstrap of n rows sorts them once and not a thousand times.
    """
    second = np.bincount(ranks[targets == 1])
    first = np.bincount(ranks[targets == 0], minlength=len(second))[: len(second)]
    pairs = 2 * int(np.count_nonzero(targets)) * int(len(targets) - np.count_nonzero(targets))
    return float(second @ (2 * np.cumsum(first) - first)) / pairs if pairs else float("nan")


def calibration_error(right: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error: |accuracy - mean confidence| over equal bins of confidence, weighted by how many fall in each.

    Guo et al., 2017, https://arxiv.org/abs/1706.04599, equation 3, with 15 bins as there.
    """
    from sklearn import calibration

    confidence = np.clip(confidence, 0.0, 1.0)
    accuracy, mean_confidence = calibration.calibration_curve(right, confidence, n_bins=NUM_BINS)
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=NUM_BINS)
    return float(np.average(np.abs(accuracy - mean_confidence), weights=counts[counts > 0]))


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[Row]:
    """Of predictions.csv, one an item; a release compares the scores of two versions."""
    return [
        {"actual": meta.names[actual], "predicted": meta.names[predicted], "score": int(actual == predicted)}
        for actual, predicted in zip(targets, outputs[1], strict=True)
    ]


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[Row]:
    """Of breakdown.csv, one a class: precision, recall, F1 and how many test items it has."""
    from sklearn import metrics

    labels = range(len(meta.names))
    columns = metrics.precision_recall_fscore_support(targets, outputs[1], labels=labels, zero_division=0)
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
        for name, p, r, f, n in zip(meta.names, *columns, strict=True)
    ]


def draw(axes: Any, rows: list[Row], names: list[str], draw_matrix: Callable[..., None]) -> None:
    """The confusion matrix on matplotlib's axes: counts, a row for each true class and a column for each predicted one."""
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([places[row["actual"]] for row in rows], [places[row["predicted"]] for row in rows]), 1)
    draw_matrix(axes, counts, names)


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """In the shape of the targets: one minus the probability of the true class."""
    return 1 - np.take_along_axis(outputs[0], targets[..., None], axis=-1)[..., 0]


def errors(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: 1.0 where the class is wrong."""
    return (outputs[1] != targets).astype(np.float64)


def reliability(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What was claimed [m], what was so [m], and the edges of the bins in which their means are compared; None where nothing is claimed."""
    return outputs[0].max(axis=-1), (outputs[1] == targets).astype(np.float64), RELIABILITY_EDGES


def caption(target: np.ndarray, outputs: list[np.ndarray], names: list[str]) -> tuple[str, str, bool]:
    """Of one item: what it is, what was predicted, and whether that is the same."""
    probabilities, label = outputs
    return f"is {names[target]}", f"predicted {names[label]} {probabilities.max():.2f}", bool(target == label)


def marks(targets: np.ndarray, outputs: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """What is true and what was predicted as places in a picture: a class is none."""
    return None


def is_close_call(probabilities: np.ndarray, tolerance: float) -> np.ndarray:
    """Where the two most probable classes are closer than twice the tolerance: there labels may differ."""
    best = np.sort(probabilities, axis=-1)[..., -2:]
    return best[..., 1] - best[..., 0] < 2 * tolerance


def score(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[float, int]:
    """How many labels are right, and of how many."""
    return float((outputs[1] == targets).sum()), targets.size


def points(whole: float, own: float, targets: np.ndarray) -> float:
    """What a smaller form loses of its accuracy, in hundredths; of scores with six digits, half a point is no more than half a point."""
    return round(100 * (whole - own), 6)


def describe(names: dict[str, str], class_names: list[str]) -> list[Entry]:
    """The outputs in the signature, one class an item."""
    meaning = "Of each class, in the order of `classes`; they sum to 1."
    place = "Place of the most probable class in `classes`."
    return [
        Entry(name=names["probabilities"], dtype="float32", shape=[BATCH, len(class_names)], meaning=meaning, range=[0, 1]),
        Entry(name=names["label"], dtype="int64", shape=[BATCH], meaning=place, range=[0, len(class_names) - 1]),
    ]
