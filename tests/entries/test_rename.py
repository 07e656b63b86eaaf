"""Renaming models and datasets: what is kept, what is made again, and that what is kept is what would be made anew."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml

import entries.project
import entries.rename
from entries.lines import parse
from entries.rename import KEPT, rename
from stages.check import check_names
from stages.evaluate import evaluate
from stages.shell.errors import UserError
from stages.train import train
from tests.entries.small import PARAMS, PLOTS, everything, kill_everywhere, lock_blocks, noted, write
from tests.toy import Project

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC


def models():
    return list(parse(Path("params.yaml").read_text())["models"])


def renamed(text):
    return text.replace("of steep alone", "of STEEP alone").replace("steep", "slope").replace("of STEEP alone", "of steep alone")


def test_a_model_keeps_what_was_made_and_only_its_name_changes(small, capsys):
    before, blocks = everything(), lock_blocks()
    rename("steep", "slope")
    after = everything()
    assert after["params.yaml"].decode() == PARAMS.replace("  steep:\n", "  slope:\n")
    assert after["dvc.yaml"] == before["dvc.yaml"].replace(PLOTS.encode(), renamed(PLOTS).encode())
    again = ("export@steep", "report@steep")
    assert list(lock_blocks().items()) == [(renamed(stage), renamed(block)) for stage, block in blocks.items() if stage not in again]
    gone = ("models/steep/exported", "models/steep/report.html", "models/steep/.exported.part", "logs/triton/steep", "dvc.", "params.yaml")
    kept = {path.replace("/steep/", "/slope/"): content for path, content in before.items() if not path.startswith(gone)}
    assert {path: content for path, content in after.items() if not path.startswith(gone)} == kept
    said = capsys.readouterr().out
    holding = "To run again, since what they make holds the name: export@slope, report@slope."
    assert said.startswith(f"The model steep is now called slope. {holding}\n")
    assert "\nNext: dvc repro export@slope report@slope\n" in said
    assert "git add --all -- params.yaml dvc.yaml dvc.lock models/steep models/slope &&" in said
    with Repo(".") as repo:
        stages = {stage.addressing: stage for stage in repo.index.stages}
        for name, out in {"train@slope": "training.json", "evaluate@slope": "metrics.json"}.items():
            assert not stages[name].changed_stage(), "its command is the one that dvc.lock notes"
            assert out in {Path(out.fs_path).name for out in stages[name].outs if out.hash_info}
        assert not [out for stage in ("export@slope", "report@slope") for out in stages[stage].outs if out.hash_info]


def test_a_table_s_schema_gets_the_new_name_of_its_dataset(small):
    write("data/schemas/line.yaml", "columns: {}")
    write("data/schemas/other.yaml", "somebody's")
    with pytest.raises(UserError, match=r"^data/other holds what was made for a dataset other: "):
        rename("line", "other")
    rename("line", "points")
    assert Path("data/schemas/points.yaml").read_text() == "columns: {}" and not Path("data/schemas/line.yaml").exists()


def test_a_datasets_raw_files_stay_where_they_are_and_its_models_follow(small, capsys):
    before, blocks = everything(), lock_blocks()
    stage = "  both:\n    cmd: cat data/line/processed/meta.json data/line/raw/train.csv\n\n"
    graph = before["dvc.yaml"].decode().replace("\nplots:\n", f"\n{stage}plots:\n")
    Path("dvc.yaml").write_text(graph)
    rename("line", "points")
    expected = PARAMS.replace("  line:\n", "  points:\n").replace("dataset: line", "dataset: points")
    assert Path("params.yaml").read_text() == expected
    assert Path("dvc.yaml").read_text() == graph.replace("data/line/processed", "data/points/processed")
    gone = {"data/line/processed/meta.json", "data/line/audit/verdict.json"}
    assert set(before) - set(everything()) == gone and set(everything()) < set(before)
    assert lock_blocks() == {stage: block for stage, block in blocks.items() if stage not in ("preprocess@line", "audit@line")}
    said = capsys.readouterr().out
    assert "holds the name: preprocess@points, audit@points, train@steep, train@flat.\nNext: dvc repro\n" in said
    rename("points", "line")
    assert (Path("params.yaml").read_text(), Path("dvc.yaml").read_text()) == (PARAMS, graph)


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        ("steep", "flat", "params.yaml has a model flat already: choose another name."),
        ("stepe", "slope", "there is no model, dataset or source 'stepe' in params.yaml, models/, data/ or dvc.lock; did you mean steep?"),
        ("steep", "kept", "models/kept holds what was made for a model kept: choose another name, or make remove NAME=models/kept."),
        ("steep", "noted", "dvc.lock holds what was made for a model noted: choose another name, or make remove NAME=models/noted."),
        ("gone", "slope", "params.yaml has no model gone, only leftovers of it: make remove NAME=models/gone."),
        (
            "data/bare",
            "slope",
            "bare is the name of a source, which this command does not rename: change it by hand, also in `raw` of its ",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(small, old, new, refused):
    write("models/kept/notes.md", "mine")
    write("models/gone/training.json", "{}")
    Path("params.yaml").write_text(PARAMS.replace("sources:\n", "sources:\n  bare: {kind: points}\n"))
    with Path("dvc.lock").open("a") as lock:
        lock.write(dumps_yaml({"stages": {"train@noted": noted("train", "steep")}}).partition("\n")[2])
    before = everything()
    with pytest.raises(UserError) as error:
        rename(old, new)
    assert str(error.value).startswith(refused)
    assert everything() == before


def test_a_name_is_one_that_the_check_takes(small):
    for name in ("a.b", "../x", "a b", "", "-a", "_a", "a/b", "ü", "a\n"):
        with pytest.raises(UserError) as expected:
            check_names(SimpleNamespace(sources={}, datasets={}, recipes={}, models={name: {}}))
        with pytest.raises(UserError, match=f"expected {str(expected.value).partition('; expected ')[2]}"):
            rename("steep", name)
    for old, new in (("steep", "0a"), ("0a", "A-_9"), ("A-_9", "2024"), ("2024", "steep")):  # which would be a number
        check_names(SimpleNamespace(sources={}, datasets={}, recipes={}, models={new: {}}))
        rename(old, new)
        assert models() == [new, "flat"]
        with Repo(".") as repo:
            assert f"train@{new}" in {stage.addressing for stage in repo.index.stages}


def test_a_dry_run_says_it_and_changes_nothing(small, capsys):
    before = everything()
    rename("steep", "slope", dry_run=True)
    assert everything() == before
    assert "The model steep would be called slope. To run again" in capsys.readouterr().out


@pytest.mark.parametrize(("old", "new"), [("steep", "slope"), ("line", "points")])
def test_a_renaming_that_is_killed_anywhere_is_ended_by_the_same_command(small, tmp_path, monkeypatch, old, new):
    """Before each write of a file, each deletion and each move."""
    steps = [(entries.project, "replace"), (entries.rename, "delete"), (Path, "rename")]
    assert kill_everywhere(lambda: rename(old, new), steps, small, tmp_path, monkeypatch) >= 7


def test_a_name_that_was_changed_by_hand_is_followed(small):
    Path("params.yaml").write_text(PARAMS.replace("  steep:\n", "  slope:\n"))
    rename("steep", "slope")
    assert Path("params.yaml").read_text() == PARAMS.replace("  steep:\n", "  slope:\n")
    assert Path("models/slope/training.json").exists() and "train@slope" in lock_blocks()
    assert list(parse(Path("dvc.yaml").read_text())["artifacts"]) == ["slope", "flat"]


@pytest.mark.parametrize("toy", ["codes", "tags"])
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
    assert made[0] == made[1] and len(made[0]) == 7
    assert KEPT == ("train", "evaluate")


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
