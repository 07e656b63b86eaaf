"""The README's figures are those of the results files, and cover every model."""

import json

from benchmarks import tables
from tests import toy


def test_the_readme_holds_the_tables_as_the_script_writes_them():
    text = tables.README.read_text(encoding="utf-8")
    assert text == tables.with_tables(text), "run python -m benchmarks.tables"


def test_every_model_of_params_has_a_measured_figure_beside_the_one_to_reach():
    results = json.loads((tables.RESULTS / "accuracy.json").read_text())
    assert set(results) == set(toy.MODELS)
    for name, entry in results.items():
        assert all(isinstance(figure["reached"], bool) for figure in entry["figures"]), name


def test_a_figure_that_is_not_reached_is_shown_as_such():
    figure = {"name": "accuracy", "value": 0.9, "least": 0.95, "most": None, "reached": False}
    entry = {"dataset": "mnist", "figures": [figure], "seconds": 60, "hardware": "a processor", "date": "2026-01-01"}
    assert "| some_model | mnist | accuracy 0.9000 | ≥ 0.95 | **no** |" in tables.accuracy_table({"some_model": entry})
