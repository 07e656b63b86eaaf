"""Rows of numbers: float32 [num_features], NaN is missing, and so is 0 in the features of `zero_is_missing`.

A missing value becomes the feature's mean on train (0 where none is measured); mean and std standardise (null: numbers are used as they
are).
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.meta import Input, Meta
from stages.common.signature import BATCH, Entry, Feature
from stages.shell.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

IS_AUGMENTED = False
NAMES = ("features",)  # of what consumers send
CHANNELS_LAST = False
DIGITS = 6  # of what is measured on train
MAX_SHOWN = 120  # features; of thousands no text need be made


class Measurement:
    """Mean and std per feature in float64, missing values ignored; std is the population's, and 1 for a constant feature.

    Chunks are joined by Chan, Golub and LeVeque's update ("Updating formulae and a pairwise algorithm for computing
    sample variances", 1979), which keeps its digits where a sum of squares would lose them.
    """

    def __init__(self, described: Input):
        self.names, self.zero_is_missing = described.names or [], zeros_missing(described)
        self.number = np.zeros(len(self.names), dtype=np.int64)
        self.mean, self.squares = np.zeros(len(self.names)), np.zeros(len(self.names))

    def add(self, features: np.ndarray) -> None:
        """Take in float32 [k, num_features]; NaN is missing, and 0 in the features of zero_is_missing."""
        values = features.astype(np.float64)
        present = ~np.isnan(values) & ~((values == 0) & self.zero_is_missing)
        added = present.sum(axis=0)
        number, divisor = self.number + added, np.maximum(self.number + added, 1)
        chunk_mean = np.where(present, values, 0).sum(axis=0) / np.maximum(added, 1)
        chunk_squares = (np.where(present, values - chunk_mean, 0) ** 2).sum(axis=0)
        step = chunk_mean - self.mean
        self.squares += chunk_squares + step**2 * self.number * added / divisor
        self.mean += step * added / divisor
        self.number = number

    def measured(self) -> dict[str, Any]:
        for name, number in zip(self.names, self.number, strict=True):
            if number == 0:
                raise UserError(f"The feature {name!r} is missing in every row of train: leave its column out of the file.")
        stds = np.sqrt(self.squares / self.number)
        return {"mean": self.mean.tolist(), "std": [std or 1.0 for std in stds.tolist()]}


def zeros_missing(described: Input) -> np.ndarray:
    """bool [num_features]: whether 0 is a missing value."""
    return np.array([name in (described.zero_is_missing or []) for name in described.names or []], dtype=bool)


def as_batch(rows: np.ndarray) -> np.ndarray:
    """Rows of a split as a consumer sends them."""
    return rows


def lengths(rows: np.ndarray) -> np.ndarray | None:
    """All items are of one size."""
    return None


def constants(described: Input) -> dict[str, np.ndarray]:
    width = len(described.names or [])
    return {
        "mean": np.array(described.mean or [0.0] * width, np.float32),
        "std": np.array(described.std or [1.0] * width, np.float32),
        "zero_is_missing": zeros_missing(described),
    }


def prepare(features: "Tensor", constants: dict[str, "Tensor"]) -> "Tensor":
    """Raw float32 [batch, num_features] to the same shape with missing values imputed, and standardised where meta.json says so."""
    mean = constants["mean"]
    missing = features.isnan() | (constants["zero_is_missing"] & (features == 0))
    return (mean.where(missing, features) - mean) / constants["std"]


def as_matrix(rows: np.ndarray, described: Input) -> tuple[np.ndarray, np.ndarray]:
    """The rows as baselines take them: float64, NaN where missing, and which columns are codes of categories (none)."""
    missing = zeros_missing(described) & (rows == 0)
    return np.where(missing, np.nan, rows).astype(np.float64), np.zeros(rows.shape[1], dtype=bool)


def describe(described: Input, names: dict[str, str]) -> list[Entry]:
    """The inputs in the signature: one."""
    zeros = f" NaN is missing; so is 0 in {', '.join(described.zero_is_missing)}." if described.zero_is_missing else " NaN is missing."
    meaning = f"{', '.join(described.names or [])}: raw, not scaled.{zeros}"
    return [Entry(name=names["features"], dtype="float32", shape=[BATCH, len(described.names or [])], meaning=meaning)]


def facts(meta: Meta, train: Iterable[np.ndarray], units: dict[str, str]) -> list[Feature]:
    """Of each feature, by the inputs of train, piece by piece; missing values do not count."""
    names = meta.input.names or []
    if unknown := [name for name in units if name not in names]:
        key = f"datasets.{meta.dataset}.about.units"
        raise UserError(f"params.yaml: {key} has {unknown[0]}, which is not a feature; expected some of {', '.join(names)}.")
    zero = zeros_missing(meta.input)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    total, count = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64)
    for rows in train:
        values = np.where(zero & (rows == 0), np.nan, rows.astype(np.float64))
        low, high = np.fmin(low, np.fmin.reduce(values, axis=0)), np.fmax(high, np.fmax.reduce(values, axis=0))
        total, count = total + np.nansum(values, axis=0), count + (~np.isnan(values)).sum(axis=0)
    columns = ([float(f"{value:.{DIGITS}g}") for value in column] for column in (low, high, total / np.maximum(count, 1)))
    measured = [ends if number else (None, None, None) for *ends, number in zip(*columns, count, strict=True)]
    return [
        Feature(name=name, unit=units.get(name, ""), low=lowest, high=highest, mean=mean, zero_is_missing=bool(is_zero))
        for name, (lowest, highest, mean), is_zero in zip(names, measured, zero, strict=True)
    ]


def golden(described: Input) -> np.ndarray:
    """One row, made by rule and not taken from the data: that may be somebody's, and the model goes to others."""
    return np.array([described.mean or np.arange(1, len(described.names or []) + 1)], dtype=np.float32)


def cases(batches: list[np.ndarray], described: Input) -> Iterator[np.ndarray]:
    """Batches that exported forms are compared on, from batches of rows of a split. Missing values, which it may not have, come last."""
    yield from batches
    last = batches[-1]
    yield np.where(np.arange(last.size).reshape(last.shape) % 3 == 0, np.float32(np.nan), last)


def shown(rows: np.ndarray, described: Input) -> np.ndarray | list[str]:
    """Pictures, or a line of text for each item."""
    names = (described.names or [])[:MAX_SHOWN]
    return [", ".join(f"{name}={value:g}" for name, value in zip(names, row, strict=False)) for row in rows]


def columns(rows: np.ndarray, described: Input) -> dict[str, tuple[list[int], np.ndarray]]:
    """The features by name: its place in a row, and of these rows the values, float64 [n]; NaN is missing."""
    values = np.where(zeros_missing(described) & (rows == 0), np.nan, rows.astype(np.float64))
    return {name: ([place], values[:, place]) for place, name in enumerate(described.names or [])}
