"""What a search may try: for some keys of params.yaml, a range of numbers or a list of values.

A range is a text, "0.0005..0.01", "1..8" for whole numbers, or "0.0005..0.01:log" where every power of ten gets the same attention.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import optuna
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.dvc.lock_file import MISSING, find

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
LARGEST = 1e15  # whole numbers are exact up to there
DIGITS = 4  # of a float that is tried, or of the range's width if that is less: more would say nothing, and be hard to read
EXAMPLE = "--range lr=0.0005..0.01:log, --choice optimizer.weight_decay=0,0.01,0.05"


class SearchError(Exception):
    """Something about a search that cannot be. The message is one sentence."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; where both are of type int, whole ones."""

    low: float
    high: float
    is_log: bool

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{':log' if self.is_log else ''}"

    def draw(self, trial: optuna.Trial, key: str) -> Any:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.is_log)
        value = trial.suggest_float(key, self.low, self.high, log=self.is_log)
        decimals = max(DIGITS - 1 - math.floor(math.log10(abs(number))) for number in (value, self.high - self.low) if number)
        return min(max(round(value, decimals), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of some values, each as JSON: lists and sections are values too, and 1, 1.0 and true are not the same."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.values)

    def draw(self, trial: optuna.Trial, key: str) -> Any:
        return json.loads(trial.suggest_categorical(key, self.values))


Space = dict[str, Range | Choice]


def as_space(given: dict[str, str | list[Any]], model: str, params: Any) -> Space:
    """The search that is asked for, by full keys. `given` may leave out "models.MODEL.train."; a text is a range, a list a choice."""
    space: Space = {}
    for key, what in given.items():
        name = full_key(key, model, params)
        if name in space:
            raise SearchError(f"{name} is given twice: give one range or one choice.")
        if within := [other for other in space if other.startswith(f"{name}.") or name.startswith(f"{other}.")]:
            raise SearchError(f"of {name} and {within[0]} one is within the other: give one of them.")
        space[name] = as_choice(key, what) if isinstance(what, list) else as_range(key, what, find(params, name))
    if not space:
        raise SearchError(f"nothing to search over: give keys of models.{model}.train in params.yaml, for example {EXAMPLE}.")
    return space


def full_key(key: str, model: str, params: Any) -> str:
    for name in (f"models.{model}.train.{key}", key):
        if find(params, name) is not MISSING:
            return name
    raise SearchError(f"params.yaml has no {key}, neither by itself nor in models.{model}.train, where there are {keys_in(params, model)}.")


def keys_in(params: Any, model: str) -> str:
    return ", ".join(find(params, f"models.{model}.train"))


def as_range(key: str, text: str, present: Any) -> Range:
    """The range of a key that has the value `present` now: of whole numbers where that is one."""
    matched = re.fullmatch(rf"\s*({NUMBER})\.\.({NUMBER})(:log)?\s*", text)
    if matched is None:
        raise SearchError(f"the range of {key} is {text!r}; expected for example 0.0005..0.01, 1..8 or 0.0005..0.01:log.")
    if isinstance(present, bool) or not isinstance(present, int | float | None):
        raise SearchError(f"{key} is no number, but {json.dumps(present, default=str)}: list its values instead (--choice {key}=...).")
    bounds = [as_number(bound, is_float=isinstance(present, float)) for bound in matched.groups()[:2]]
    if isinstance(present, int) and any(isinstance(bound, float) for bound in bounds):
        raise SearchError(f"{key} is a whole number, and the range {text} is not: give whole bounds, for example 1..8.")
    if any(isinstance(bound, float) for bound in bounds):
        bounds = [float(bound) for bound in bounds]
    low, high = bounds
    if not max(abs(low), abs(high)) <= LARGEST:
        raise SearchError(f"the range of {key} is {text}; expected bounds of {LARGEST:g} at most.")
    if not low < high:
        raise SearchError(f"the range of {key} is {text}; expected the smaller bound first.")
    if matched[3] and low <= 0:
        raise SearchError(f"the range of {key} is {text}; with :log its bounds must be larger than 0.")
    return Range(low, high, bool(matched[3]))


def as_number(text: str, *, is_float: bool) -> float:
    return float(text) if is_float or not text.lstrip("+-").isdecimal() else int(text)


def as_choice(key: str, values: list[Any]) -> Choice:
    if not values:
        raise SearchError(f"the choice of {key} is empty: give its values, for example --choice {key}=0,0.01,0.05.")
    try:
        return Choice(tuple(dict.fromkeys(json.dumps(value, allow_nan=False) for value in values)))
    except (TypeError, ValueError) as error:
        raise SearchError(
            f"the choice of {key} has a value that JSON cannot hold ({error}): give numbers, texts, lists or null."
        ) from error


def as_given(ranges: Iterable[str], choices: Iterable[str]) -> dict[str, str | list[Any]]:
    """What --range KEY=LOW..HIGH and --choice KEY=VALUE,VALUE say. Values are YAML, as in params.yaml: [8, 8] is one value."""
    given: dict[str, str | list[Any]] = {}
    for option, argument in [*(("--range", text) for text in ranges), *(("--choice", text) for text in choices)]:
        key, equals, text = argument.partition("=")
        if not equals or not key:
            raise SearchError(f"{option} {argument} has no KEY=; expected for example {EXAMPLE}.")
        if key in given:
            raise SearchError(f"{key} is given twice: give one range or one choice.")
        given[key] = text if option == "--range" else as_list(key, text)
    return given


def as_list(key: str, text: str) -> list[Any]:
    try:
        values = YAML(typ="safe").load(f"[{text}]")
    except YAMLError as error:
        raise SearchError(f"the choice of {key} is {text!r}; expected values with commas between, for example 0,0.01,0.05.") from error
    return list(values)


def draw(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """The values of a trial. What it has been given before, in a run that died, it is given again."""
    return {key: part.draw(trial, key) for key, part in space.items()}
