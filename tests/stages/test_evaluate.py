"""`python -m stages.evaluate MODEL` over one toy of every kind: what it writes, and that a split of one item is enough."""

import csv
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from stages.common.files import write_files
from stages.common.splits import SplitFile, SplitWriter
from stages.evaluate import BATCH_SIZE, evaluate, predict
from stages.modelling.model import as_checkpoint, load_checkpoint
from stages.shell.errors import UserError
from tests.toy import CPU, TOYS, Data, Project, toy, toy_model

TRAINING = {"best_epoch": 1, "epochs": 1, "recipe": {}, "seed": 0}
FILES = ["metrics.json", "plots/breakdown.csv", "plots/mistakes.png", "plots/predictions.csv", "plots/predictions.png"]
METRICS = {"regression": {"mae", "rmse"}, "binary": {"accuracy", "macro_f1", "calibration_error"}}
METRICS |= {"multiclass": METRICS["binary"], "sequence": {*METRICS["binary"], "exact_match"}}
METRICS |= {"multilabel": {"macro_f1", "average_precision", "label_accuracy", "exact_match"}}


class Evaluated(Project):
    """A project whose model has fresh weights."""

    def __init__(self, root, name, data=None):
        super().__init__(root, name, data=data)
        model = toy_model(name)
        write_files({self.folder / "checkpoint.safetensors": as_checkpoint(model.network, TOYS[name], self.data.meta, TRAINING)})

    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_bytes())

    def rows(self, plot):
        return list(csv.DictReader(io.StringIO((self.folder / "plots" / plot).read_text())))

    def outputs(self):
        model, _ = load_checkpoint(self.folder / "checkpoint.safetensors")
        return predict(model, [self.data.splits["test"][0]], CPU)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name, rows=None):
        """Only the first `rows` of test, where they are given."""
        data = toy(name)
        if rows is not None:
            inputs, targets = data.splits["test"]
            data = Data(data.meta, data.splits | {"test": (inputs[:rows], targets[:rows])})
        return Evaluated(tmp_path, name, data)

    return make


