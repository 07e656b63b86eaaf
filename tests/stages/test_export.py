"""`python -m stages.export MODEL` over one toy of every kind: the files that consumers get, whole and proved, or the earlier ones."""

import base64
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from stages import export as stage
from stages.common.files import write_files
from stages.evaluate import evaluate
from stages.export import example_batch, export
from stages.modelling.model import as_checkpoint
from stages.shell.errors import UserError
from tests.toy import ABOUT, PARAMS, ROOT, TOYS, Project, toy, toy_model

TRAINING = {"best_epoch": 2, "epochs": 3, "recipe": {"lr": 0.1}, "seed": 0}
FILES = ["README.md", "learning_curve.png", "model.onnx", "model.pt2", "model.torchscript.pt", "predictions.png", "signature.json"]
CURVE = "epoch,split,loss,accuracy\n1,train,0.9,0.5\n1,val,0.8,0.6\n2,train,0.7,0.8\n2,val,0.6,0.7\n"


class Exportable(Project):
    """A project whose model has fresh weights, and has been evaluated."""

    def __init__(self, root, name):
        super().__init__(root, name)
        write_files({self.folder / "checkpoint.safetensors": as_checkpoint(toy_model(name).network, TOYS[name], self.data.meta, TRAINING)})
        evaluate("own")
        (self.folder / "plots" / "learning_curve.csv").write_text(CURVE)

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


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_model_is_exported_whole(name, exported):
    own = exported(name)
    assert list(own.exported()) == FILES
    assert [path.name for path in own.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", TOYS)
def test_the_file_alone_is_enough_for_a_consumer(name, exported):
    own = exported(name)
    session = onnxruntime.InferenceSession(str(own.folder / "exported/model.onnx"), providers=["CPUExecutionProvider"])
    signature = json.loads(own.exported()["signature.json"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["signature"]) == signature
    inputs = own.data.raw_batch(8)
    outputs = session.run([entry["name"] for entry in signature["outputs"]], {signature["input"]["name"]: inputs.numpy()})
    with torch.no_grad():
        for theirs, ours in zip(outputs, toy_model(name)(inputs), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-4)


@pytest.mark.slow
def test_the_command_gives_the_same_bytes_in_another_folder(tmp_path):
    """Each in a process of its own, as DVC runs it: TorchScript numbers its classes through the life of a process."""
    projects = [Exportable(tmp_path / folder, "words") for folder in ("a", "b/with a longer name")]
    for own in projects:
        command, environment = [sys.executable, "-m", "stages.export", "own"], os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=own.root, env=environment, check=True)
    assert list(projects[0].exported()) == FILES and projects[0].exported() == projects[1].exported()


@pytest.mark.parametrize("name", TOYS)
def test_a_second_export_takes_the_place_of_the_first(name, exported, project, capsys):
    first, own = exported(name).exported(), project(name)
    (own.folder / "exported").mkdir()
    (own.folder / "exported" / "leftover").write_text("of an earlier version")
    export("own")
    second = own.exported()
    assert list(second) == FILES
    assert "own: exported, largest difference from PyTorch on 8 test items ONNX " in capsys.readouterr().out
    assert all(second[path] == first[path] for path in FILES if path != "model.torchscript.pt")


@pytest.mark.parametrize("name", TOYS)
def test_the_card_says_what_the_model_takes_and_how_it_was_made(name, exported):
    own = exported(name)
    card = own.exported()["README.md"].decode()
    meta = own.data.meta
    assert card.startswith("# own\n") and "Epoch 2 of 3" in card and f"`{name}` (generated)" in card
    assert all(text in card for text in (ABOUT["use"], ABOUT["limits"], ABOUT["licence"]["generated"], PARAMS["export"]["licence"]))
    assert all(class_name in card for class_name in meta.classes or meta.outputs)
    assert f"| `{meta.input.kind}` |" in card and "train 24, val 8, test 8" in card


@pytest.mark.parametrize("name", TOYS)
def test_the_signature_has_the_metrics_and_how_far_each_form_equals_pytorch_on_the_whole_test_split(name, exported):
    own = exported(name)
    signature = json.loads(own.exported()["signature.json"])
    assert signature["metrics"] == json.loads((own.folder / "metrics.json").read_text())
    for form in ("ONNX", "TorchScript", "torch.export"):
        parity = signature["parity"][form]
        assert parity["items"] == 8 and parity["labels_that_differ"] == 0 and parity["max_difference"] <= 1e-4
        ((metric, score),) = parity["score"].items()
        assert score == pytest.approx(signature["metrics"][metric], abs=2e-6)


@pytest.mark.parametrize("name", TOYS)
def test_the_golden_input_gives_the_golden_outputs_in_any_runtime(name, exported):
    own = exported(name)
    session = onnxruntime.InferenceSession(own.exported()["model.onnx"], providers=["CPUExecutionProvider"])
    golden = json.loads(session.get_modelmeta().custom_metadata_map["signature"])["golden"]
    outputs = session.run(list(golden["outputs"]), {session.get_inputs()[0].name: as_numbers(golden["input"])})
    for expected, output in zip(golden["outputs"].values(), outputs, strict=True):
        np.testing.assert_allclose(output, as_numbers(expected), atol=1e-4, strict=True)


def as_numbers(array):
    """As a consumer would: knowing nothing of this project."""
    return np.frombuffer(base64.b64decode(array["base64"]), dtype=array["dtype"]).reshape(array["shape"])


def test_a_stand_in_is_said_to_be_one(project):
    own = project("shapes")
    own.params["datasets"]["shapes"]["about"]["licence"] = {"sample": "CC0-1.0"}
    own.write()
    meta = own.data.meta.model_copy(update={"source": "sample"})
    checkpoint = as_checkpoint(toy_model("shapes").network, TOYS["shapes"], meta, TRAINING)
    write_files({own.folder / "checkpoint.safetensors": checkpoint})
    export("own")
    assert "Trained on a small stand-in, not on the real data" in own.exported()["README.md"].decode()
    assert json.loads(own.exported()["signature.json"])["source"] == "sample"


def test_names_and_opset_come_from_params(project):
    own = project("shapes")
    own.params["export"] = PARAMS["export"] | {"opset": 18, "names": PARAMS["export"]["names"] | {"image": "picture", "label": "class"}}
    own.write()
    export("own")
    proto = onnx.load_model_from_string(own.exported()["model.onnx"])
    assert proto.opset_import[0].version == 18
    assert [entry.name for entry in (*proto.graph.input, *proto.graph.output)] == ["picture", "probabilities", "class"]


@pytest.mark.parametrize("name", TOYS)
def test_the_example_that_is_traced_has_three_rows_as_consumers_send_them_and_none_of_the_data(name):
    data = toy(name)
    example, real = example_batch(toy_model(name), data.length), data.raw_batch(8)
    assert (example.dtype, example.shape[1:]) == (real.dtype, real.shape[1:]) and len(example) == 3
    assert not any(torch.equal(row, other) for row in example for other in real)


@pytest.mark.parametrize(("length", "text"), [(3, "Rep"), (7, "Reprise"), (9, "Reprise")])
def test_a_text_of_the_example_has_the_length_that_is_asked_for(length, text):
    row = example_batch(toy_model("words"), length)[0].tolist()
    assert row == [ord(character) for character in text] + [0] * (length - len(text))


# Failures leave what was there


def broken_export(monkeypatch):
    """The ONNX file is made of a network whose last weight is another."""
    original = stage.to_onnx

    def to_onnx(model, *arguments):
        with torch.no_grad():
            list(model.network.parameters())[-1].add_(0.5)
            content = original(model, *arguments)
            list(model.network.parameters())[-1].sub_(0.5)
        return content

    monkeypatch.setattr(stage, "to_onnx", to_onnx)


@pytest.mark.parametrize("name", ["numbers", "spots"])
def test_an_export_that_differs_is_never_written(name, project, monkeypatch):
    own = project(name)
    export("own")
    before = own.contents()
    broken_export(monkeypatch)
    with pytest.raises(UserError, match=r"ONNX differs from PyTorch by 0\.5 on a batch of 1x.*more than export\.tolerance"):
        export("own")
    assert own.contents() == before


def test_a_failure_while_writing_leaves_the_earlier_export(project, monkeypatch):
    own = project("shapes")
    export("own")
    before = own.contents()
    monkeypatch.setattr(stage, "learning_curve", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export("own")
    assert own.contents() == before


def test_a_missing_checkpoint_is_said_to_be_missing(project):
    own = project("numbers")
    (own.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(UserError, match=r"checkpoint\.safetensors is missing: run python -m stages\.train own"):
        export("own")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("metrics.json", r"^models/own/metrics\.json is missing: run python -m stages\.evaluate own \(or dvc repro\) first\.$"),
        ("plots/learning_curve.csv", r"^models/own/plots/learning_curve\.csv is missing: run dvc repro"),
        ("plots/predictions.png", r"^models/own/plots/predictions\.png is missing: run dvc repro"),
    ],
)
def test_what_is_missing_is_named(path, message, project):
    own = project("numbers")
    export("own")
    before = own.exported()
    (own.folder / path).unlink()
    with pytest.raises(UserError, match=message):
        export("own")
    assert own.exported() == before


def test_metrics_that_are_none_are_refused(project):
    own = project("numbers")
    (own.folder / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"^models/own/metrics\.json is damaged: run python -m stages\.evaluate own again\.$"):
        export("own")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"licence": {"official": "CC0-1.0"}}, r"datasets\.patients\.about\.licence has no entry for the data's source, generated"),
        ({"units": {"a": "mm", "d": "mm"}}, r"datasets\.patients\.about\.units has d, which is not a feature; expected some of a, b, c"),
        ({"units": {"a": ""}}, r"datasets\.patients\.about\.units\.a is ''"),
        ({"limit": "None."}, r"datasets\.patients\.about\.limit is not a known key"),
    ],
)
def test_a_mistake_in_what_is_said_of_the_data_is_named(about, message, project):
    own = project("patients")
    own.params["datasets"]["patients"]["about"] |= about
    own.write()
    with pytest.raises(UserError, match=message):
        export("own")


MISTAKES = [
    ({"opset": 99}, r"export\.opset is 99"),
    ({"opset": 12}, r"export\.opset is 12"),
    ({"tolerance": 0}, r"export\.tolerance is 0"),
    ({"names": {"imag": "image"}}, r"imag is neither a kind of input nor an output"),
    ({"opsett": 17}, r"export\.opsett is not a known key"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_in_params_is_named(changes, message, project):
    own = project("numbers")
    own.params["export"] = PARAMS["export"] | changes
    own.write()
    with pytest.raises(UserError, match=message):
        export("own")
