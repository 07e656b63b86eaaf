"""A linear head, fitted to the end on features that do not change: by scikit-learn's solvers, in float64 and on one thread.

Classes by logistic regression (two by one logit, more by a softmax, each label of many by a logit of its own), numbers by ridge regression;
both with an L2 penalty on the weights and none on the bias. They make C * sum(loss) + |weights|^2 / 2 as small as it can be, with the
log-loss or half the squared error as loss: a small C means small weights.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

# The largest gradient of the mean loss where the solver stops: predictions change no more by what anybody could measure.
TOLERANCE = 1e-6
MAX_STEPS = 20_000
# A logit for a class that no item has: its probability is 0 in float32, and no larger weight is needed for that.
NEVER = -100.0
# A feature varies if its deviation is more than this share of its largest value: less is what rounding leaves.
VARIES = 1e-6

Matrix = Any  # float64 [n, width]: a numpy array, or one of scipy's csr_matrix


class Head(NamedTuple):
    """float64 [num_outputs, width] and [num_outputs]; logits are features @ weight.T + bias."""

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, matrix: Matrix) -> np.ndarray:
        return np.asarray(matrix @ self.weight.T) + self.bias


def choose_folds(targets: np.ndarray, most: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(train, held out) places of up to `most` folds, classes [n] in proportion. A class of one item is always in train, so that no fold
    lacks a class; none where too few items are left to hold any out.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    places = np.arange(len(targets))
    if targets.ndim > 1 or targets.dtype.kind == "f":
        count, held = min(most, len(places)), places
        split = KFold(count, shuffle=True, random_state=seed).split(held) if count > 1 else []
    else:
        _, own, counts = np.unique(targets, return_inverse=True, return_counts=True)
        held = places[counts[own] > 1]
        count = min(most, int(counts.max(initial=0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a class has fewer items than there are folds
            split = list(StratifiedKFold(count, shuffle=True, random_state=seed).split(held, targets[held])) if count > 1 else []
    return [(np.setdiff1d(places, held[out]), held[out]) for _, out in split]


def fit_head(matrix: Matrix, targets: np.ndarray, num_outputs: int, c: float, standardise: bool) -> Head:
    """Of features [n, width], which are overwritten, and the targets of a split: int64 [n] for classes, 0 and 1 in [n, num_outputs] for
    labels, float [n, num_outputs] for numbers.

    With `standardise` it is fitted on features of deviation 1, but is a head for the features as they are; those that do not vary have no
    weight. Features that are not sparse are centred in any case: that changes no answer, and the solver needs a fifth of the steps.
    """
    with threadpool_limits(limits=1):
        if not isinstance(matrix, np.ndarray):
            return solve(matrix, targets, num_outputs, c)
        mean, scale = matrix.mean(axis=0), np.ones(matrix.shape[1])
        if standardise:
            std = matrix.std(axis=0)
            varies = std > VARIES * np.abs(matrix).max(axis=0, initial=0)
            scale = np.where(varies, 1 / np.where(varies, std, 1), 0)
        matrix -= mean
        matrix *= scale
        head = solve(matrix, targets, num_outputs, c)
        weight = head.weight * scale
        return Head(weight, head.bias - weight @ mean)


def solve(matrix: Matrix, targets: np.ndarray, num_outputs: int, c: float) -> Head:
    if targets.dtype.kind == "f":
        from sklearn.linear_model import Ridge

        found = Ridge(alpha=1 / c, tol=TOLERANCE).fit(matrix, targets)
        return Head(found.coef_.reshape(num_outputs, -1), np.broadcast_to(found.intercept_, num_outputs).astype(np.float64))
    if targets.ndim > 1:
        heads = [logit(matrix, column, c) for column in targets.T]
        return Head(np.concatenate([head.weight for head in heads]), np.concatenate([head.bias for head in heads]))
    if num_outputs == 1:
        return logit(matrix, targets, c)
    classes = np.unique(targets)
    head = Head(np.zeros((num_outputs, matrix.shape[1])), np.full(num_outputs, NEVER))
    if len(classes) < 3:  # of two one logit is enough: half of it for the one, half against the other
        one = logit(matrix, targets == classes[-1], c) if len(classes) == 2 else Head(np.zeros((1, matrix.shape[1])), np.zeros(1))
        parts = Head(np.concatenate([-one.weight, one.weight]) / 2, np.concatenate([-one.bias, one.bias]) / 2)
        head.weight[classes], head.bias[classes] = parts.weight[-len(classes) :], parts.bias[-len(classes) :]
        return head
    found = regression(matrix, targets, c)
    head.weight[classes], head.bias[classes] = found.coef_, found.intercept_
    return head


def logit(matrix: Matrix, targets: np.ndarray, c: float) -> Head:
    """Of the second of two classes. Where all items have the same, there is nothing to learn but how many they are."""
    count, second = len(targets), int(np.count_nonzero(targets))
    if second in (0, count):
        return Head(np.zeros((1, matrix.shape[1])), np.array([np.log((second + 0.5) / (count - second + 0.5))]))
    found = regression(matrix, targets, c)
    return Head(found.coef_, found.intercept_)


def regression(matrix: Matrix, targets: np.ndarray, c: float) -> Any:
    """scikit-learn's, whose warning that it has not come to the end is passed on."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, tol=TOLERANCE, max_iter=MAX_STEPS).fit(matrix, targets)
