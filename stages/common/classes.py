"""What tasks with classes share, in numpy: of targets int64 [n], and of the outputs, probabilities [n, num_classes] and labels int64 [n].

`interval(name, statistic, columns)` comes from evaluate: the statistic of the columns as `name`, which gets a bootstrap interval. A
statistic takes weights float64 [k, n], how often each row counts in each of k resamples, before its columns, of which the first has n rows,
and gives float64 [k]. Equal rows may be given once, with `counts`. scikit-learn is imported where it is used, for other stages read tasks
too.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from stages.common.meta import Meta
from stages.common.signature import BATCH, Entry

Metrics = dict[str, float]
Interval = Callable[..., Metrics]
Row = dict[str, Any]

PER = "item"
NAMES_ONE_CLASS = True  # an item has one class, which an exported model can say in words
OUTPUTS = ("probabilities", "label")
SCORE = "accuracy"
COMPARED = ("log_loss", "accuracy", "auc", "macro_f1")  # with baselines; by the first it is said which is better
SIMPLEST = "majority"  # the baseline that simplest() is
NUM_BINS = 15
MAX_RUNS = 10_000  # of equal scores in a bootstrap
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


def simplest(train: Iterable[np.ndarray], targets: np.ndarray, num_names: int) -> list[np.ndarray]:
    """Outputs for items with such targets that look at nothing: the shares of the classes in train, whose targets come piece by piece."""
    counts = sum(np.bincount(piece[piece >= 0], minlength=num_names) for piece in train)
    shares = np.asarray(counts / np.sum(counts), dtype=np.float32)
    return answers(np.broadcast_to(shares, (*targets.shape, num_names)))


def answers(probabilities: np.ndarray) -> list[np.ndarray]:
    """The outputs of a model that gives such probabilities."""
    return [probabilities, probabilities.argmax(axis=-1)]


def mean(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    return weights @ values / weights.sum(axis=1)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: Interval) -> Metrics:
    probabilities, labels = outputs
    num_classes = probabilities.shape[1]
    result = interval("accuracy", mean, ((labels == targets).astype(float),))
    cells, counts = np.unique(targets * num_classes + labels, return_counts=True)  # of the confusion matrix
    pairs = cells // num_classes, cells % num_classes
    result |= interval("macro_f1", macro_f1, pairs, counts)
    result |= interval("balanced_accuracy", balanced_accuracy, pairs, counts)
    result |= interval("log_loss", mean, (losses(np.take_along_axis(probabilities, targets[:, None], axis=1)[:, 0]),))
    result["calibration_error"] = calibration_error(labels == targets, probabilities.max(axis=1))
    if num_classes > 2:  # of each class that the test split has against all others; many, so without an interval
        once, seen = np.ones((1, len(targets))), np.unique(targets)
        each = [average_precision(once, *ranking(targets == place, probabilities[:, place]))[0] for place in seen]
        result["average_precision"] = float(np.mean(each))
    elif len(np.unique(targets)) == 2:
        ranked = ranking(targets, probabilities[:, 1])
        for name, statistic in (("auc", auc), ("average_precision", average_precision)):
            exact = float(statistic(np.ones((1, len(targets))), *ranked)[0])
            result |= interval(name, statistic, coarse(*ranked)) | {name: exact}
    return result


def losses(probabilities: np.ndarray) -> np.ndarray:
    """The log-loss of each item by the probability of what is true, which the precision's epsilon keeps from 0 as in scikit-learn."""
    return -np.log(np.clip(probabilities, np.finfo(probabilities.dtype).eps, 1).astype(np.float64))


def per_group(weights: np.ndarray, groups: np.ndarray, num: int) -> np.ndarray:
    """[k, num]: the sums of weights [k, n] over the rows of each of `num` groups, int64 [n]."""
    flat = groups + np.arange(len(weights))[:, None] * num
    return np.bincount(flat.ravel(), weights.ravel(), len(weights) * num).reshape(-1, num)


def macro_f1(weights: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean of the classes that the rows or their predictions have, as scikit-learn averages them."""
    num, right = int(max(targets.max(), labels.max())) + 1, targets == labels
    both = per_group(weights, targets, num) + per_group(weights, labels, num)
    found = 2 * per_group(weights[:, right], targets[right], num)
    return ratios(found, both).sum(axis=1) / (both > 0).sum(axis=1)


def balanced_accuracy(weights: np.ndarray, targets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean recall of the classes that the rows have."""
    num, right = int(targets.max()) + 1, targets == labels
    total = per_group(weights, targets, num)
    return ratios(per_group(weights[:, right], targets[right], num), total).sum(axis=1) / (total > 0).sum(axis=1)


def ratios(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """0 where the whole is 0."""
    return np.divide(parts, wholes, out=np.zeros(parts.shape), where=wholes > 0)


def ranking(targets: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What auc() and average_precision() take of n items, so that a bootstrap sorts them once and not a thousand times: the order from the
    highest score, 1.0 where an item there is of the second class, and the place of the last of each run of equal scores.
    """
    order = np.argsort(-scores, kind="stable")
    return order, targets[order].astype(float), np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)


def coarse(order: np.ndarray, second: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ranking with MAX_RUNS different scores at most: an AUC changes by less than its interval shows, in a third of the time."""
    return order, second, last[np.linspace(0, len(last) - 1, MAX_RUNS).astype(np.int64)] if len(last) > MAX_RUNS else last


def curve(weights: np.ndarray, order: np.ndarray, second: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many items of the second and of the first class have at least each of the scores, [k, len(last)]."""
    drawn, starts = weights.take(order, axis=1), np.append(0, last[:-1] + 1)
    total, found = (np.cumsum(np.add.reduceat(part, starts, axis=1), axis=1) for part in (drawn, drawn * second))
    return found, total - found


def auc(weights: np.ndarray, order: np.ndarray, second: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Of a ranking(): the area below its ROC curve. NaN where there is one class only."""
    found, wrong = curve(weights, order, second, last)
    pairs = found[:, -1] * wrong[:, -1]
    won = found[:, 0] * wrong[:, 0] + np.einsum("kn,kn->k", np.diff(wrong, axis=1), found[:, 1:] + found[:, :-1])
    return np.divide(won, 2 * pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def average_precision(weights: np.ndarray, order: np.ndarray, second: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Of a ranking(): the precision at each score, weighted by the recall that it adds. NaN where the second class is missing."""
    found, wrong = curve(weights, order, second, last)
    added = np.einsum("kn,kn->k", np.diff(found, axis=1, prepend=0), ratios(found, found + wrong))
    return np.divide(added, found[:, -1], out=np.full(len(added), np.nan), where=found[:, -1] > 0)


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
