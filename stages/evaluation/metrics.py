"""Test metrics for each kind of task, with 95 % bootstrap intervals: flat dicts of plain numbers.

What a test split cannot tell (R² of one row, AUC of one class) is left out rather than made up.
"""

import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import calibration, metrics

Metrics = dict[str, float]

CONFIDENCE = 0.95
NUM_BINS = 15


def with_interval(
    name: str, statistic: Callable[..., float | np.ndarray], columns: tuple[np.ndarray, ...], num_resamples: int, seed: int
) -> Metrics:
    """`name`, `name_low` and `name_high`: the statistic of the columns and its 95 % percentile bootstrap interval over rows.

    The statistic takes an `axis` if it works on many resamples at once. A single row has no spread: its interval is itself.
    Resamples that it cannot tell of (NaN: the AUC of those that hold one class only) do not count.
    """
    vectorized = "axis" in statistic.__code__.co_varnames
    value = float(statistic(*columns, axis=-1) if vectorized else statistic(*columns))
    low = high = value
    if len(columns[0]) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # of resamples that are NaN, which are left out below
            result = stats.bootstrap(
                columns,
                statistic,
                n_resamples=num_resamples,
                batch=max(1, 2_000_000 // len(columns[0])),
                vectorized=vectorized,
                paired=True,
                method="percentile",
                rng=np.random.default_rng(seed),
            )
        low, high = np.nanquantile(result.bootstrap_distribution, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).tolist()
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def mean(values: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(values, axis=axis)


def root_mean(squares: np.ndarray, axis: int) -> np.ndarray:
    return np.sqrt(np.mean(squares, axis=axis))


def auc(targets: np.ndarray, positive: np.ndarray) -> float:
    return metrics.roc_auc_score(targets, positive) if len(np.unique(targets)) > 1 else float("nan")


def classification(targets: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, num_resamples: int, seed: int) -> Metrics:
    """Of targets [n], probabilities [n, num_classes] and labels [n]."""
    result = with_interval("accuracy", mean, ((labels == targets).astype(float),), num_resamples, seed)
    # Of the classes that the test split or a prediction has, as scikit-learn averages them.
    result["macro_f1"] = float(metrics.f1_score(targets, labels, average="macro", zero_division=0))
    result["calibration_error"] = calibration_error(labels == targets, probabilities.max(axis=1))
    if probabilities.shape[1] == 2 and len(np.unique(targets)) == 2:
        result |= with_interval("auc", auc, (targets, probabilities[:, 1]), num_resamples, seed)
    return result


def calibration_error(right: np.ndarray, confidence: np.ndarray) -> float:
    """Expected calibration error: |accuracy - mean confidence| over equal bins of confidence, weighted by how many fall in each.

    Guo et al., 2017, https://arxiv.org/abs/1706.04599, equation 3, with 15 bins as there.
    """
    confidence = np.clip(confidence, 0.0, 1.0)
    accuracy, mean_confidence = calibration.calibration_curve(right, confidence, n_bins=NUM_BINS)
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=NUM_BINS)
    return float(np.average(np.abs(accuracy - mean_confidence), weights=counts[counts > 0]))


def sequences(targets: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, num_resamples: int, seed: int) -> Metrics:
    """Exact match over whole sequences, the rest over characters: targets and labels [n, length], -1 where padded."""
    exact = np.all((labels == targets) | (targets < 0), axis=1).astype(float)
    real = targets >= 0
    return with_interval("exact_match", mean, (exact,), num_resamples, seed) | classification(
        targets[real], probabilities[real], labels[real], num_resamples, seed
    )


def regression(targets: np.ndarray, predictions: np.ndarray, num_resamples: int, seed: int) -> Metrics:
    """Of targets and predictions [n, num_outputs], all outputs together."""
    errors = np.abs(predictions - targets, dtype=np.float64)
    result = with_interval("mae", mean, (errors.mean(axis=1),), num_resamples, seed)
    result |= with_interval("rmse", root_mean, ((errors**2).mean(axis=1),), num_resamples, seed)
    if len(targets) > 1:
        result["r2"] = float(metrics.r2_score(targets, predictions))
    return result


def per_class(targets: np.ndarray, labels: np.ndarray, classes: list[str]) -> list[dict[str, float | str]]:
    """A row a class: precision, recall, F1 and how many test items it has."""
    precision, recall, f1, support = metrics.precision_recall_fscore_support(targets, labels, labels=range(len(classes)), zero_division=0)
    columns = zip(classes, precision, recall, f1, support, strict=True)
    return [{"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)} for name, p, r, f, n in columns]


def per_output(targets: np.ndarray, predictions: np.ndarray, outputs: list[str]) -> list[dict[str, float | str]]:
    """A row a regressed number: mean absolute error, root mean squared error and how many test items there are."""
    mae = metrics.mean_absolute_error(targets, predictions, multioutput="raw_values")
    rmse = metrics.root_mean_squared_error(targets, predictions, multioutput="raw_values")
    return [
        {"output": name, "mae": float(a), "rmse": float(r), "count": len(targets)} for name, a, r in zip(outputs, mae, rmse, strict=True)
    ]
