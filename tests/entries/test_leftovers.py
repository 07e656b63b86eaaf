"""What is left of models and datasets that have no entry any more is said by the stage `check` and by the flow, in the same words."""

from pathlib import Path

import pytest

from pipelines.running.leftovers import FOLDERS, MARKS, STAGES, leftovers, notice
from stages.shell.notices import BELONGINGS
from stages.shell.notices import leftovers as leftovers_of_check
from tests.entries.small import write

ENTRIES = {"sources": {"points": {}}, "datasets": {"points": {"raw": "data/read/raw"}}, "models": {"kept": {}}}


@pytest.mark.parametrize(
    ("files", "stages", "expected"),
    [
        ([], [], []),
        (["models/gone/training.json", "models/kept/training.json"], [], ["models/gone"]),
        (["models/gone/exported/signature.json"], [], ["models/gone"]),
        (["data/gone/processed/meta.json", "data/points/processed/meta.json"], [], ["data/gone"]),
        (["data/gone/raw/.source", "data/points/raw/.source"], ["check", "train@kept", "download@points", "score@gone"], ["data/gone"]),
        (["data/gone/raw/.source", "data/gone/processed/meta.json"], ["download@gone", "preprocess@gone"], ["data/gone"]),
        ([], ["download@gone", "train@gone", "evaluate@gone", "export@gone", "report@gone"], ["data/gone", "models/gone"]),
        # What a `make new` that was killed leaves, and the schema of a table that is no more.
        (["data/gone/.new", "data/points/.new"], [], ["data/gone"]),
        (["data/schemas/gone.yaml", "data/schemas/points.yaml"], [], ["data/gone"]),
        # Raw files that a dataset reads are in use, without a source too.
        (["data/read/raw/.source"], ["download@read"], []),
        # What people keep in these folders.
        (["data/README.md", "data/own/raw/table.csv", "data/own/raw.dvc", "data/copy/raw/.source", "data/copy/raw.dvc"], [], []),
        (["models/README.md", "models/pretrained/checkpoint.safetensors", "models/pretrained/metrics.json", "models/old.onnx"], [], []),
    ],
)
def test_both_find_what_has_no_entry_and_nothing_else(tmp_path, monkeypatch, files, stages, expected):
    monkeypatch.chdir(tmp_path)
    for file in files:
        write(file, "")
    Path("dvc.lock").write_text("schema: '2.0'\nstages:\n" + "".join(f"  {stage}:\n    cmd: python\n" for stage in stages))
    assert leftovers(ENTRIES, stages, Path.cwd()) == leftovers_of_check(ENTRIES) == expected


def test_the_two_look_at_the_same_stages_and_files():
    assert {section: (FOLDERS[section], BELONGINGS[section][1], MARKS[section]) for section in FOLDERS} == BELONGINGS
    assert {section: set(stages.split("|")) for section, (_, stages, _) in BELONGINGS.items()} == STAGES


def test_the_notice_has_the_command():
    assert notice(["models/a"]).endswith("still hold something of it: make remove NAME=models/a")
    assert notice(["data/b", "models/a"]).endswith('make remove NAME="data/b models/a"')
