"""pipelines/rebuilding/report.py: what it says of files as the stages write them."""

import base64
import json
import re
from pathlib import Path

import pytest

from pipelines.rebuilding.build import Outcome, Result
from pipelines.rebuilding.report import as_comparison, as_table, page_of

BASELINE = {"baseline_majority_accuracy": 0.5}  # has no line of its own
PICTURES = {"learning_curve.png": b"curves", "predictions.png": b"a matrix"}


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("models/a_model")
    (folder / "exported").mkdir(parents=True)
    for name, content in {"model.onnx": b"", **PICTURES}.items():
        (folder / "exported" / name).write_bytes(content)
    (folder / "metrics.json").write_text(
        json.dumps({"accuracy": 0.75, "accuracy_low": 0.5, "accuracy_high": 1.0, "macro_f1": 0.7} | BASELINE)
    )
    return folder


def test_a_models_page_has_its_metrics_beside_the_last_release_its_pictures_report_and_exports(model):
    (model / "report.html").write_text("<!doctype html>")
    page = page_of("a_model", {"a_model": ("v1.2.0", {"accuracy": 0.7})}.get)
    assert "| a_model | accuracy | 0.7500 (0.5000 to 1.0000) | 0.7000 | +0.0500 | v1.2.0 |" in page
    assert f"[report.html]({(model / 'report.html').resolve().as_uri()})" in page
    assert [base64.b64decode(content) for content in re.findall(r"\(data:image/png;base64,([^)]*)\)", page)] == list(PICTURES.values())
    assert f"[model.onnx]({(model / 'exported' / 'model.onnx').resolve().as_uri()})" in page


def test_metrics_stand_beside_those_of_the_last_release(model):
    released = {"a_model": ("v1.2.0", {"accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8})}
    assert as_comparison(["a_model"], released.get).splitlines()[2:] == [
        "| a_model | accuracy | 0.7500 (0.5000 to 1.0000) | 0.7000 (0.6000 to 0.8000) | +0.0500 | v1.2.0 |",
        "| a_model | macro_f1 | 0.7000 |  |  | v1.2.0 |",
    ]
    assert as_comparison(["a_model"], lambda _: None).splitlines()[2] == "| a_model | accuracy | 0.7500 (0.5000 to 1.0000) |  |  |  |"


def test_the_table_counts_what_was_up_to_date_and_lists_the_rest():
    results = {"a": Result(Outcome.UP_TO_DATE), "b": Result(Outcome.RAN, 1.25), "c": Result(Outcome.FAILED, 0, "exit code 1: no")}
    assert as_table(results).splitlines()[2:] == [
        "| b | ran | 1.2 |  |",
        "| c | failed | 0.0 | exit code 1: no |",
        "",
        "1 of 3 stages were up to date.",
    ]
    why = "'<b>|[x](javascript:alert(1))\x1b' was refused"
    said = as_table({"a": Result(Outcome.FAILED, 0, why)}).splitlines()[2]
    assert said == r"| a | failed | 0.0 | '&lt;b&gt;\|\[x\](javascript:alert(1))\\x1b' was refused |"
    assert as_table({"a": Result(Outcome.UP_TO_DATE)}) == "1 of 1 stages were up to date."
