"""The section `evaluate` of params.yaml, and 95 % bootstrap intervals of metrics."""

from collections.abc import Callable, Container, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from stages.common.params import Section

CONFIDENCE = 0.95
MAX_WEIGHTS = 250_000  # of the resamples that are held at once: more do not fit the processor's cache

Statistic = Callable[..., np.ndarray]


class Evaluate(Section):
    """Resamples of each bootstrap interval."""

    num_resamples: int = Field(ge=100, le=100_000)


class Waiting(NamedTuple):
    """An interval that is asked for."""

    name: str
    statistic: Statistic
    columns: tuple[np.ndarray, ...]
    counts: np.ndarray | None


class Bootstrap:
    """Values of statistics at once; complete() adds their 95 % percentile intervals over rows, all from the same resamples.

    A resample is how often each row was drawn: a statistic takes such weights, float64 [k, n], before its columns, of which the first has n
    rows, and gives its value for each of the k. So rows are drawn once for every metric of every model, and no row is copied. Equal rows
    may be given once with their `counts`, which are drawn directly.
    """

    def __init__(self, num_resamples: int, seed: int):
        self.num_resamples, self.seed = num_resamples, seed
        self.waiting = list[Waiting]()

    def __call__(
        self,
        name: str,
        statistic: Statistic,
        columns: tuple[np.ndarray, ...],
        counts: np.ndarray | None = None,
        prefix: str = "",
        only: Container[str] | None = None,
    ) -> dict[str, float]:
        """{name: value}; the interval, if `only` has the name, will be that of prefix + name."""
        if only is None or name in only:
            self.waiting.append(Waiting(prefix + name, statistic, columns, counts))
        weights = np.ones(len(columns[0])) if counts is None else counts.astype(np.float64)
        return {name: float(statistic(weights[None], *columns)[0])}

    def under(self, prefix: str, only: Container[str]) -> Callable[..., dict[str, float]]:
        """The same for metrics of something else, of which only some are kept."""
        return partial(self, prefix=prefix, only=only)

    def complete(self, metrics: dict[str, float]) -> dict[str, float]:
        """The metrics, each followed by its `_low` and `_high` where an interval was asked for.

        Resamples that a statistic cannot tell of (NaN: the AUC of those that hold one class only) do not count. A single row has no spread:
        its interval is itself.
        """
        ends = dict(self.ends())
        result = dict[str, float]()
        for name, value in metrics.items():
            low_and_high = ends.get(name, [])
            result |= {name: value} | dict(zip((f"{name}_low", f"{name}_high"), low_and_high, strict=False))
        return result

    def ends(self) -> Iterator[tuple[str, list[float]]]:
        """Name, and lower and upper end, of all intervals asked for."""
        levels = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        by_length: dict[Any, list[Waiting]] = {}
        for place, one in enumerate(self.waiting):
            by_length.setdefault(len(one.columns[0]) if one.counts is None else (place,), []).append(one)
        for together in by_length.values():
            values = [list[np.ndarray]() for _ in together]
            for weights in self.resamples(len(together[0].columns[0]), together[0].counts):
                for found, one in zip(values, together, strict=True):
                    found.append(one.statistic(weights, *one.columns))
            for found, one in zip(values, together, strict=True):
                yield one.name, np.nanquantile(np.concatenate(found), levels).tolist()

    def resamples(self, num_rows: int, counts: np.ndarray | None) -> Iterator[np.ndarray]:
        """float64 [k, num_rows] of how often each row is drawn, piece by piece."""
        rng, size = np.random.default_rng(self.seed), max(1, MAX_WEIGHTS // num_rows)
        for start in range(0, self.num_resamples, size):
            num = min(size, self.num_resamples - start)
            if counts is not None:
                yield rng.multinomial(counts.sum(), counts / counts.sum(), size=num).astype(np.float64)
                continue
            drawn = rng.integers(0, num_rows, (num, num_rows))
            drawn += np.arange(num)[:, None] * num_rows
            yield np.bincount(drawn.ravel(), minlength=num * num_rows).reshape(num, num_rows).astype(np.float64)
