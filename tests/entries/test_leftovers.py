"""What is left of models and datasets that have no entry any more."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.running.leftovers import leftovers, notice

ENTRIES: dict[str, dict[str, Any]] = {"sources": {"points": {}}, "datasets": {"points": {}}, "models": {"kept": {}}}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(*files):
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("")


def found(*stages):
    """Of files, and of a dvc.lock with these stages."""
    return leftovers(ENTRIES, stages, Path.cwd())


@pytest.mark.parametrize(
    "file", ["models/gone/training.json", "models/gone/exported/signature.json", "data/gone/processed/meta.json", "data/gone/raw/.source"]
)
def test_what_a_stage_wrote_for_an_entry_that_is_gone_is_found(file):
    make(file, file.replace("gone", "kept" if file.startswith("models") else "points"))
    assert found() == ["/".join(Path(file).parts[:2])]


@pytest.mark.parametrize("stage", ["download", "preprocess", "train", "evaluate", "export"])
def test_what_dvc_lock_notes_of_an_entry_that_is_gone_is_found(stage):
    folder = "data" if stage in ("download", "preprocess") else "models"
    assert found("check", f"{stage}@gone", "train@kept", "download@points", "score@gone") == [f"{folder}/gone"]


def test_what_people_keep_in_the_folders_is_no_leftover():
    make("data/README.md", "data/own/raw/table.csv", "data/own/raw.dvc", "data/copy/raw/.source", "data/copy/raw.dvc", "data/checked.json")
    make("models/README.md", "models/pretrained/checkpoint.safetensors", "models/pretrained/metrics.json", "models/old.onnx")
    assert found("check") == []


def test_raw_files_that_a_dataset_reads_are_in_use_without_a_source_too(monkeypatch):
    make("data/gone/raw/.source", "data/points/raw/.source", "data/other/raw/.source")
    monkeypatch.setitem(ENTRIES, "datasets", {"points": {"raw": "data/other/raw"}})
    assert found("download@gone", "download@other") == ["data/gone"]


def test_a_folder_is_named_once():
    make("data/gone/raw/.source", "data/gone/processed/meta.json")
    assert found("download@gone", "preprocess@gone") == ["data/gone"]


def test_nothing_built_has_no_leftovers():
    assert leftovers({}, [], Path.cwd()) == []


def test_the_notice_has_the_command():
    assert notice(["models/a"]).endswith("still hold something of it: make remove NAME=models/a")
    assert notice(["data/b", "models/a"]).endswith('make remove NAME="data/b models/a"')
