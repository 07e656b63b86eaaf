"""The figures in docs/ are those of the results files, cover every model, and say which recipe they are of."""

import pytest

from benchmarks import accuracy, tables
from tests import toy

COMMITTED = {model: accuracy.recipe(toy.PARAMS, model) for model in toy.MODELS}
RECIPE = {"architecture": {"name": "linear"}, "train": {"lr": 0.1}}
MEASURED = {
    "dataset": "mnist",
    "figures": [{"name": "accuracy", "value": 0.9, "least": 0.95, "most": None, "reached": False}],
    "hardware": "a processor",
    "date": "2026-01-01",
    "recipe": RECIPE,
}


def test_the_pages_hold_the_tables_as_the_script_writes_them():
    made, places = tables.every_table(), []
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == tables.with_tables(text, made), "run python -m benchmarks.tables"
        places += [place[1] for place in tables.PLACE.finditer(text)]
    assert set(places) == set(made)


def test_every_model_of_params_has_a_row_measured_or_not():
    assert set(accuracy.TO_REACH) <= set(COMMITTED)
    table = tables.accuracy_table(tables.read_results("accuracy"), {}, COMMITTED)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2 : 2 + len(COMMITTED)]] == list(COMMITTED)
    with_a_new_one = tables.accuracy_table(tables.read_results("accuracy"), {}, {"new_model": RECIPE, **COMMITTED})
    assert "| new_model | | not measured yet | | | |" in with_a_new_one


@pytest.mark.parametrize(
    ("times", "plain_reached_it", "shown"),
    [
        ([5.0, 3.0, 9.0], True, "5.0 (3.0 to 9.0, 3 seeds)"),
        ([5.0, 3.0, 9.0], False, "more than 5.0 (3.0 to 9.0, 3 seeds)"),
        ([5.0, 3.0], True, "not reached with 1 of 3 seeds"),
        ([5.04], True, "5.0 (once)"),
    ],
)
def test_a_race_shows_its_median_and_spread_and_who_did_not_arrive(times, plain_reached_it, shown):
    race = {
        "runs": {"engine": [{}] * (3 if len(times) > 1 else 1)},
        "times_shorter": {"engine": times},
        "plain_reached_it": plain_reached_it,
    }
    assert tables.ratio(race, "engine") == shown


def test_the_seconds_of_a_training_are_shown_with_its_threads():
    timed = MEASURED | {"train_s": [40.0, 44.0, 41.0], "threads": 2, "hardware": "A processor, 2 cores, torch 2"}
    table = tables.accuracy_table({"some_model": timed}, {}, {"some_model": RECIPE})
    assert table.splitlines()[2].endswith("| **no** | 41 s, 2 threads |")


def test_a_gpu_s_figure_stands_where_the_cpu_has_none_of_the_recipe():
    on_gpu = MEASURED | {"recipe": {"train": {"lr": 0.2}, "architecture": MEASURED["recipe"]["architecture"]}}
    on_gpu |= {"train_s": [22.0], "threads": 1, "hardware": "A GPU, torch 2"}
    committed = RECIPE | {"train": {"lr": 0.2}}
    for on_cpu in ({}, {"some_model": MEASURED}):
        row, *_ = tables.accuracy_table(on_cpu, {"some_model": on_gpu}, {"some_model": committed}).splitlines()[2:]
        assert row.endswith("| **no** | 22 s, A GPU |")
    assert "A GPU" not in tables.accuracy_table({"some_model": MEASURED}, {"some_model": on_gpu}, {"some_model": RECIPE})


def test_a_figure_of_another_recipe_is_marked():
    table = tables.accuracy_table({"some_model": MEASURED}, {}, {"some_model": RECIPE | {"train": {"lr": 0.2}}})
    assert "| ≥ 0.95 | **no** (with an earlier recipe) |" in table


def test_a_figure_from_before_a_means_that_the_recipe_does_not_use_is_not_marked():
    later = RECIPE | {"train": RECIPE["train"] | {"late_dropout": None, "augment": []}}
    assert "earlier" not in tables.accuracy_table({"some_model": MEASURED}, {}, {"some_model": later})
    later = RECIPE | {"train": RECIPE["train"] | {"late_dropout": 0.1}}
    assert "earlier" in tables.accuracy_table({"some_model": MEASURED}, {}, {"some_model": later})


def test_what_smaller_forms_lose_is_of_the_seed_measured_last():
    seeds = {seed: {"dataset": "official", "smaller": {"int8": f"Offered: it loses {seed}."}} for seed in ("0", "1")}
    table = tables.smaller_table({"some_model": MEASURED | {"measured": seeds}, "another": MEASURED})
    assert table.splitlines()[2:4] == ["| some_model | int8 | official | Offered: it loses 1. |", ""]


def test_a_table_of_one_s_own_is_shown_with_what_else_was_measured():
    entry = {
        "rows": 1000,
        "inputs": 7,
        "written": {"entries": 11, "schema": 13},
        "seconds": 41.6,
        "metrics": {"log_loss": 0.2094, "log_loss_low": 0.19, "log_loss_high": 0.2281, "baseline_linear_log_loss": 0.25, "accuracy": 0.9},
        "lightgbm": {"log_loss": 0.231},
        "onnx_kb": 812,
        "row_us": 61.3,
        "predict": None,
    }
    in_dollars = entry | {"metrics": {"rmse": 47413.4, "rmse_low": 46000.0, "rmse_high": 49000.0}, "lightgbm": None, "predict": {"rows": 9}}
    first, second, _, told = tables.own_data_table({"models": {"bank": entry, "houses": in_dollars}}).splitlines()[2:]
    assert first == "| bank | 1,000, 7 | 11 | 42 | log-loss | 0.209 (0.190 to 0.228) | 0.231 | - | 0.250 | 812 kB | 61 µs |"
    assert "| rmse | 47,413 (46,000 to 49,000) | - | - | - |" in second
    assert "(median: 13 lines)" in told and told.endswith("for 1 of 2.")
