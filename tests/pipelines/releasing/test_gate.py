"""The bound, and the paired bootstrap, on predictions of a few rows."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from pipelines.releasing.gate import Gate, HeldBack, Interval, Verdict, as_table, beside, mean_interval, read_metric, read_rows

ACCURACY = Gate("models.m.gate.at_least.sample", "accuracy", False, "accuracy", False, 0.9, 0.05, 500, 0.95, 0)
MAE = Gate("models.m.gate.at_most.sample", "mae", True, "mae", True, 0.5, 0.1, 500, 0.95, 0)


def rows(predicted, actual="a"):
    scores = [str(int(actual == guess)) for guess in predicted]
    return pd.DataFrame({"actual": [actual for _ in predicted], "predicted": list(predicted), "score": scores}, dtype=str)


def numbers(*errors):
    content = [["1.0", str(1.0 + error), str(abs(error))] for error in errors]
    return pd.DataFrame(content, columns=["actual", "predicted", "score"], dtype=str)


def test_a_bound_is_reached_on_its_side_or_named():
    ACCURACY.check(0.9)
    MAE.check(0.5)
    for gate, value, why in (
        (ACCURACY, 0.8923456, "accuracy is 0.8923; expected at least 0.9 (params.yaml: models.m.gate.at_least.sample)"),
        (MAE, 0.51, "mae is 0.51; expected at most 0.5 (params.yaml: models.m.gate.at_most.sample)"),
    ):
        with pytest.raises(HeldBack, match=f"^{re.escape(why)}$"):
            gate.check(value)


def gate_of(folder, gate, source="sample"):
    checked = folder / "data/checked/datasets/toy.json"
    checked.parent.mkdir(parents=True, exist_ok=True)
    checked.write_text(json.dumps({"score": "mae", "metrics": {"mae": "lower", "rmse": "lower"}}))
    params = {"runtime": {"seed": 3}, "gate": {"num_resamples": 100, "confidence": 0.9}, "models": {"m": {"dataset": "toy", "gate": gate}}}
    return Gate.of(params | {"source": source}, "m", folder)


def test_the_gate_of_a_model_is_that_of_its_source_or_of_both_and_there_may_be_none(tmp_path):
    gate = {"metric": "rmse", "at_most": {"sample": 1.0, "official": None}, "tolerance": {"sample": 0.1, "official": 0.2}}
    assert gate_of(tmp_path, gate) == Gate("models.m.gate.at_most.sample", "rmse", True, "mae", True, 1.0, 0.1, 100, 0.9, 3)
    assert gate_of(tmp_path, gate, "official").bound is None
    gate = {"metric": "rmse", "at_most": 0, "at_least": None, "tolerance": 0.1}
    for source in ("sample", "official"):
        assert gate_of(tmp_path, gate, source) == Gate("models.m.gate.at_most", "rmse", True, "mae", True, 0, 0.1, 100, 0.9, 3)
    assert gate_of(tmp_path, None) is None


def test_the_difference_is_that_of_the_accuracies_or_the_mean_absolute_errors_row_by_row():
    difference = ACCURACY.difference(rows("aaab" * 25), rows("aabb" * 25))
    assert difference.value == -0.25
    assert difference.low < -0.25 < difference.high < 0
    assert MAE.difference(numbers(0.5, -0.5), numbers(0.25, -0.75)) == Interval(0, -0.25, 0.25)
    # Half of the rows are wrong, the same ones: unpaired, such accuracies would differ by chance.
    assert ACCURACY.difference(rows("ab" * 50), rows("ab" * 50)) == Interval(0, 0, 0)


def test_the_interval_is_that_of_the_normal_approximation_where_rows_are_many_and_follows_from_the_seed():
    values = np.random.default_rng(1).choice([-1.0, 0.0, 1.0], 4000, p=[0.1, 0.8, 0.1])
    interval, spread = mean_interval(values, 2000, 0.95, seed=0), 1.645 * values.std() / np.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - spread, abs=0.1 * spread)
    assert interval.high == pytest.approx(values.mean() + spread, abs=0.1 * spread)
    assert mean_interval(values, 100, 0.95, seed=7) == mean_interval(values, 100, 0.95, seed=7) != mean_interval(values, 100, 0.95, seed=8)


@pytest.mark.parametrize(
    ("gate", "difference", "is_worse"),
    [
        (ACCURACY, Interval(-0.01, -0.04, 0.02), False),
        (ACCURACY, Interval(0.01, -0.06, 0.08), True),  # not worse by the figures, and not surely so
        (ACCURACY, Interval(-0.05, -0.05, -0.05), False),
        (MAE, Interval(0.01, -0.3, 0.09), False),
        (MAE, Interval(-0.01, -0.3, 0.11), True),
    ],
)
def test_worse_is_what_may_be_worse_beyond_the_tolerance(gate, difference, is_worse):
    assert gate.is_worse(difference) == is_worse


def test_predictions_of_other_rows_or_of_none_are_not_compared():
    for before, now in ((rows("aab"), rows("aa")), (rows("aa", actual="b"), rows("aa")), (rows(""), rows(""))):
        with pytest.raises(HeldBack, match="not of the same test rows and classes"):
            ACCURACY.difference(before, now)


def test_figures_are_read_as_evaluate_writes_them(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"mae": 0.5, "mae_low": 0.4, "mae_high": 0.6, "r2": 0.9}))
    (tmp_path / "predictions.csv").write_text('actual,predicted\n"a, b",NA\n1.0,1\n')
    found = {name: read_metric(tmp_path / "metrics.json", name) for name in ("mae", "r2", "auc")}
    assert found == {"mae": Interval(0.5, 0.4, 0.6), "r2": Interval(0.9, 0.9, 0.9), "auc": None}
    assert beside(tmp_path / "metrics.json", "mae") == ""
    (tmp_path / "metrics.json").write_text(json.dumps({"accuracy": 0.9, "macro_f1": 0.5, "macro_f1_low": 0.4, "macro_f1_high": 0.6}))
    assert (
        beside(tmp_path / "metrics.json", "accuracy") == "macro_f1 0.5 [0.4, 0.6]" and beside(tmp_path / "metrics.json", "macro_f1") == ""
    )
    verdicts = {"own": Verdict(metric="accuracy", now=Interval(0.9, 0.8, 1.0), beside="macro_f1 0.5 [0.4, 0.6]", why="it is")}
    assert "| accuracy 0.9 [0.8, 1]; macro_f1 0.5 [0.4, 0.6] |" in as_table(verdicts)
    assert read_rows(tmp_path / "predictions.csv").to_numpy().tolist() == [["a, b", "NA"], ["1.0", "1"]]
