"""Segments of the test items in which a model is weak: levels of words, bands of numbers and dates, and where a value is missing."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from stages.reporting.items import Columns

MIN_ROWS = 30  # of a segment, and of the rest
FEW = 6  # different numbers, each of which is a segment of its own
BANDS = (0.25, 0.5, 0.75)
CLEARLY = 1.2  # times the error of all
MAX_FALSE = 0.05  # share of those found that are weak by chance alone
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Segment:
    """Rows of one column: how many, their mean error with its 95 % interval, and how probable such a difference is by chance."""

    column: str
    band: str
    count: int
    error: float
    low: float
    high: float
    p: float


def weak_segments(columns: Columns, errors: np.ndarray) -> tuple[list[Segment], int]:
    """Those whose mean error is clearly above that of the rest, the costliest first, and how many segments were compared.

    Welch's t-test of each segment against the rest, one-sided; of those found a share of MAX_FALSE is expected to be wrong (Benjamini and
    Hochberg, 1995, "Controlling the false discovery rate").
    """
    found = [segment for name, (_, values) in columns.items() for segment in compared(name, values, errors)]
    ordered, overall = sorted(found, key=lambda one: one.p), float(errors.mean()) if len(errors) else 0.0
    below = [place for place, one in enumerate(ordered, start=1) if one.p <= MAX_FALSE * place / len(ordered)]
    weak = [one for one in ordered[: max(below, default=0)] if one.error > CLEARLY * overall]
    return sorted(weak, key=lambda one: (one.error - overall) * -one.count), len(found)


def compared(name: str, values: np.ndarray, errors: np.ndarray) -> list[Segment]:
    codes, bands = grouped(values)
    count = np.bincount(codes, minlength=len(bands)).astype(np.float64)
    enough = np.flatnonzero((count >= MIN_ROWS) & (len(errors) - count >= MIN_ROWS))
    if not enough.size:
        return []
    sums, squares = (np.bincount(codes, errors**power, len(bands)) for power in (1, 2))
    own = [one[enough] for one in (count, sums, squares)]
    rest = [total - one for total, one in zip((len(errors), errors.sum(), (errors**2).sum()), own, strict=True)]
    (mean, error2, freedom), (others, others2, others_freedom) = moments(*own), moments(*rest)
    both = error2 + others2
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = both**2 / (error2**2 / freedom + others2**2 / others_freedom)
        p = np.where(both > 0, stdtr(degrees, -(mean - others) / np.sqrt(both)), np.where(mean > others, 0.0, 1.0))
    half = stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(error2)
    return [
        Segment(name, bands[place], int(count[place]), *map(float, (mean[at], max(mean[at] - half[at], 0), mean[at] + half[at], p[at])))
        for at, place in enumerate(enough)
    ]


def moments(count: np.ndarray, sums: np.ndarray, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean, the variance of the mean, and the degrees of freedom of each group."""
    mean = sums / count
    return mean, np.maximum(squares / count - mean**2, 0) / (count - 1), count - 1


def grouped(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The segment of each value, int64 [n], and the segments' names."""
    if values.dtype == object:
        return words_grouped(values)
    missing = np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)
    present = values[~missing]
    different = np.unique(present)
    if len(different) > FEW:
        cuts, times = np.unique(np.sort(present)[[int(share * len(present)) for share in BANDS]], return_counts=True)
        often = cuts[times > 1]  # each fills a band, and has it for itself
        inner = np.searchsorted(cuts, present, side="right") + np.searchsorted(often, present)
    else:
        inner = np.searchsorted(different, present)
    used, inner = np.unique(inner, return_inverse=True)
    ends = [(present[inner == place].min(), present[inner == place].max()) for place in range(len(used))]
    codes = np.full(len(values), len(ends), dtype=np.int64)
    codes[~missing] = inner
    return codes, [*(as_text(low) if low == high else f"{as_text(low)} to {as_text(high)}" for low, high in ends), as_text(None)]


def words_grouped(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    places: dict[Any, int] = {}
    codes = np.array([places.setdefault(value, len(places)) for value in values], dtype=np.int64)
    return codes, [UNKNOWN if word is None else as_text(word) for word in places]


MISSING, UNKNOWN = "(missing)", "(unknown word)"


def as_text(value: Any) -> str:
    """A cell, as a person writes it; words as they are."""
    if isinstance(value, str):
        return value or MISSING
    if value is None or value != value:  # NaN and NaT
        return MISSING
    if isinstance(value, np.datetime64):
        return str(value).replace("T", " ")
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.5g}" if abs(value) < 1e5 else f"{value:.1f}"
