"""What a search may try: for some keys of params.yaml, a range of numbers or a list of values, as Optuna's distributions.

A range is a text, "0.0005..0.01", "1..8" for whole numbers, or "0.0005..0.01:log" where every power of ten gets the same attention. The
values of a list are kept as JSON: lists and sections are values too, and 1, 1.0 and true are not the same.
"""

import copy
import json
import math
import re
from collections.abc import Iterable
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.dvc.lock_file import MISSING, find

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
DIGITS = 4  # of a float that is tried, or of the range's width if that is less: more would say nothing, and be hard to read
EXAMPLE = "--range lr=0.0005..0.01:log, --choice optimizer.weight_decay=0,0.01,0.05"

Part = FloatDistribution | IntDistribution | CategoricalDistribution
Space = dict[str, Part]  # by full keys


class SearchError(Exception):
    """Something about a search that cannot be. The message is one sentence."""


def recipe_of(params: Any, model: str) -> dict[str, Any]:
    """The complete recipe that a model is trained with: the one that its `train` names, and what `train` has otherwise.

    Keys that other recipes have, and this one has not, are null in it.
    """
    train, recipes = params["models"][model]["train"], params["recipes"]
    known = dict.fromkeys(key for recipe in recipes.values() for key in recipe)
    return known | recipes[train["recipe"]] | {key: value for key, value in train.items() if key != "recipe"}


def overrides(values: dict[str, Any], model: str, params: Any) -> dict[str, Any]:
    """What params.yaml gets for these values: `train` replaces the sections of a recipe (the optimizer) whole."""
    prefix, recipe, written = f"models.{model}.train.", copy.deepcopy(recipe_of(params, model)), dict[str, Any]()
    for key, value in values.items():
        if not key.startswith(prefix):
            written[key] = value
            continue
        *sections, last = key.removeprefix(prefix).split(".")
        (find(recipe, ".".join(sections)) if sections else recipe)[last] = value
        top = [*sections, last][0]
        written[prefix + top] = recipe[top]
    return written


def key_and_value(key: str, model: str, params: Any) -> tuple[str, Any]:
    """A key's full name and what it is now. `key` is one of the model's recipe, or a whole one."""
    recipe, prefix = recipe_of(params, model), f"models.{model}.train."
    short = key.removeprefix(prefix)
    if (value := find(recipe, short)) is not MISSING:
        return f"{prefix}{short}", value
    if (value := find(params, key)) is MISSING:
        raise SearchError(f"params.yaml has no {key}, neither by itself nor in the recipe of {model}, where there are {', '.join(recipe)}.")
    return key, value


def as_space(given: dict[str, str | list[Any]], model: str, params: Any) -> Space:
    """The search that is asked for: of each key a range, as text, or a list of values."""
    space: Space = {}
    for key, what in given.items():
        name, value = key_and_value(key, model, params)
        if within := [other for other in space if f"{other}.".startswith(f"{name}.") or name.startswith(f"{other}.")]:
            raise SearchError(f"of {name} and {within[0]} one is within the other: give one of them, once.")
        space[name] = as_choice(key, what) if isinstance(what, list) else as_range(key, what, value)
    if not space:
        raise SearchError(f"nothing to search over: give keys of the recipe of {model}, for example {EXAMPLE}.")
    return space


def as_range(key: str, text: str, present: Any) -> Part:
    """The range of a key that has the value `present` now: of whole numbers where that is one, or where there is none and both ends are."""
    matched = re.fullmatch(rf"\s*({NUMBER})\.\.({NUMBER})(:log)?\s*", text)
    if matched is None:
        raise SearchError(f"the range of {key} is {text!r}; expected for example 0.0005..0.01, 1..8 or 0.0005..0.01:log.")
    if isinstance(present, bool) or not isinstance(present, int | float | None):
        raise SearchError(f"{key} is not a number, but {json.dumps(present, default=str)}: list its values instead (--choice {key}=...).")
    ends, is_log = matched.groups()[:2], matched[3] is not None
    are_whole = all(end.lstrip("+-").isdecimal() for end in ends)
    if isinstance(present, int) and not are_whole:
        raise SearchError(f"{key} is a whole number, and the range {text} is not: give whole bounds, for example 1..8.")
    try:
        if are_whole and not isinstance(present, float):
            return IntDistribution(int(ends[0]), int(ends[1]), log=is_log)
        return FloatDistribution(float(ends[0]), float(ends[1]), log=is_log)
    except ValueError as error:  # the larger bound first; with :log, bounds that are not larger than 0
        raise SearchError(f"the range of {key} is {text}: {str(error).rstrip('.')}.") from error


def as_choice(key: str, values: list[Any]) -> Part:
    try:
        return CategoricalDistribution(tuple(dict.fromkeys(json.dumps(value, allow_nan=False) for value in values)))
    except (TypeError, ValueError) as error:  # it is empty, or has a value that JSON has not
        raise SearchError(f"the choice of {key} cannot be searched ({error}): give numbers, texts, lists or null.") from error


def as_given(ranges: Iterable[str], choices: Iterable[str]) -> dict[str, str | list[Any]]:
    """What --range KEY=LOW..HIGH and --choice KEY=VALUE,VALUE say. Values are YAML, as in params.yaml: [8, 8] is one value."""
    given: dict[str, str | list[Any]] = {}
    for option, argument in [*(("--range", text) for text in ranges), *(("--choice", text) for text in choices)]:
        key, equals, text = argument.partition("=")
        if not equals or key in given:
            raise SearchError(f"{option} {argument}: expected KEY=, and each key once; for example {EXAMPLE}.")
        try:
            given[key] = text if option == "--range" else list(YAML(typ="safe").load(f"[{text}]"))
        except YAMLError as error:
            raise SearchError(f"the choice of {key} is {text!r}; expected values with commas between, for example 0,0.01,0.05.") from error
    return given


def as_text(part: Part) -> str:
    if isinstance(part, CategoricalDistribution):
        return ",".join(map(str, part.choices))
    return f"{part.low}..{part.high}{':log' if part.log else ''}"


def value_of(part: Part, drawn: Any) -> Any:
    """What params.yaml gets for what Optuna has drawn: a float of few digits, a whole number, or a value of a list."""
    if isinstance(part, CategoricalDistribution):
        return json.loads(drawn)
    if isinstance(part, IntDistribution):
        return drawn
    digits = [DIGITS - 1 - math.floor(math.log10(abs(number))) for number in (drawn, part.high - part.low) if number]
    return min(max(round(drawn, max(digits, default=0)), part.low), part.high)
