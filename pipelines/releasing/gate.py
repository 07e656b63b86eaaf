"""Whether a model may be released: the bound that it must reach, the paired bootstrap against the last version, and how that is told.

A row of predictions.csv is a test item (of sequences a character, of several regressed numbers one of them), and has the score that its
task gives it. Both models' scores of the same rows are drawn together, again and again, whatever metric the bound is of. Which way a metric
and the score are better is in data/checked/datasets/<dataset>.json, which the stage check writes.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from prefect.states import Completed, Failed, State

from pipelines.dvc.checked import facts_of
from pipelines.serving.markdown import as_markdown

BESIDE = "macro_f1"  # what an accuracy alone does not tell: rare classes count in it as much as others


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

    def check(self, value: float) -> None:
        """Raises HeldBack where the metric does not reach the bound."""
        if self.bound is None:
            raise HeldBack(f"params.yaml gives no bound: {self.key} is null")
        if not (value <= self.bound if self.is_error else value >= self.bound):
            side = "at most" if self.is_error else "at least"
            raise HeldBack(f"{self.metric} is {value:.4g}; expected {side} {self.bound:g} (params.yaml: {self.key})")

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


def beside(metrics: Path, metric: str) -> str:
    """BESIDE with its interval, where it was measured and the gate's `metric` is another."""
    own = read_metric(metrics, BESIDE) if metric != BESIDE else None
    return f"{BESIDE} {own}" if own else ""


def read_metric(metrics: Path, name: str) -> Interval | None:
    """With the interval that evaluate gives it, if it gives one; None where it could not be measured."""
    values = json.loads(metrics.read_text(encoding="utf-8"))
    if name not in values:
        return None
    return Interval(values[name], values.get(f"{name}_low", values[name]), values.get(f"{name}_high", values[name]))


# What becomes of each model: in the tag, in Prefect's table, and as the flow's last state


class Outcome(StrEnum):
    RELEASED = "released as"
    ALREADY = "already released as"
    HELD_BACK = "held back"


@dataclass
class Verdict:
    """What becomes of a model, and the figures that say so; `why` is a part of a sentence where it is held back."""

    outcome: Outcome = Outcome.HELD_BACK
    version: str = ""
    why: str = ""
    metric: str = ""
    now: Interval | None = None
    beside: str = ""  # another figure of the model, for people
    last: str = ""
    before: Interval | None = None
    difference: Interval | None = None
    passed_gate: bool = True  # of a version that is already released

    @property
    def text(self) -> str:
        if self.outcome is Outcome.HELD_BACK:
            return f"held back: {self.why}"
        return f"{self.outcome} {self.version}{'' if self.passed_gate else ', which was tagged by hand and has not passed the gate'}"

    @property
    def figures(self) -> list[str]:
        """The metric now, that of the last version, and the difference, as far as they are known."""
        now = f"{self.metric} {self.now}" if self.now else ""
        return [now, f"{self.last}: {self.before}" if self.before else self.last, self.difference.signed if self.difference else ""]

    def as_message(self, model: str) -> str:
        """Of the tag; passed_gate() of versions.py knows it by its form."""
        now, before, difference = self.figures
        compared = f"; {before} on the same test split, difference {difference}" if difference else ""
        return f"{model} {self.version}\n\n{now}{compared}"


def as_table(verdicts: dict[str, Verdict]) -> str:
    """Markdown: a line for each model."""
    rows = []
    for model, verdict in verdicts.items():
        now, *others = verdict.figures
        rows.append(f"| {' | '.join([model, as_markdown(verdict.text), '; '.join(filter(None, [now, verdict.beside])), *others])} |")
    return "\n".join(["| model | outcome | metric | last version | difference |", "|---|---|---|---|---|", *rows])


def not_pushed(tags: dict[str, str]) -> str:
    """A part of a sentence about tags that were not pushed, and why."""
    return "not pushed: " + ", ".join(f"{tag} ({why})" for tag, why in tags.items())


def as_state(verdicts: dict[str, Verdict], kept: dict[str, str]) -> State[None]:
    """Failed where a model was held back, or a tag was not pushed (`kept`)."""
    held = [f"{model} ({verdict.why})" for model, verdict in verdicts.items() if verdict.outcome is Outcome.HELD_BACK]
    new = [f"{model} {verdict.version}" for model, verdict in verdicts.items() if verdict.outcome is Outcome.RELEASED]
    by_hand = [f"{model} {verdict.version}" for model, verdict in verdicts.items() if not verdict.passed_gate]
    parts = [f"{len(held)} of {len(verdicts)} models were held back: {', '.join(held)}"] if held else []
    parts.append(f"released: {', '.join(new) or 'nothing new'}")
    parts += [] if held else [f"{len(verdicts) - len(new)} of {len(verdicts)} models are already released"]
    parts += [f"tagged by hand, without having passed the gate: {', '.join(by_hand)}"] if by_hand else []
    parts += [not_pushed(kept)] if kept else []
    return (Failed if held or kept else Completed)(message=f"{'; '.join(parts)}.")
