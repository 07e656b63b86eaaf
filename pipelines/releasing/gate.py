"""Whether a model may be released: the bound that it must reach, and the paired bootstrap against the last version.

A row of predictions.csv is a test item (of sequences a character, of several regressed numbers one of them), and has the score that its
task gives it. Both models' scores of the same rows are drawn together, again and again, whatever metric the bound is of. Which way a metric
and the score are better is in data/checked/datasets/<dataset>.json, which the stage check writes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.dvc.checked import facts_of


class HeldBack(Exception):
    """The message is a part of a sentence that says why."""


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

    @property
    def signed(self) -> str:
        return f"{self.value:+.4g} [{self.low:+.4g}, {self.high:+.4g}]"


@dataclass(frozen=True)
class Gate:
    """What params.yaml asks of a model: `metric`, its bound, and how the last version is compared."""

    key: str  # of the bound in params.yaml
    metric: str
    is_error: bool  # the metric: smaller is better
    score: str  # what is compared row by row
    is_score_error: bool
    bound: float | None
    tolerance: float
    num_resamples: int
    confidence: float
    seed: int

    @classmethod
    def of(cls, params: Any, model: str, root: Path = Path()) -> "Gate | None":
        """Bound and tolerance are numbers, or {sample: ..., official: ...}; None for a model without a gate.

        Raises OSError where the stage check has not run.
        """
        gate, source = params["models"][model].get("gate"), params["source"]
        if gate is None:
            return None
        facts = facts_of(root, params["models"][model]["dataset"])
        is_error = facts.is_error(gate["metric"])
        side = "at_most" if is_error else "at_least"
        bound, tolerance = (part[source] if isinstance(part, dict) else part for part in (gate[side], gate["tolerance"]))
        key = f"models.{model}.gate.{side}" + (f".{source}" if isinstance(gate[side], dict) else "")
        is_score_error, seed = facts.is_error(facts.score), params["runtime"]["seed"]
        return cls(key, gate["metric"], is_error, facts.score, is_score_error, bound, tolerance, **params["gate"], seed=seed)

    def refusal(self, value: float) -> str | None:
        """Why the bound holds the model back; None if it does not."""
        if self.bound is None:
            return f"params.yaml gives no bound: {self.key} is null"
        if value <= self.bound if self.is_error else value >= self.bound:
            return None
        side = "at most" if self.is_error else "at least"
        return f"{self.metric} is {value:.4g}; expected {side} {self.bound:g} (params.yaml: {self.key})"

    def difference(self, before: pd.DataFrame, now: pd.DataFrame) -> Interval:
        """Of the mean scores, now less before; each end of the interval is as sure as `confidence`. Raises HeldBack."""
        if now.empty or not before["actual"].equals(now["actual"]):
            raise HeldBack("its predictions are not of the same test rows and classes")
        scores = (rows["score"].astype(float).to_numpy() for rows in (now, before))
        return mean_interval(next(scores) - next(scores), self.num_resamples, self.confidence, self.seed)

    def is_worse(self, difference: Interval) -> bool:
        """Whether it may be, beyond the tolerance."""
        return difference.high > self.tolerance if self.is_score_error else difference.low < -self.tolerance


def mean_interval(values: np.ndarray, num_resamples: int, confidence: float, seed: int) -> Interval:
    """The mean of values [n] and the ends of its two one-sided bootstrap intervals, by percentiles."""
    generator, count = np.random.default_rng(seed), len(values)
    means = [values[generator.integers(count, size=count)].mean() for _ in range(num_resamples)]
    low, high = np.quantile(means, [1 - confidence, confidence])
    return Interval(float(values.mean()), float(low), float(high))


def read_rows(predictions: Path) -> pd.DataFrame:
    """Its columns are texts: a class may be called NA, or 1.0."""
    return pd.read_csv(predictions, dtype=str, keep_default_na=False)


def read_metric(metrics: Path, name: str) -> Interval | None:
    """With the interval that evaluate gives it, if it gives one; None where it could not be measured."""
    values = json.loads(metrics.read_text(encoding="utf-8"))
    if name not in values:
        return None
    return Interval(values[name], values.get(f"{name}_low", values[name]), values.get(f"{name}_high", values[name]))