def assert_flat_and_finite(metrics):
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert all(name.removesuffix("_low").removesuffix("_high") in metrics for name in metrics)


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_task_gets_its_metrics_and_its_plots(name, project):
    own = project(name)
    evaluate("own")
    assert [path for path in own.contents() if path != "checkpoint.safetensors"] == FILES
    metrics = own.metrics()
    assert set(metrics) >= METRICS[own.data.meta.task]
    assert_flat_and_finite(metrics)
    with Image.open(own.folder / "plots/mistakes.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize("name", TOYS)
def test_the_same_bytes_come_again(name, project):
    own = project(name)
    evaluate("own")
    first = own.contents()
    evaluate("own")
    assert own.contents() == first


@pytest.mark.parametrize("name", TOYS)
def test_one_item_is_enough(name, project):
    own = project(name, rows=1)
    evaluate("own")
    assert_flat_and_finite(own.metrics())
    assert "r2" not in own.metrics() and "auc" not in own.metrics()


@pytest.mark.parametrize("rows", [2, 3, 5])
@pytest.mark.parametrize("name", TOYS)
def test_a_few_items_are_enough(name, rows, project):
    own = project(name, rows=rows)
    evaluate("own")
    assert_flat_and_finite(own.metrics())


@pytest.mark.parametrize("label", [0, 1])
def test_a_test_split_of_one_class_is_enough(label, project):
    data = toy("patients")
    chosen = data.splits["train"][1] == label
    own = project("patients")
    own.data = Data(data.meta, data.splits | {"test": tuple(values[chosen] for values in data.splits["train"])})
    for path in own.processed.iterdir():
        path.unlink()
    own.processed.rmdir()
    own.data.write(own.processed)
    evaluate("own")
    assert_flat_and_finite(own.metrics())
    assert "auc" not in own.metrics()
    assert {row["actual"] for row in own.rows("predictions.csv")} == {data.meta.classes[label]}


@pytest.mark.parametrize("name", ["patients", "shapes", "words"])
def test_predictions_name_the_classes_of_every_item_in_order(name, project):
    own = project(name)
    evaluate("own")
    classes, rows = own.data.meta.classes, own.rows("predictions.csv")
    assert [row["actual"] for row in rows] == [classes[label] for label in own.data.splits["test"][1]]
    assert [row["predicted"] for row in rows] == [classes[label] for label in own.outputs()[1]]
    right = [row["actual"] == row["predicted"] for row in rows]
    assert own.metrics()["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)


def test_predictions_of_a_sequence_leave_out_the_padding(project):
    own = project("codes")
    evaluate("own")
    targets = own.data.splits["test"][1]
    assert [row["actual"] for row in own.rows("predictions.csv")] == ["abc"[label] for label in targets[targets >= 0]]


@pytest.mark.parametrize("name", ["numbers", "spots"])
def test_predictions_of_a_regression_are_numbers(name, project):
    own = project(name)
    evaluate("own")
    rows = [(float(row["actual"]), float(row["predicted"])) for row in own.rows("predictions.csv")]
    np.testing.assert_allclose([actual for actual, _ in rows], own.data.splits["test"][1].ravel())
    np.testing.assert_allclose([predicted for _, predicted in rows], own.outputs()[0].ravel(), rtol=1e-6)
    assert own.metrics()["mae"] == pytest.approx(np.mean([abs(actual - predicted) for actual, predicted in rows]), abs=1e-5)


@pytest.mark.parametrize("name", TOYS)
def test_the_breakdown_has_a_row_a_class_or_a_number(name, project):
    own = project(name)
    evaluate("own")
    meta, rows = own.data.meta, own.rows("breakdown.csv")
    if meta.task == "regression":
        assert [row["output"] for row in rows] == meta.outputs and list(rows[0]) == ["output", "mae", "rmse", "count"]
    else:
        assert [row["class"] for row in rows] == meta.classes
        assert [column for column in rows[0] if column != "average_precision"] == ["class", "precision", "recall", "f1", "count"]
        targets = own.data.splits["test"][1]
        counted = targets.sum(axis=0) if meta.task == "multilabel" else np.bincount(targets[targets >= 0], minlength=len(meta.classes))
        assert [int(row["count"]) for row in rows] == counted.tolist()


def test_more_items_than_one_batch_are_all_predicted(tmp_path):
    inputs = np.linspace(-1, 1, BATCH_SIZE * 2 + 3, dtype=np.float32)[:, None]
    with SplitWriter(tmp_path / "test.safetensors", (1,), "float32", (1,), "float32") as writer:
        writer.add(inputs, inputs)
    pieces = list(SplitFile(tmp_path, "test").pieces("inputs", BATCH_SIZE))
    assert [len(piece) for piece in pieces] == [BATCH_SIZE, BATCH_SIZE, 3]
    model = toy_model("numbers")
    with torch.no_grad():
        np.testing.assert_allclose(predict(model, pieces, CPU)[0], model(torch.from_numpy(inputs))[0].numpy(), rtol=1e-6)


def test_the_seed_moves_the_intervals_and_nothing_else(project):
    own = project("shapes")
    evaluate("own")
    before = own.metrics()
    own.params["runtime"]["seed"] = 1
    own.write()
    evaluate("own")
    changed = {name for name, value in own.metrics().items() if value != before[name]}
    assert changed <= {"accuracy_low", "accuracy_high"}


def test_a_missing_checkpoint_is_said_to_be_missing(project):
    own = project("numbers")
    (own.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(UserError, match=r"checkpoint\.safetensors is missing: run python -m stages\.train own"):
        evaluate("own")


def test_an_unknown_model_is_refused_with_those_that_there_are(project):
    project("numbers")
    with pytest.raises(UserError, match=r"params\.yaml has no models\.other; known there: own"):
        evaluate("other")


def test_too_few_resamples_are_refused(project):
    own = project("numbers")
    own.params["evaluate"]["num_resamples"] = 10
    own.write()
    with pytest.raises(UserError, match=r"evaluate\.num_resamples is 10"):
        evaluate("own")


def test_a_failure_leaves_the_earlier_metrics(project):
    own = project("numbers")
    evaluate("own")
    before = own.contents()
    (own.processed / "test.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"test\.safetensors is damaged .* run python -m stages\.preprocess numbers again"):
        evaluate("own")
    assert own.contents() == before
