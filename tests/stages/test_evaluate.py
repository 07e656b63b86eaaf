"""`python -m stages.evaluate MODEL` over one toy of every kind: what it writes, and that a split of one item is enough."""

import csv
import io
import json
import math
import shutil

import numpy as np
import pytest
from PIL import Image

from stages.common.files import write_files
from stages.evaluate import evaluate, predict
from stages.modelling.model import as_checkpoint, load_checkpoint
from stages.shell.errors import UserError
from tests.toy import CPU, TOYS, Data, Project, toy_model

TRAINING = {"best_epoch": 1, "epochs": 1, "recipe": {}, "seed": 0}
FILES = ["metrics.json", "plots/breakdown.csv", "plots/predictions.csv", "plots/predictions.png"]


class Evaluated(Project):
    """A project whose model has fresh weights."""

    def __init__(self, root, name):
        super().__init__(root, name)
        model = toy_model(name)
        write_files({self.folder / "checkpoint.safetensors": as_checkpoint(model.network, TOYS[name], self.data.meta, TRAINING)})

    def test_on(self, inputs, targets):
        """Puts other items in the place of the test split."""
        shutil.rmtree(self.processed)
        self.data = Data(self.data.meta, self.data.splits | {"test": (inputs, targets)})
        self.data.write(self.processed)

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
    return lambda name: Evaluated(tmp_path, name)


def assert_flat_and_finite(metrics):
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    assert all(name.removesuffix("_low").removesuffix("_high") in metrics for name in metrics)


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_task_gets_its_metrics_and_its_plots_with_the_same_bytes_again(name, project):
    own = project(name)
    evaluate("own")
    first, meta = own.contents(), own.data.meta
    assert [path for path in first if path != "checkpoint.safetensors"] == FILES
    picture = Image.open(io.BytesIO(first["plots/predictions.png"]))
    assert picture.format == "PNG" and picture.info.keys() <= {"dpi"}, "no time and no version of anything"
    assert len(np.unique(np.asarray(picture))) > 10
    assert_flat_and_finite(own.metrics())
    rows, targets = own.rows("breakdown.csv"), own.data.splits["test"][1]
    assert [row["output" if meta.task == "regression" else "class"] for row in rows] == meta.names
    if meta.task == "regression":
        errors = [abs(float(row["actual"]) - float(row["predicted"])) for row in own.rows("predictions.csv")]
        assert own.metrics()["mae"] == pytest.approx(np.mean(errors), abs=1e-5) and len(errors) == targets.size
    else:
        counted = targets.sum(axis=0) if meta.task == "multilabel" else np.bincount(targets[targets >= 0], minlength=len(meta.classes))
        assert [int(row["count"]) for row in rows] == counted.tolist()
    evaluate("own")
    assert own.contents() == first


@pytest.mark.parametrize("name", TOYS)
def test_a_few_items_are_enough(name, project):
    own = project(name)
    inputs, targets = own.data.splits["test"]
    for rows in (1, 2, 3):
        own.test_on(inputs[:rows], targets[:rows])
        evaluate("own")
        assert_flat_and_finite(own.metrics())
        assert rows > 1 or not {"r2", "auc"} & set(own.metrics())


def test_a_test_split_of_one_class_is_enough(project):
    own = project("patients")
    inputs, targets = own.data.splits["train"]
    own.test_on(inputs[targets == 1], targets[targets == 1])
    evaluate("own")
    assert_flat_and_finite(own.metrics())
    assert "auc" not in own.metrics()
    assert {row["actual"] for row in own.rows("predictions.csv")} == {own.data.meta.classes[1]}


@pytest.mark.parametrize("name", ["patients", "shapes", "words", "codes"])
def test_predictions_name_the_classes_of_every_item_in_order_without_padding(name, project):
    own = project(name)
    evaluate("own")
    classes, rows, targets = own.data.meta.classes, own.rows("predictions.csv"), own.data.splits["test"][1]
    real = targets >= 0
    assert [row["actual"] for row in rows] == [classes[label] for label in targets[real]]
    assert [row["predicted"] for row in rows] == [classes[label] for label in own.outputs()[1][real]]
    right = [row["actual"] == row["predicted"] for row in rows]
    assert own.metrics()["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)


def test_the_seed_moves_the_intervals_and_nothing_else(project):
    own = project("shapes")
    evaluate("own")
    before = own.metrics()
    own.params["runtime"]["seed"] = 1
    own.write()
    evaluate("own")
    assert [name for name, value in own.metrics().items() if value != before[name] and not name.endswith(("_low", "_high"))] == []


def test_a_failure_leaves_the_earlier_metrics(project):
    own = project("numbers")
    evaluate("own")
    before = own.contents()
    (own.processed / "test.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"test\.safetensors is damaged .* run python -m stages\.preprocess numbers again"):
        evaluate("own")
    assert own.contents() == before


@pytest.mark.parametrize(
    ("model", "message"), [("other", r"params\.yaml has no models\.other; known there: own"), ("own", r"resamples is 10")]
)
def test_a_mistake_is_named(model, message, project):
    own = project("numbers")
    own.params["evaluate"]["num_resamples"] = 10 if model == "own" else 100
    own.write()
    with pytest.raises(UserError, match=message):
        evaluate(model)
