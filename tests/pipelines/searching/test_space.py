"""pipelines/searching/space.py: what may be searched over, and every sentence that refuses what may not."""

import math

import optuna
import pytest

from pipelines.searching.space import Choice, Range, SearchError, as_given, as_space, draw

TRAIN = {
    "lr": 0.1,
    "epochs": 5,
    "clip_norm": None,
    "ema": 0.9,
    "best_by": "loss",
    "optimizer": {"name": "SGD", "momentum": 0.9},
    "on": True,
}
PARAMS = {"runtime": {"seed": 0}, "models": {"toy": {"train": TRAIN, "architecture": {"hidden": [6, 4]}}}}


def space_of(**given):
    return as_space({key.replace("__", "."): what for key, what in given.items()}, "toy", PARAMS)


def one_of(**given):
    ((key, part),) = space_of(**given).items()
    return key, part


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.001..0.1", Range(0.001, 0.1, False)),
        ("0.001..0.1:log", Range(0.001, 0.1, True)),
        ("1e-4..1", Range(1e-4, 1.0, True)),
        ("-1..1", Range(-1.0, 1.0, False)),
        (".5..2.", Range(0.5, 2.0, False)),
    ],
)
def test_a_range_is_a_text(text, expected):
    assert one_of(lr=text + (":log" if expected.is_log and "log" not in text else "")) == ("models.toy.train.lr", expected)


def test_a_whole_number_gets_whole_numbers_and_another_gets_others():
    _, epochs = one_of(epochs="1..8")
    assert isinstance(epochs.low, int) and isinstance(epochs.high, int)
    _, lr = one_of(lr="1..8")
    assert isinstance(lr.low, float) and isinstance(lr.high, float)


def test_the_range_of_a_key_without_a_value_is_of_the_numbers_that_are_given():
    assert one_of(clip_norm="1..8")[1] == Range(1, 8, False)
    assert isinstance(one_of(clip_norm="1..8.5")[1].low, float)


def test_a_key_may_be_whole_or_the_models_own():
    keys = space_of(lr="0.1..1", optimizer__momentum=[0, 0.9], models__toy__architecture__hidden=[[6], [4, 4]], runtime__seed="0..9")
    assert list(keys) == ["models.toy.train.lr", "models.toy.train.optimizer.momentum", "models.toy.architecture.hidden", "runtime.seed"]


def test_the_values_of_a_choice_keep_their_type():
    values = [0, 0.0, False, None, "a", [6, 4], {"name": "SGD"}]
    _, choice = one_of(optimizer=values)
    drawn = {repr(draw({"key": Choice((value,))}, trial())["key"]) for value in choice.values}
    assert drawn == {repr(value) for value in values}


def trial():
    return optuna.create_study().ask()


def test_what_is_drawn_lies_in_the_range_and_has_few_digits():
    space = space_of(lr="0.00123456..0.00123457", ema="0.0001..0.9:log", epochs="3..5")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [draw(space, study.ask()) for _ in range(50)]
    assert all(0.00123456 <= values["models.toy.train.lr"] <= 0.00123457 for values in seen)
    assert len({values["models.toy.train.lr"] for values in seen}) > 40, "so few digits that a narrow range has hardly any values"
    assert {values["models.toy.train.epochs"] for values in seen} == {3, 4, 5}
    assert all(len(f"{values['models.toy.train.ema']:e}".partition("e")[0].rstrip("0")) <= 5 for values in seen)
    below = sum(math.log10(values["models.toy.train.ema"]) < -2 for values in seen)
    assert 10 < below < 40, "a logarithmic range gives every power of ten its share"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, r"nothing to search over: give keys of models\.toy\.train in params\.yaml, for example --range lr="),
        ({"lrr": "1..2"}, r"params\.yaml has no lrr, neither by itself nor in models\.toy\.train, where there are lr, epochs, "),
        ({"lr": "0.1-0.2"}, r"the range of lr is '0\.1-0\.2'; expected for example 0\.0005\.\.0\.01"),
        ({"lr": "0.1..0.2:exp"}, r"the range of lr is '0\.1\.\.0\.2:exp'; expected"),
        ({"lr": "0.2..0.1"}, r"the range of lr is 0\.2\.\.0\.1; expected the smaller bound first"),
        ({"lr": "0.2..0.2"}, r"expected the smaller bound first"),
        ({"lr": "0.1..1e999"}, r"the range of lr is 0\.1\.\.1e999; expected bounds of 1e\+15 at most"),
        ({"lr": "0..0.2:log"}, r"the range of lr is 0\.\.0\.2:log; with :log its bounds must be larger than 0"),
        ({"epochs": "1..2.5"}, r"epochs is a whole number, and the range 1\.\.2\.5 is not"),
        ({"best_by": "1..2"}, r'best_by is no number, but "loss": list its values instead \(--choice best_by=\.\.\.\)'),
        ({"on": "0..1"}, r"on is no number, but true"),
        ({"optimizer": "0..1"}, r"optimizer is no number"),
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
