"""The README's figures are those of the results files, and cover every model."""

from benchmarks import accuracy, tables
from tests import toy


def test_the_readme_holds_the_tables_as_the_script_writes_them():
    text = tables.README.read_text(encoding="utf-8")
    assert text == tables.with_tables(text), "run python -m benchmarks.tables"


def test_every_model_of_params_has_a_row_measured_or_not():
    table = tables.accuracy_table(tables.read_results("accuracy"), toy.MODELS)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2 : 2 + len(toy.MODELS)]] == toy.MODELS
    assert "| new_model | | not measured yet | | |" in tables.accuracy_table(tables.read_results("accuracy"), ["new_model", *toy.MODELS])


def test_every_model_of_params_has_a_figure_to_reach():
    assert set(accuracy.TO_REACH) == set(toy.MODELS)


def test_a_figure_that_is_not_reached_is_shown_as_such():
    figure = {"name": "accuracy", "value": 0.9, "least": 0.95, "most": None, "reached": False}
    entry = {"dataset": "mnist", "figures": [figure], "seconds": 60, "hardware": "a processor", "date": "2026-01-01"}
    assert "| some_model | mnist | accuracy 0.9000 | ≥ 0.95 | **no** |" in tables.accuracy_table({"some_model": entry}, ["some_model"])
