"""pipelines/running/report.py and pictures.py: what they say of files as the stages write them."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from pipelines.running import pictures
from pipelines.running.build import Outcome, Result
from pipelines.running.report import as_comparison, as_table, page_of

CURVE = "epoch,split,loss,accuracy,lr\n1,train,2.3,0.1,0.1\n1,val,2.2,0.2,0.1\n2,train,1.3,0.5,0.1\n2,val,1.4,0.4,0.1\n"
GRID = "epoch,split,loss,mae,lr,weight\n1,train,4.0,2.0,,1.0\n2,train,0.0,0.0,,2.0\n"
CLASSES = "actual,predicted\n3,3\n10,3\n10,10\n"
NAMES = "actual,predicted\nIrish,Irish\nGreek,Irish\n"
NONE = "actual,predicted\nNA,NA\nnull,NA\n"
NUMBERS = "actual,predicted\n8.0,7.9\n4.0,4.1\n"


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("models/a_model")
    (folder / "plots").mkdir(parents=True)
    (folder / "exported").mkdir()
    (folder / "exported" / "model.onnx").write_bytes(b"")
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.75, "accuracy_low": 0.5, "accuracy_high": 1.0, "macro_f1": 0.7}))
    (folder / "plots" / "learning_curve.csv").write_text(CURVE)
    (folder / "plots" / "predictions.csv").write_text(CLASSES)
    return folder


def is_drawn(content):
    """Whether it is a picture with something on it."""
    with Image.open(io.BytesIO(content)) as image:
        return image.format == "PNG" and len(image.convert("RGB").getcolors(1 << 24)) > 10


@pytest.mark.parametrize("rows", [CURVE, GRID])
def test_learning_curves_are_drawn(tmp_path, rows):
    (tmp_path / "curve.csv").write_text(rows)
    assert is_drawn(pictures.learning_curve(tmp_path / "curve.csv"))


@pytest.mark.parametrize("rows", [CLASSES, NAMES, NONE, NUMBERS])
def test_predictions_are_drawn(tmp_path, rows):
    (tmp_path / "predictions.csv").write_text(rows)
    assert is_drawn(pictures.predictions(tmp_path / "predictions.csv"))


def test_classes_are_in_their_order_and_counted(tmp_path, monkeypatch):
    (tmp_path / "predictions.csv").write_text(CLASSES)
    figures = []
    monkeypatch.setattr(pictures, "as_png", figures.append)
    pictures.predictions(tmp_path / "predictions.csv")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "10"]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {((0, 0), "1"), ((0, 1), "1"), ((1, 1), "1")}
    assert axes.images[0].get_array().tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_a_models_page_has_its_metrics_pictures_and_exports(model):
    page = page_of("a_model")
    assert "- accuracy: 0.75" in page
    assert [is_drawn(base64.b64decode(content)) for content in re.findall(r"\(data:image/png;base64,([^)]*)\)", page)] == [True, True]
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
    assert as_table({"a": Result(Outcome.UP_TO_DATE)}) == "1 of 1 stages were up to date."
