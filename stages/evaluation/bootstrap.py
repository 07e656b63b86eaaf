"""The section `evaluate` of params.yaml, and 95 % bootstrap intervals of metrics."""

import inspect
import warnings
from collections.abc import Callable

import numpy as np
from pydantic import Field

from stages.common.params import Section

CONFIDENCE = 0.95


class Evaluate(Section):
    """Resamples of each bootstrap interval."""

    num_resamples: int = Field(ge=100, le=100_000)


def with_interval(
    name: str, statistic: Callable[..., float | np.ndarray], columns: tuple[np.ndarray, ...], num_resamples: int, seed: int
) -> dict[str, float]:
    """`name`, `name_low` and `name_high`: the statistic of the columns and its 95 % percentile bootstrap interval over rows.

    The statistic takes an `axis` if it works on many resamples at once. A single row has no spread: its interval is itself.
    Resamples that it cannot tell of (NaN: the AUC of those that hold one class only) do not count.
    """
    from scipy import stats  # here, since check reads the section too and need not wait for it

    vectorized = "axis" in inspect.signature(statistic).parameters
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
