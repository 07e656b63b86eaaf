"""Renaming models and datasets: what is kept, what is made again, and that what is kept is what would be made anew."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

import entries.project
import entries.rename
from entries.lines import parse
from entries.rename import KEPT, rename
from stages.check import check_names
from stages.evaluate import evaluate
from stages.shell.errors import UserError
from stages.train import train
from tests.entries.small import PARAMS, PLOTS, ROOT, Killed, dying, everything, git, lock_blocks, noted, write
from tests.test_end_to_end import new_clone
from tests.toy import TOYS, Project

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC


def test_a_model_keeps_what_was_made_and_only_its_name_changes(small, capsys):
    before, blocks = everything(), lock_blocks()
    rename("steep", "slope")
    after = everything()
    assert after["params.yaml"].decode() == PARAMS.replace("  steep:\n", "  slope:\n")
    assert after["dvc.yaml"] == before["dvc.yaml"].replace(PLOTS.encode(), renamed(PLOTS).encode())
    assert lock_blocks() == {renamed(stage): renamed(block) for stage, block in blocks.items() if stage != "export@steep"}
    assert list(lock_blocks()) == [renamed(stage) for stage in blocks if stage != "export@steep"]
    kept = {path: content for path, content in before.items() if not path.endswith(("dvc.lock", ".yaml"))}
    for gone in ("models/steep/exported/model.onnx", "models/steep/.exported.part/half", "logs/triton/steep", "logs/triton/steep.int8"):
        kept = {path: content for path, content in kept.items() if not path.startswith(gone)}
    moved = {path.replace("/steep/", "/slope/"): content for path, content in kept.items()}
    assert {path: content for path, content in after.items() if not path.endswith(("dvc.lock", ".yaml"))} == moved
    said = capsys.readouterr().out
    assert said.startswith("The model steep is now called slope.\nKept, since the name is not in it: what train@steep and evaluate@steep")
    assert "\nTo run again, since what they make holds the name: export@slope.\nNext: dvc repro export@slope\n" in said
    assert "git add --all -- params.yaml dvc.yaml dvc.lock models/steep models/slope &&" in said


def renamed(text):
    return text.replace("of steep alone", "of STEEP alone").replace("steep", "slope").replace("of STEEP alone", "of steep alone")


def test_a_datasets_raw_files_stay_where_they_are_and_its_models_follow(small, capsys):
    before, blocks = everything(), lock_blocks()
    rename("line", "points")
    expected = PARAMS.replace("  line:\n", "  points:\n").replace("dataset: line", "dataset: points")
    assert Path("params.yaml").read_text() == expected
    assert set(before) - set(everything()) == {"data/line/processed/meta.json"} and set(everything()) < set(before)
    assert lock_blocks() == {stage: block for stage, block in blocks.items() if stage != "preprocess@line"}
    said = capsys.readouterr().out
    assert "holds the name: preprocess@points, train@steep, train@flat.\nNext: dvc repro\nnote: its raw files stay" in said
    rename("points", "line")
    assert Path("params.yaml").read_text() == PARAMS
    assert parse(Path("dvc.yaml").read_text()) == parse(before["dvc.yaml"].decode())


def test_a_path_of_a_dataset_in_dvc_yaml_follows_and_that_of_its_source_does_not(small):
    stage = "  both:\n    cmd: cat data/line/processed/meta.json data/line/raw/train.csv\n\n"
    text = Path("dvc.yaml").read_text().replace("\nplots:\n", f"\n{stage}plots:\n")
    Path("dvc.yaml").write_text(text)
    rename("line", "points")
    assert Path("dvc.yaml").read_text() == text.replace("data/line/processed", "data/points/processed")


def test_what_dvc_lock_says_of_the_new_name_is_what_dvc_expects(small):
    """Command, params and outputs: only what lies there differs, since nothing was really built."""
    rename("steep", "slope")
    with Repo(".") as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        for name in ("train@slope", "evaluate@slope"):
            assert not stages[name].changed_stage(), "its command is the one that dvc.lock notes"
            noted_outs = {Path(out.fs_path).name for out in stages[name].outs if out.hash_info}
            assert noted_outs >= {"training.json" if name == "train@slope" else "metrics.json"}
        assert not [out for out in stages["export@slope"].outs if out.hash_info]


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("steep", "flat", "params.yaml has a model flat already: choose another name."),
        ("steep", "steep", "params.yaml has a model steep already: choose another name."),
        ("stepe", "slope", "there is no model, dataset or source 'stepe' in params.yaml, models/, data/ or dvc.lock; did you mean steep?"),
        ("steep", "kept", "models/kept holds what was made for a model kept: choose another name, or make remove NAME=models/kept."),
        ("steep", "noted", "dvc.lock holds what was made for a model noted: choose another name, or make remove NAME=models/noted."),
        ("gone", "slope", "params.yaml has no model gone, only leftovers of it: make remove NAME=models/gone."),
        (
            "data/bare",
            "slope",
            "bare is the name of a source, which this command does not rename: change it by hand, also in `raw` of its "
            "datasets, run dvc repro, then make remove NAME=data/bare.",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(small, old, new, refused):
    write("models/kept/notes.md", "mine")
    write("models/gone/training.json", "{}")
    Path("params.yaml").write_text(PARAMS.replace("sources:\n", "sources:\n  bare: {kind: points}\n"))
    lock = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(lock + lock_text("noted"))
    before = everything()
    with pytest.raises(UserError) as error:
        rename(old, new)
    assert str(error.value) == refused
    assert everything() == before


def lock_text(name):
    """An entry of dvc.lock for the training of another model."""
    from dvc.utils.serialize import dumps_yaml

    entry = noted("train", "steep") | {"cmd": f"python -m pipelines.dvc.known python -m stages.train {name}"}
    return dumps_yaml({"stages": {f"train@{name}": entry}}).partition("\n")[2]


@pytest.mark.parametrize("name", ["a.b", "../x", "a b", "", "-a", "_a", "a/b", "ü", "a\n", "a", "0a", "A-_9"])
def test_a_name_is_one_that_the_check_takes(small, name):
    from types import SimpleNamespace

    try:
        check_names(SimpleNamespace(sources={}, datasets={}, recipes={}, models={name: {}}))
    except UserError as error:
        expected = str(error).partition("; expected ")[2]
        with pytest.raises(UserError, match=f"expected {expected}"):
            rename("steep", name)
    else:
        rename("steep", name)
        assert name in parse(Path("params.yaml").read_text())["models"]


def test_a_name_that_looks_like_a_number_stays_a_name(small):
    rename("steep", "2024")
    assert list(parse(Path("params.yaml").read_text())["models"]) == ["2024", "flat"]
    with Repo(".") as repo:
        assert "train@2024" in {stage.addressing for stage in repo.index.stages}
    rename("2024", "steep")
    assert list(parse(Path("params.yaml").read_text())["models"]) == ["steep", "flat"]


def test_a_dry_run_shows_it_and_changes_nothing(small, capsys):
    before = everything()
    rename("steep", "slope", dry_run=True)
    assert everything() == before
    said = capsys.readouterr().out
    assert "The model steep would be called slope.\n" in said


@pytest.mark.parametrize(("old", "new"), [("steep", "slope"), ("line", "points")])
def test_a_renaming_that_is_killed_anywhere_is_ended_by_the_same_command(small, tmp_path, monkeypatch, old, new):
    """Before each write of a file, each deletion and each move."""

    shutil.copytree(small, tmp_path / "whole")
    monkeypatch.chdir(tmp_path / "whole")
    rename(old, new)
    expected, was_killed, place = everything(), True, 0
    while was_killed:
        shutil.copytree(small, tmp_path / str(place))
        monkeypatch.chdir(tmp_path / str(place))
        was_killed, steps = False, iter(range(1000))
        with monkeypatch.context() as patch:
            for thing, name in ((entries.project, "replace"), (entries.rename, "delete"), (Path, "rename")):
                patch.setattr(thing, name, dying(getattr(thing, name), steps, place))
            try:
                rename(old, new)
            except Killed:
                was_killed = True
        if was_killed:
            rename(old, new)
        assert everything() == expected
        place += 1
    assert place >= 8


def test_a_name_that_was_changed_by_hand_is_followed(small):
    Path("params.yaml").write_text(PARAMS.replace("  steep:\n", "  slope:\n"))
    rename("steep", "slope")
    assert Path("params.yaml").read_text() == PARAMS.replace("  steep:\n", "  slope:\n")
    assert Path("models/slope/training.json").exists() and "train@slope" in lock_blocks()
    assert list(parse(Path("dvc.yaml").read_text())["artifacts"]) == ["slope", "flat"]


def test_released_versions_keep_their_name_and_that_is_said(small, capsys):
    git("tag", "--annotate", "--message", "released", "steep@v1.0.0")
    rename("steep", "slope")
    said = capsys.readouterr().out
    assert "note: released versions stay under the name steep: steep@v1.0.0.\n" in said


@pytest.mark.parametrize("toy", sorted(TOYS))
def test_the_bytes_that_are_kept_do_not_hold_the_models_name(tmp_path, monkeypatch, toy):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, toy)
    project.params["models"]["another-name"] = project.params["models"]["own"]
    project.write()
    made = []
    for name in ("own", "another-name"):
        train(name)
        evaluate(name)
        made.append(files_below(Path("models") / name))
    assert made[0] == made[1] and len(made[0]) == 8
    assert KEPT == ("train", "evaluate")


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_after_a_renaming_nothing_is_trained_and_a_forced_rebuild_gives_the_same_bytes(tmp_path):
    clone = new_clone(tmp_path / "clone", {"line_gd": 3})
    clone.repro()
    clone.commit()
    before = files_below(clone.root / "models/line_gd")
    command = [sys.executable, "-m", "entries.rename", "line_gd", "plain"]
    environment = clone.environment | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=clone.root, env=environment, check=True)
    assert clone.repro() == {"check", "export@plain"}
    carried = files_below(clone.root / "models/plain")
    same = {path for path in before if not path.startswith("exported/")}
    assert {path: carried[path] for path in same} == {path: before[path] for path in same}
    shutil.rmtree(clone.root / "logs/resume")
    assert clone.repro("--force", "--single-item", "train@plain", "evaluate@plain") == {"train@plain", "evaluate@plain"}
    rebuilt = files_below(clone.root / "models/plain")
    assert {path: rebuilt[path] for path in same} == {path: before[path] for path in same}
    assert clone.repro() == set()
    command[-2:] = ["line", "points"]
    subprocess.run(command, cwd=clone.root, env=environment, check=True)
    assert clone.repro() == {"check", "preprocess@points", "train@plain", "evaluate@plain", "export@plain"}
    assert clone.repro() == set()
