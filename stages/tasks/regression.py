"""One or more numbers for an item: targets float32 [batch, num_outputs], and what the network gives is the answer."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.classes import PER, Interval, Metrics, Row, mean, ratios, width
from stages.common.meta import Meta
from stages.common.signature import BATCH, Entry

if TYPE_CHECKING:
    from torch import Tensor

OUTPUTS = ("prediction",)
NAMES_ONE_CLASS = False
LOSSES = ("MSE", "L1", "SmoothL1")
SCORE = "mae"
ERROR = WRONGNESS = "mean absolute error"  # the mean of errors(), and of wrongness()
CLAIM = "prediction", "actual value"  # the axes of reliability()
NUM_BINS = 10
METRICS = {"mae": "lower", "rmse": "lower", "r2": "higher"}
COMPARED = ("rmse", "mae", "r2")  # with baselines; by the first it is said which is better
SIMPLEST = "mean"  # the baseline that simplest() is
CONSTANT = 1e-12  # of the mean square: a variance below that is what rounding leaves

__all__ = ["PER", "width"]


def example(num_outputs: int) -> tuple[tuple[int, ...], np.ndarray]:
    return (2, num_outputs), np.zeros((2, num_outputs), dtype=np.float32)


def per_class(targets: np.ndarray, num_classes: int) -> np.ndarray | None:
    return None


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """The absolute errors, and how many there are."""
    errors = (logits - targets).abs().flatten()
    return errors, errors.numel()


def pool(logits: "Tensor") -> "Tensor":
    """Of several answers an item, [batch, members, num_outputs], their mean."""
    return logits.mean(dim=1)


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    return (logits,)


def simplest(train: Iterable[np.ndarray], targets: np.ndarray, num_names: int) -> list[np.ndarray]:
    """Outputs for items with such targets that look at nothing: the mean of train, whose targets come piece by piece."""
    pieces = [(len(piece), piece.sum(axis=0, dtype=np.float64)) for piece in train]
    return answers(np.broadcast_to(sum(total for _, total in pieces) / sum(number for number, _ in pieces), targets.shape))


def answers(numbers: np.ndarray) -> list[np.ndarray]:
    """The outputs of a model that gives such numbers."""
    return [numbers.astype(np.float32)]


def root_mean(weights: np.ndarray, squares: np.ndarray) -> np.ndarray:
    return np.sqrt(mean(weights, squares))


def r2(weights: np.ndarray, targets: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Of targets and squared errors [n, num_outputs]: the share of the variance that is explained, the mean of all numbers.

    Where nothing varies, 1 if there is no error and else 0, as scikit-learn says it.
    """
    total, shifted = weights.sum(axis=1)[:, None], targets - targets[0]
    square, centre, error = (weights @ values / total for values in (shifted**2, shifted, squares))
    variance = square - centre**2
    varies = variance > CONSTANT * square
    return np.where(varies, 1 - ratios(error, np.where(varies, variance, 0)), error == 0).mean(axis=1)


def measure(targets: np.ndarray, outputs: list[np.ndarray], interval: Interval) -> Metrics:
    """Of all numbers together."""
    targets = targets.astype(np.float64)
    errors = np.abs(outputs[0] - targets)
    result = interval("mae", mean, (errors.mean(axis=1),)) | interval("rmse", root_mean, ((errors**2).mean(axis=1),))
    if len(targets) > 1:  # a single row has no variance to explain
        result |= interval("r2", r2, (targets, errors**2))
    return result


def rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[Row]:
    """Of predictions.csv, one a number."""
    pairs = zip(targets.ravel(), outputs[0].ravel(), strict=True)
    return [
        {"actual": float(actual), "predicted": float(predicted), "score": abs(float(actual) - float(predicted))}
        for actual, predicted in pairs
    ]


def breakdown(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[Row]:
    """A row a regressed number: mean absolute error, root mean squared error and how many test items there are."""
    errors = np.abs(outputs[0] - targets, dtype=np.float64)
    columns = zip(meta.names, errors.mean(axis=0), np.sqrt((errors**2).mean(axis=0)), strict=True)
    return [{"output": name, "mae": float(mae), "rmse": float(rmse), "count": len(targets)} for name, mae, rmse in columns]


def draw(axes: Any, rows: list[Row], names: list[str], draw_matrix: Callable[..., None]) -> None:
    """What was predicted over what is true, on matplotlib's axes."""
    actual, predicted = [row["actual"] for row in rows], [row["predicted"] for row in rows]
    axes.plot(predicted, actual, ".", alpha=0.5)
    ends = [min(*actual, *predicted), max(*actual, *predicted)]
    axes.plot(ends, ends, "--", color="grey")


def wrongness(targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: the mean absolute error."""
    return np.abs(outputs[0] - targets).mean(axis=1)


errors = wrongness


def reliability(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """What was claimed [n], what was so [n], and the edges of tenths of the predictions. Several numbers, of several units, have none."""
    if targets.shape[1] > 1:
        return None
    claimed = outputs[0][:, 0].astype(np.float64)
    return claimed, targets[:, 0].astype(np.float64), np.unique(np.quantile(claimed, np.linspace(0, 1, NUM_BINS + 1)))


def caption(target: np.ndarray, outputs: list[np.ndarray], names: list[str]) -> tuple[str, str, bool]:
    true, predicted = (", ".join(f"{value:.2f}" for value in values) for values in (target, outputs[0]))
    return f"is {true}", f"predicted {predicted}", False


def marks(targets: np.ndarray, outputs: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """What is true and what was predicted as places in a picture, if two numbers are: row and column, in pixels."""
    return list(zip(targets, outputs[0], strict=True)) if targets.shape[1] == 2 else None


def is_close_call(predictions: np.ndarray, tolerance: float) -> np.ndarray:
    """There are no labels."""
    return np.zeros(len(predictions), dtype=bool)


def score(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[float, int]:
    """The sum of the absolute errors, and how many there are."""
    return float(np.abs(outputs[0] - targets, dtype=np.float64).sum()), targets.size


def points(whole: float, own: float, targets: np.ndarray) -> float:
    """What a smaller form loses of its mean absolute error, in hundredths of the standard deviation of the targets, which has its unit."""
    spread, lost = float(targets.std(axis=0).mean()), own - whole
    return 100 * lost / spread if spread else math.copysign(math.inf, lost) if lost else 0.0


def describe(names: dict[str, str], numbers: list[str]) -> list[Entry]:
    return [Entry(name=names["prediction"], dtype="float32", shape=[BATCH, len(numbers)], meaning=", ".join(numbers))]
