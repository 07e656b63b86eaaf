"""`python -m stages.export MODEL` over one toy of every kind: the files that consumers get, whole and proved, or the earlier ones."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from stages import export as stage
from stages.common.errors import UserError
from stages.common.files import write_files
from stages.export import example_batch, export
from stages.modelling.model import as_checkpoint
from tests.toy import PARAMS, ROOT, TOYS, Project, toy, toy_model

TRAINING = {"best_epoch": 2, "epochs": 3, "recipe": {"lr": 0.1}, "seed": 0}
FILES = ["README.md", "model.onnx", "model.torchscript.pt", "signature.json"]


class Exportable(Project):
    """A project whose model has fresh weights."""

    def __init__(self, root, name):
        super().__init__(root, name)
        write_files({self.folder / "checkpoint.safetensors": as_checkpoint(toy_model(name).network, TOYS[name], self.data.meta, TRAINING)})

    def exported(self):
        return {path.removeprefix("exported/"): content for path, content in self.contents().items() if path.startswith("exported/")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda name: Exportable(tmp_path, name)


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_model_is_exported_whole(name, project):
    own = project(name)
    export("own")
    assert list(own.exported()) == FILES
    assert [path.name for path in own.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", TOYS)
def test_the_file_alone_is_enough_for_a_consumer(name, project):
    own = project(name)
    export("own")
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
def test_a_second_export_takes_the_place_of_the_first(name, project):
    own = project(name)
    export("own")
    first = own.exported()
    (own.folder / "exported" / "leftover").write_text("of an earlier version")
    export("own")
    second = own.exported()
    assert list(second) == FILES
    assert all(second[path] == first[path] for path in FILES if path != "model.torchscript.pt")


@pytest.mark.parametrize("name", TOYS)
def test_the_card_says_what_the_model_takes_and_how_it_was_made(name, project, capsys):
    own = project(name)
    export("own")
    card = own.exported()["README.md"].decode()
    meta = own.data.meta
    assert card.startswith("# own\n") and "Epoch 2 of 3" in card and f"`{name}` (generated)" in card
    assert all(class_name in card for class_name in meta.classes or meta.outputs)
    assert f"| `{meta.input.kind}` |" in card and "train 24, val 8, test 8" in card
    assert capsys.readouterr().out.startswith("own: exported, largest difference from PyTorch ONNX ")


def test_a_stand_in_is_said_to_be_one(project):
    own = project("shapes")
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


def test_the_example_has_three_rows_though_test_has_one():
    assert example_batch(toy("shapes").splits["test"][0][:1]).shape == (3, 8, 8, 1)
    characters = example_batch(toy("words").splits["test"][0])
    assert characters.shape == (3, 9) and characters.dtype == torch.int64


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
    monkeypatch.setattr(stage, "model_card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export("own")
    assert own.contents() == before


def test_a_missing_checkpoint_is_said_to_be_missing(project):
    own = project("numbers")
    (own.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(UserError, match=r"checkpoint\.safetensors is missing: run python -m stages\.train own"):
        export("own")


MISTAKES = [
    ({"opset": 99}, r"export\.opset is 99"),
    ({"opset": 12}, r"export\.opset is 12"),
    ({"tolerance": 0}, r"export\.tolerance is 0"),
    ({"names": {"image": "image"}}, r"export\.names\.features is missing"),
    ({"opsett": 17}, r"export\.opsett is not a known key"),
]


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_in_params_is_named(changes, message, project):
    own = project("numbers")
    own.params["export"] = PARAMS["export"] | changes
    own.write()
    with pytest.raises(UserError, match=message):
        export("own")
