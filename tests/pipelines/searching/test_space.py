"""pipelines/searching/space.py: what may be searched over, and every sentence that refuses what may not."""

import math

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


def test_a_recipe_is_the_one_that_is_named_with_what_the_model_has_otherwise():
    assert recipe_of(PARAMS, "toy") == RECIPES["plain"] | {"lr": 0.1, "clip_norm": None}
    assert recipe_of({"models": {"toy": {"train": {"lr": 1}}}}, "toy") == {"lr": 1}


def test_values_are_written_beside_the_recipes_name_and_sections_whole():
    values = {"models.toy.train.optimizer.momentum": 0.5, "models.toy.train.lr": 0.2, "runtime.seed": 3}
    optimizer = {"name": "SGD", "momentum": 0.5}
    assert overrides(values, "toy", PARAMS) == {"models.toy.train.optimizer": optimizer, "models.toy.train.lr": 0.2, "runtime.seed": 3}
    assert RECIPES["plain"]["optimizer"] == {"name": "SGD", "momentum": 0.9}


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("lr", "0.001..0.1", FloatDistribution(0.001, 0.1)),
        ("lr", "1e-4..1:log", FloatDistribution(1e-4, 1.0, log=True)),
        ("lr", "-1..1", FloatDistribution(-1.0, 1.0)),
        ("lr", ".5..2.", FloatDistribution(0.5, 2.0)),
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
        ({}, r"nothing to search over: give keys of the recipe of toy, for example --range lr="),
        ({"lrr": "1..2"}, r"params\.yaml has no lrr, neither by itself nor in the recipe of toy, where there are lr, epochs, "),
        ({"lr": "0.1-0.2"}, r"the range of lr is '0\.1-0\.2'; expected for example 0\.0005\.\.0\.01"),
        ({"lr": "0.1..0.2:exp"}, r"the range of lr is '0\.1\.\.0\.2:exp'; expected"),
        ({"lr": "0.2..0.1"}, r"the range of lr is 0\.2\.\.0\.1; expected the smaller bound first"),
        ({"lr": "0.2..0.2"}, r"expected the smaller bound first"),
        ({"lr": "0.1..1e999"}, r"the range of lr is 0\.1\.\.1e999; expected bounds of 1e\+15 at most"),
        ({"lr": "0..0.2:log"}, r"the range of lr is 0\.\.0\.2:log; with :log its bounds must be larger than 0"),
        ({"epochs": "1..2.5"}, r"epochs is a whole number, and the range 1\.\.2\.5 is not"),
        ({"best_by": "1..2"}, r'best_by is not a number, but "loss": list its values instead \(--choice best_by=\.\.\.\)'),
        ({"on": "0..1"}, r"on is not a number, but true"),
        ({"optimizer": "0..1"}, r"optimizer is not a number"),
        ({"lr": []}, r"the choice of lr is empty: give its values, for example --choice lr="),
        ({"lr": [math.nan]}, r"the choice of lr has a value that JSON cannot hold"),
        ({"lr": "1..2", "models.toy.train.lr": "1..3"}, r"models\.toy\.train\.lr is given twice"),
        (
            {"optimizer": [{}], "optimizer.momentum": [0]},
            r"of models\.toy\.train\.optimizer\.momentum and models\.toy\.train\.optimizer one is within the other",
        ),
    ],
)
def test_what_cannot_be_searched_over_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(SearchError, match=sentence):
        as_space(given, "toy", PARAMS)


def test_the_command_lines_values_are_yaml():
    given = as_given(["lr=0.1..1:log"], ["hidden=[6, 4],[8]", "clip_norm=null,1.0", "name=a,b"])
    assert given == {"lr": "0.1..1:log", "hidden": [[6, 4], [8]], "clip_norm": [None, 1.0], "name": ["a", "b"]}
    assert as_given([], ["lr="]) == {"lr": []}


@pytest.mark.parametrize(
    ("ranges", "choices", "sentence"),
    [
        (["lr"], [], r"--range lr has no KEY=; expected for example --range lr="),
        ([], ["=1,2"], r"--choice =1,2 has no KEY="),
        (["lr=1..2"], ["lr=1,2"], r"lr is given twice: give one range or one choice"),
        ([], ["lr=[1,2"], r"the choice of lr is '\[1,2'; expected values with commas between"),
    ],
)
def test_a_mistake_on_the_command_line_is_refused_in_a_sentence(ranges, choices, sentence):
    with pytest.raises(SearchError, match=sentence):
        as_given(ranges, choices)
