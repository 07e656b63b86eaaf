"""`python -m stages.export MODEL` over one toy of every kind: the files that consumers get, whole and proved, or the earlier ones."""

import base64
import contextlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from stages import export as stage
from stages.common.comparison import verdict
from stages.common.files import write_files
from stages.common.shelves import take_task
from stages.evaluate import evaluate
from stages.export import example_batch, export
from stages.modelling.model import as_checkpoint
from stages.shell.errors import UserError
from tests.toy import ABOUT, PARAMS, TOYS, Project, toy, toy_model

TRAINING = {"best_epoch": 2, "epochs": 3, "recipe": {"lr": 0.1}, "seed": 0}
FILES = ["README.md", "learning_curve.png", "model.onnx", "model.pt2", "model.torchscript.pt", "predictions.png", "signature.json"]
CURVE = "epoch,split,loss,accuracy\n1,train,0.9,0.5\n1,val,0.8,0.6\n2,train,0.7,0.8\n2,val,0.6,0.7\n"


class Exportable(Project):
    """A project whose model has fresh weights, and has been evaluated."""

    def __init__(self, root, name):
        super().__init__(root, name)
        self.save(self.data.meta)
        evaluate("own")
        (self.folder / "plots" / "learning_curve.csv").write_text(CURVE)

    def save(self, meta):
        name = self.data.meta.dataset
        write_files({self.folder / "checkpoint.safetensors": as_checkpoint(toy_model(name).network, TOYS[name], meta, TRAINING)})

    def exported(self):
        return {path.removeprefix("exported/"): content for path, content in self.contents().items() if path.startswith("exported/")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name: Exportable(tmp_path, name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Projects of toys that have been exported, each once, for the tests that only read them."""
    made = {}

    def once(name):
        if name not in made:
            with contextlib.chdir(tmp_path_factory.mktemp(name)):
                made[name] = Exportable(Path.cwd(), name)
                export("own")
        return made[name]

    return once


def as_array(array):
    """As a consumer would: knowing nothing of this project."""
    if array["dtype"] == "string":
        return np.array(array["values"], dtype=object).reshape(array["shape"])
    return np.frombuffer(base64.b64decode(array["base64"]), dtype=array["dtype"]).reshape(array["shape"])


@pytest.mark.parametrize("name", TOYS)
def test_the_file_alone_is_enough_for_a_consumer(name, exported):
    own = exported(name)
    assert list(own.exported()) == FILES and [path.name for path in own.folder.iterdir() if path.name.startswith(".")] == []
    session = onnxruntime.InferenceSession(own.exported()["model.onnx"], providers=["CPUExecutionProvider"])
    signature = json.loads(own.exported()["signature.json"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["signature"]) == signature
    golden, names = signature["golden"], [entry["name"] for entry in signature["outputs"]]
    inputs = own.data.raw_batch(8)
    with torch.no_grad():
        outputs = [output.numpy() for output in toy_model(name)(inputs)]
    arrays = own.data.part.feed(inputs.numpy(), own.data.meta.input) if "inputs" in signature else [inputs.numpy()]
    entries = signature.get("inputs", [signature["input"]])
    fed = {entry["name"]: array for entry, array in zip(entries, arrays, strict=True)}
    known = golden.get("inputs", {signature["input"]["name"]: golden["input"]})
    known = {name: as_array(array) for name, array in known.items()}
    unit = own.data.meta.target.std if own.data.meta.target else 1
    for given, expected in ((fed, outputs), (known, map(as_array, golden["outputs"].values()))):
        for theirs, ours in zip(session.run(names, given), expected, strict=True):
            np.testing.assert_allclose(theirs / unit, ours / unit, atol=1e-4)


@pytest.mark.parametrize("name", TOYS)
def test_the_card_and_the_signature_say_what_the_model_takes_how_it_was_made_and_how_good_it_is(name, exported):
    own = exported(name)
    card, meta, signature = own.exported()["README.md"].decode(), own.data.meta, json.loads(own.exported()["signature.json"])
    assert card.startswith("# own\n") and "Epoch 2 of 3" in card and f"`{name}` (generated)" in card
    assert all(text in card for text in (ABOUT["use"], ABOUT["limits"], ABOUT["licence"]["generated"], PARAMS["export"]["licence"]))
    assert all(class_name in card for class_name in meta.classes or meta.outputs)
    assert all(f"| `{entry['name']}` |" in card for entry in signature.get("inputs", [signature["input"]]))
    assert "train 24, val 8, test 8" in card
    metrics = json.loads((own.folder / "metrics.json").read_text())
    assert signature["metrics"] == metrics
    assert f"\n{verdict(metrics, take_task(meta.task))} Baselines learned from train alone" in card
    assert "| baseline_" not in card and card.count("\n| this model |") == 1
    assert "|  |" not in re.search(r"\n(\| this model \|.*)\n", card).group(1), "no metric is listed that nobody has"
    for form in ("ONNX", "TorchScript", "torch.export"):
        parity = signature["parity"][form]
        assert parity["items"] == 8 and parity["labels_that_differ"] == 0 and parity["max_difference"] <= 1e-4
        ((metric, score),) = parity["score"].items()
        assert score == pytest.approx(signature["metrics"][metric], abs=2e-6)


@pytest.mark.parametrize("name", ["patients", "codes"])
def test_a_second_export_takes_the_place_of_the_first(name, exported, project, capsys):
    first, own = exported(name).exported(), project(name)
    (own.folder / "exported").mkdir()
    (own.folder / "exported" / "leftover").write_text("of an earlier version")
    export("own")
    second = own.exported()
    assert list(second) == FILES
    assert "own: exported, largest difference from PyTorch on 8 test items ONNX " in capsys.readouterr().out
    assert all(second[path] == first[path] for path in FILES if path != "model.torchscript.pt")


def test_names_and_opset_come_from_params_and_a_stand_in_is_said_to_be_one(project):
    own = project("shapes")
    own.params["export"] = PARAMS["export"] | {"opset": 18, "names": PARAMS["export"]["names"] | {"image": "picture", "label": "class"}}
    own.params["datasets"]["shapes"]["about"]["licence"] = {"sample": "CC0-1.0"}
    own.write()
    own.save(own.data.meta.model_copy(update={"source": "sample"}))
    export("own")
    proto = onnx.load_model_from_string(own.exported()["model.onnx"])
    assert proto.opset_import[0].version == 18
    assert [entry.name for entry in (*proto.graph.input, *proto.graph.output)] == ["picture", "probabilities", "class"]
    assert "Trained on a small stand-in, not on the real data" in own.exported()["README.md"].decode()
    assert json.loads(own.exported()["signature.json"])["source"] == "sample"


@pytest.mark.parametrize("name", TOYS)
def test_the_example_that_is_traced_has_three_rows_as_consumers_send_them_and_none_of_the_data(name):
    data = toy(name)
    example, real = example_batch(toy_model(name), data.length), data.raw_batch(8)
    assert (example.dtype, example.shape[1:]) == (real.dtype, real.shape[1:]) and len(example) == 3
    assert not any(torch.equal(row, other) for row in example for other in real)


# Failures leave what was there


def test_an_export_that_differs_is_never_written(project, monkeypatch):
    own = project("spots")
    export("own")
    before, original = own.contents(), stage.forms.to_onnx

    def to_onnx(model, *arguments):
        """Of a network whose last weight is another."""
        with torch.no_grad():
            list(model.network.parameters())[-1].add_(0.5)
            content = original(model, *arguments)
            list(model.network.parameters())[-1].sub_(0.5)
        return content

    monkeypatch.setattr(stage.forms, "to_onnx", to_onnx)
    with pytest.raises(UserError, match=r"ONNX differs from PyTorch by 0\.5 on a batch of 1x.*more than export\.tolerance"):
        export("own")
    assert own.contents() == before


@pytest.mark.parametrize("path", ["metrics.json", "plots/learning_curve.csv", "plots/predictions.png"])
def test_what_is_missing_is_named_and_the_earlier_export_stays(path, project):
    own = project("numbers")
    export("own")
    before = own.exported()
    (own.folder / path).unlink()
    with pytest.raises(FileNotFoundError) as missing:  # which run_stage() makes a sentence of
        export("own")
    assert str(missing.value.filename) == f"models/own/{path}" and own.exported() == before


MISTAKES = [
    (("export", "opset"), 99, r"export\.opset is 99"),
    (
        ("datasets", "patients", "about", "licence"),
        {"official": "CC0-1.0"},
        r"licence has no entry for the data's source, generated",
    ),
    (("datasets", "patients", "about", "units"), {"a": "mm", "d": "mm"}, r"units has d, which is not a feature; expected some of a, b, c"),
    (("datasets", "patients", "about", "limit"), "None.", r"datasets\.patients\.about\.limit is not a known key"),
]


@pytest.mark.parametrize(("keys", "value", "message"), MISTAKES)
def test_a_mistake_in_params_is_named(keys, value, message, project):
    own = project("patients")
    *parents, last = keys
    section = own.params = json.loads(json.dumps(own.params))
    for parent in parents:
        section = section[parent]
    section[last] = value
    own.write()
    with pytest.raises(UserError, match=message):
        export("own")


def test_damaged_metrics_are_refused(project):
    own = project("numbers")
    (own.folder / "metrics.json").write_text("<<<<<<< HEAD")
    with pytest.raises(UserError, match=r"^models/own/metrics\.json is damaged: run python -m stages\.evaluate own again\.$"):
        export("own")
