"""One line names the models that other versions of the libraries made, in the stage check and in the flows alike."""

import importlib.metadata
import json

import pytest

from pipelines.running.installed import notice
from stages.common.files import write_files
from stages.modelling.model import as_checkpoint
from stages.shell.notices import made_with_others
from tests.toy import TOYS, toy, toy_model

TRAINING = {"best_epoch": 1, "epochs": 1, "recipe": {}, "seed": 0}


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "models/own/checkpoint.safetensors"
    write_files({path: as_checkpoint(toy_model("numbers").network, TOYS["numbers"], toy("numbers").meta, TRAINING)})
    return path


@pytest.fixture(params=[notice, made_with_others])
def said(request):
    return request.param


def test_what_is_installed_is_not_named(checkpoint, said):
    assert said(["own", "never_trained"]) is None


def test_another_version_is_named_with_the_models_and_the_way_to_rebuild(checkpoint, said, monkeypatch):
    real = importlib.metadata.version
    other = {"torch": "9.9"}
    for module in ("pipelines.running.installed", "stages.shell.notices"):
        monkeypatch.setattr(f"{module}.version", lambda library: other.get(library) or real(library))
    assert said(["own"]) == (
        f"own: made with torch {real('torch')}, but other versions are installed now; "
        "to rebuild one with those installed now: dvc repro --force train@own"
    )


@pytest.mark.parametrize("content", [b"", b"\xff" * 9, b"\x02\0\0\0\0\0\0\0{}", b"\x04\0\0\0\0\0\0\0null", b"\xff" * 8 + b"{"])
def test_what_is_not_a_checkpoint_is_left_to_the_stages(checkpoint, said, content):
    checkpoint.write_bytes(content)
    assert said(["own"]) is None


def test_versions_that_say_nothing_are_none(checkpoint, said):
    header = json.dumps({"__metadata__": {"reprise": json.dumps({"versions": ["torch"]})}}).encode()
    checkpoint.write_bytes(len(header).to_bytes(8, "little") + header)
    assert said(["own"]) is None
