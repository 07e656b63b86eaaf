"""pipelines/searching/space.py: what may be searched over, and every sentence that refuses what may not."""

import math
import re

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from pipelines.searching.space import SearchError, as_choice, as_given, as_range, as_space, overrides, recipe_of, value_of

RECIPES = {
    "plain": {"lr": 0.3, "epochs": 5, "ema": 0.9, "best_by": "loss", "optimizer": {"name": "SGD", "momentum": 0.9}, "on": True},
    "other": {"lr": 0.3, "clip_norm": 1.0},
}
TOY = {"train": {"recipe": "plain", "lr": 0.1}, "architecture": {"hidden": [6, 4]}}
PARAMS = {"runtime": {"seed": 0}, "recipes": RECIPES, "models": {"toy": TOY}}


def test_values_are_written_beside_the_recipes_name_and_sections_whole():
    assert recipe_of(PARAMS, "toy") == RECIPES["plain"] | {"lr": 0.1, "clip_norm": None}
    values = {"models.toy.train.optimizer.momentum": 0.5, "models.toy.train.lr": 0.2, "runtime.seed": 3}
    optimizer = {"name": "SGD", "momentum": 0.5}
    assert overrides(values, "toy", PARAMS) == {"models.toy.train.optimizer": optimizer, "models.toy.train.lr": 0.2, "runtime.seed": 3}
    assert RECIPES["plain"]["optimizer"] == {"name": "SGD", "momentum": 0.9}


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("lr", "0.001..0.1", FloatDistribution(0.001, 0.1)),
        ("lr", "1e-4..1:log", FloatDistribution(1e-4, 1.0, log=True)),
        ("lr", "-.5..2.", FloatDistribution(-0.5, 2.0)),
        ("lr", "1..8", FloatDistribution(1.0, 8.0)),
        ("epochs", "1..8:log", IntDistribution(1, 8, log=True)),
        ("clip_norm", "1..8", IntDistribution(1, 8)),
        ("clip_norm", "1..8.5", FloatDistribution(1.0, 8.5)),
    ],
)
def test_a_range_is_a_text_and_of_whole_numbers_where_the_present_one_is(key, text, expected):
    assert as_space({key: text}, "toy", PARAMS) == {f"models.toy.train.{key}": expected}


def test_a_key_may_be_whole_or_one_of_the_recipe():
    given = {
        "lr": "0.1..1",
        "optimizer.momentum": [0],
        "models.toy.train.ema": [1],
        "models.toy.architecture.hidden": [[6]],
        "runtime.seed": "0..9",
    }
    recipe = [f"models.toy.train.{key}" for key in ("lr", "optimizer.momentum", "ema")]
    assert list(as_space(given, "toy", PARAMS)) == [*recipe, "models.toy.architecture.hidden", "runtime.seed"]


def test_the_values_of_a_choice_keep_their_type():
    values = [0, 0.0, False, None, "a", [6, 4], {"name": "SGD"}]
    choice = as_choice("optimizer", values)
    assert [repr(value_of(choice, drawn)) for drawn in choice.choices] == [repr(value) for value in values]


def test_what_is_drawn_lies_in_the_range_and_has_few_digits():
    narrow, wide = as_range("lr", "0.00123456..0.00123457", 0.1), as_range("ema", "0.0001..0.9:log", 0.9)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask({"narrow": narrow, "wide": wide}).params for _ in range(50)]
    near = [value_of(narrow, drawn["narrow"]) for drawn in trials]
    assert all(0.00123456 <= value <= 0.00123457 for value in near)
    assert len(set(near)) > 40, "so few digits that a narrow range has hardly any values"
    assert all(len(f"{value_of(wide, drawn['wide']):e}".partition("e")[0].rstrip("0")) <= 5 for drawn in trials)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "nothing to search over: give keys of the recipe of toy, for example --range lr="),
        ({"lrr": "1..2"}, "params.yaml has no lrr, neither by itself nor in the recipe of toy, where there are lr, epochs, "),
        ({"lr": "0.1-0.2"}, "the range of lr is '0.1-0.2'; expected for example 0.0005..0.01"),
        ({"lr": "0.2..0.1"}, "the range of lr is 0.2..0.1: "),
        ({"lr": "0..0.2:log"}, "the range of lr is 0..0.2:log: "),
        ({"epochs": "1..2.5"}, "epochs is a whole number, and the range 1..2.5 is not"),
        ({"best_by": "1..2"}, 'best_by is not a number, but "loss": list its values instead (--choice best_by=...)'),
        ({"lr": []}, "the choice of lr cannot be searched ("),
        ({"lr": [math.nan]}, "the choice of lr cannot be searched ("),
        ({"lr": "1..2", "models.toy.train.lr": "1..3"}, "of models.toy.train.lr and models.toy.train.lr one is within the other"),
        ({"optimizer": [{}], "optimizer.momentum": [0]}, "of models.toy.train.optimizer.momentum and models.toy.train.optimizer one is"),
    ],
)
def test_what_cannot_be_searched_over_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(SearchError, match=re.escape(sentence)):
        as_space(given, "toy", PARAMS)


def test_the_command_lines_values_are_yaml():
    given = as_given(["lr=0.1..1:log"], ["hidden=[6, 4],[8]", "clip_norm=null,1.0", "name=a,b"])
    assert given == {"lr": "0.1..1:log", "hidden": [[6, 4], [8]], "clip_norm": [None, 1.0], "name": ["a", "b"]}
    for ranges, choices, sentence in (
        (["lr"], [], "--range lr: expected KEY=, and each key once; for example --range lr="),
        (["lr=1..2"], ["lr=1,2"], "--choice lr=1,2: expected KEY=, and each key once"),
        ([], ["lr=[1,2"], "the choice of lr is '[1,2'; expected values with commas between"),
    ):
        with pytest.raises(SearchError, match=re.escape(sentence)):
            as_given(ranges, choices)
