"""Removing models and datasets: what goes, what stays, what is refused, and that a removal that was killed is ended by the next."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

import entries.project
import entries.remove
from entries.lines import parse
from entries.remove import remove
from pipelines.dvc.errors import GraphError
from pipelines.running.leftovers import leftovers
from pipelines.running.locks import BusyError, alone
from stages.shell.errors import UserError
from tests.entries.small import PARAMS, ROOT, Killed, dying, everything, git, lock_blocks, write

pytestmark = [
    pytest.mark.usefixtures("small"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of pygtrie, by DVC
]


def run(*arguments):
    """The command line; its output and its exit code."""
    command = [sys.executable, "-m", "entries.remove", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def without(files, name):
    """The files but those in folders of the name."""
    return {path: content for path, content in files.items() if not {name, f"{name}.int8"} & set(Path(path).parts)}


def test_all_of_a_model_goes_and_nothing_of_the_others(capsys):
    before, blocks = everything(), lock_blocks()
    remove(["flat"])
    after = everything()
    changed = {"params.yaml", "dvc.yaml", "dvc.lock"}
    assert {path: content for path, content in after.items() if path not in changed} == {
        path: content for path, content in without(before, "flat").items() if path not in changed
    }
    place = PARAMS.index("\n  # steep is not flat\n")
    assert after["params.yaml"].decode() == PARAMS[:place]
    assert after["dvc.yaml"] == before["dvc.yaml"].replace(b"  flat: {path: models/flat/exported/model.onnx, type: model}\n", b"")
    assert lock_blocks() == {stage: block for stage, block in blocks.items() if not stage.endswith("@flat")}
    assert leftovers(parse(after["params.yaml"].decode()), lock_blocks(), Path.cwd()) == []
    said = capsys.readouterr().out
    assert "note: dvc.yaml: the plot 'of both' draws files of others beside these: change it by hand.\n" in said
    assert "note: prefect.yaml names flat: change it by hand.\n" in said
    assert "To commit it: git add --update -- params.yaml dvc.yaml dvc.lock models/flat && git commit --message 'Remove flat'\n" in said
    with Repo(".") as repo:  # DVC can still read all of it
        assert {stage.name for stage in repo.index.stages if "flat" in stage.name} == set()


def test_what_it_says_to_type_commits_all_of_it(capsys):
    remove(["flat"])
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("To commit it: ")
    subprocess.run(command.replace("git commit", "git -c user.name=t -c user.email=t@t commit"), shell=True, check=True)  # noqa: S602
    assert git("status", "--porcelain") == ""
    assert git("ls-files", "models/flat") == ""


@pytest.mark.parametrize(("names", "left"), [(["flat"], ["of steep alone", "of both"]), (["steep"], ["of both"]), (["steep", "flat"], [])])
def test_a_plot_goes_with_the_last_model_that_it_draws(names, left):
    remove(names)
    assert [name for plot in parse(Path("dvc.yaml").read_text())["plots"] for name in plot] == left


def test_everything_can_go_at_once():
    remove(["steep", "models/flat", "line", "flat", "hours"])
    assert [path for path in everything() if path.startswith(("models", "data"))] == []
    assert [section for section in ("models", "datasets", "sources") if parse(Path("params.yaml").read_text())[section] != {}] == []
    assert list(lock_blocks()) == ["check"]
    with Repo(".") as repo:
        assert [stage.name for stage in repo.index.stages] == ["check"]


def test_a_dry_run_shows_it_and_changes_nothing(capsys):
    before = everything()
    remove(["steep"], dry_run=True)
    assert everything() == before and not Path("logs/running").exists()
    said = capsys.readouterr().out
    assert said.startswith("model steep: would remove\n  params.yaml: models.steep\n  dvc.yaml: artifacts.steep\n  dvc.lock: train@steep\n")
    assert "\n  dvc.yaml: a plot\n" in said
    assert "\n  models/steep/training.json\n" in said and "commit" not in said


def test_a_dataset_that_models_use_is_refused_with_their_names():
    before = everything()
    said, code = run("line")
    assert code == 1
    assert said == 'error: the dataset line is used by steep, flat: remove these first, or with it (make remove NAME="line steep flat").\n'
    assert everything() == before


def change_params(*changes):
    text = Path("params.yaml").read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    Path("params.yaml").write_text(text)


SHARED = ("raw: data/hours/raw", "raw: data/line/raw")
SOURCE_OF_HOURS = "  hours: {kind: points, train: [[1, 0]]}\n"


def test_a_source_goes_with_its_last_dataset(capsys):
    before, blocks = everything(), lock_blocks()
    remove(["hours"])
    assert without(before, "hours").keys() == everything().keys()
    dataset = PARAMS[PARAMS.index("\n  # of hours") : PARAMS.index("\nrecipes:")]
    assert Path("params.yaml").read_text() == PARAMS.replace(SOURCE_OF_HOURS, "").replace(dataset, "")
    assert lock_blocks() == {stage: block for stage, block in blocks.items() if not stage.endswith("@hours")}
    said = capsys.readouterr().out
    assert said.startswith("dataset hours: removed\n  params.yaml: datasets.hours\n  dvc.lock: preprocess@hours\n  data/hours/processed\n")
    assert "\nsource hours: removed\n  params.yaml: sources.hours\n  dvc.lock: download@hours\n  data/hours/raw\nnote: " in said
    assert "note: data/hours/raw goes with the last dataset that reads it, hours.\n" in said


def test_a_source_that_another_dataset_reads_stays(capsys):
    change_params(SHARED)
    before = everything()
    remove(["hours"])
    assert "note: data/line/raw stays, for line.\n" in capsys.readouterr().out
    assert set(before) - set(everything()) == {"data/hours/processed/meta.json"}
    assert set(parse(Path("params.yaml").read_text())["sources"]) == {"line", "hours"}  # of hours nobody spoke: no dataset read it
    remove(["hours"])
    assert set(parse(Path("params.yaml").read_text())["sources"]) == {"line"} and not Path("data/hours").exists()


def test_a_source_that_datasets_use_is_refused():
    change_params(("\n  hours:\n", "\n  times:\n"))
    remove(["hours"])  # what is left of the dataset of that name
    before = everything()
    assert "data/hours/raw/.source" in before and "data/hours/processed/meta.json" not in before
    with pytest.raises(UserError, match=r'^the source hours is used by times: remove .* \(make remove NAME="hours times"\)\.$'):
        remove(["hours"])
    assert everything() == before
    remove(["hours", "times"])
    assert "hours" not in Path("params.yaml").read_text().replace("# of hours", "") and not Path("data/hours").exists()


def test_what_is_left_of_a_source_goes_before_a_dataset_of_its_name(capsys):
    change_params(SHARED, (SOURCE_OF_HOURS, ""))
    assert leftovers(parse(Path("params.yaml").read_text()), lock_blocks(), Path.cwd()) == ["data/hours"]
    before = everything()
    remove(["data/hours"])
    assert set(before) - set(everything()) == {"data/hours/raw/.source", "data/hours/raw/train.csv"}
    assert "note: the dataset hours stays, since params.yaml has it.\n" in capsys.readouterr().out
    assert leftovers(parse(Path("params.yaml").read_text()), lock_blocks(), Path.cwd()) == []


def test_raw_files_in_another_place_stay():
    change_params(("raw: data/hours/raw", "raw: data/pictures/2024"))
    write("data/pictures/2024/a.csv", "mine")
    before = everything()
    remove(["hours"])
    assert set(before) - set(everything()) == {"data/hours/processed/meta.json"}


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("falt", "there is no model, dataset or source 'falt' in params.yaml, models/, data/ or dvc.lock; did you mean flat?"),
        ("data/flat", "there is no model, dataset or source 'data/flat'"),
        ("../flat", "there is no model, dataset or source '../flat'"),
        ("", "there is no model, dataset or source ''"),
        (".", "there is no model, dataset or source '.'"),
    ],
)
def test_an_unknown_name_is_refused(given, refused):
    before = everything()
    with pytest.raises(UserError) as error:
        remove(["hours", given])
    assert str(error.value).startswith(refused)
    assert everything() == before


def test_of_two_entries_of_one_name_the_folder_says_which():
    Path("params.yaml").write_text(PARAMS.replace("  hours:\n", "  flat:\n"))
    write("data/flat/raw/.source", "sample")
    with pytest.raises(UserError, match=r"^flat is a dataset and a model: say data/flat or models/flat\.$"):
        remove(["flat"])
    remove(["data/flat"])
    assert Path("models/flat/training.json").exists() and not Path("data/flat").exists()


def test_leftovers_of_an_entry_that_was_taken_out_by_hand_go():
    Path("params.yaml").write_text(PARAMS[: PARAMS.index("\n  # steep is not flat\n")])
    assert leftovers(parse(Path("params.yaml").read_text()), lock_blocks(), Path.cwd()) == ["models/flat"]
    remove(["flat"])
    assert not [path for path in everything() if "flat" in path] and "flat:" not in Path("dvc.yaml").read_text()
    assert leftovers(parse(Path("params.yaml").read_text()), lock_blocks(), Path.cwd()) == []


@pytest.mark.parametrize("names", [["flat"], ["hours"], ["line", "steep", "flat"]])
def test_a_removal_that_is_killed_anywhere_is_ended_by_the_same_command(small, tmp_path, monkeypatch, names):
    """Before each write of a file and each deletion."""

    shutil.copytree(small, tmp_path / "whole")
    monkeypatch.chdir(tmp_path / "whole")
    remove(names)
    expected, was_killed, place = everything(), True, 0
    while was_killed:
        shutil.copytree(small, tmp_path / str(place))
        monkeypatch.chdir(tmp_path / str(place))
        was_killed, steps = False, iter(range(1000))
        with monkeypatch.context() as patch:
            for module, name in ((entries.project, "replace"), (entries.remove, "delete"), (entries.remove.Removal, "tidy")):
                patch.setattr(module, name, dying(getattr(module, name), steps, place))
            try:
                remove(names)
            except Killed:
                was_killed = True
        if was_killed:
            remove(names)
        assert everything() == expected
        place += 1
    assert place >= 7


def test_files_that_no_stage_wrote_stay_and_are_named(capsys):
    write("models/flat/notes.md", "mine")
    write("models/flat/plots/mine.png", "mine")
    remove(["flat"])
    assert {path for path in everything() if path.startswith("models/flat")} == {"models/flat/notes.md", "models/flat/plots/mine.png"}
    assert "note: models/flat stays, with what no stage wrote: notes.md, plots.\n" in capsys.readouterr().out


def test_of_a_folder_that_is_a_link_the_link_alone_goes(tmp_path):
    write(str(tmp_path / "disk" / "model.onnx"), "far away")
    shutil.rmtree("models/flat/exported")
    Path("models/flat/exported").symlink_to(tmp_path / "disk")
    remove(["flat"])
    assert (tmp_path / "disk" / "model.onnx").read_text() == "far away" and not Path("models/flat").exists()


def add_own_data():
    """Raw data of one's own: in the folder, and added to DVC."""
    shutil.rmtree("data/hours/raw")
    git("rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "data/hours/raw")
    Path(".gitignore").write_text("/data/*/processed/\n")
    change_params((SOURCE_OF_HOURS, ""))
    write("data/hours/raw/table.csv", "1,2\n")
    with Repo(".") as repo:
        repo.add("data/hours/raw")


def test_raw_data_that_dvc_has_goes_with_its_file_and_ignored_line(capsys):
    add_own_data()
    git("add", "--all")
    git("commit", "--quiet", "--message", "own")
    assert Path("data/hours/.gitignore").read_text() == "/raw\n"
    remove(["hours"])
    assert not Path("data/hours").exists()
    assert "  data/hours/raw\n  data/hours/raw.dvc\n" in capsys.readouterr().out
    git("checkout", "--quiet", ".")  # and it can be brought back
    with Repo(".") as repo:
        repo.checkout("data/hours/raw.dvc")
    assert Path("data/hours/raw/table.csv").read_text() == "1,2\n"


def test_raw_data_of_ones_own_stays_as_long_as_a_dataset_reads_it():
    add_own_data()
    change_params(("    raw: data/line/raw\n", "    raw: data/hours/raw\n"))
    remove(["hours"])
    assert Path("data/hours/raw/table.csv").exists() and Path("data/hours/raw.dvc").exists()
    assert Path("data/hours/.gitignore").read_text() == "/raw\n"
    with pytest.raises(UserError, match="there is no model, dataset or source 'hours'"):
        remove(["hours"])
    remove(["line", "steep", "flat"])
    assert not Path("data/hours").exists()


@pytest.mark.parametrize("change", ["never added", "changed since", "cache cleared"])
def test_raw_data_that_nobody_could_bring_back_is_refused(change):
    add_own_data()
    if change == "never added":
        Path("data/hours/raw.dvc").unlink()
    elif change == "changed since":
        write("data/hours/raw/table.csv", "3,4\n")
    else:
        shutil.rmtree(".dvc/cache")
    before = everything()
    said, code = run("hours")
    assert code == 1 and said.startswith(
        "error: data/hours/raw was not made by a stage, and DVC's cache does not have it: move it away, or"
    )
    assert everything() == before
    remove(["hours"], yes=True)
    assert not Path("data/hours").exists()


def test_a_stage_that_somebody_added_and_that_reads_it_is_named():
    text = Path("dvc.yaml").read_text()
    stage = "  both:\n    cmd: cat models/flat/metrics.json\n    deps: [models/flat/metrics.json]\n    outs: [both.json]\n\n"
    Path("dvc.yaml").write_text(text.replace("\nplots:\n", f"\n{stage}plots:\n"))
    with pytest.raises(UserError, match=r"^dvc\.yaml: the stage both names models/flat: change or remove that stage first\.$"):
        remove(["flat"])


def test_an_entry_that_shares_its_line_is_left_to_a_person_and_nothing_is_changed():
    Path("params.yaml").write_text('{"datasets": {}, "models": {"flat": {"dataset": "line"}}}')
    before = everything()
    with pytest.raises(UserError, match=r"^models\.flat cannot be changed by this command, since it is not on lines of its own"):
        remove(["flat"])
    assert everything() == before


def test_what_was_never_built_goes_without_a_dvc_lock():
    Path("dvc.lock").unlink()
    Path("params.yaml").write_text(f"{PARAMS}\n  empty:\n")
    remove(["empty", "flat"])
    assert list(parse(Path("params.yaml").read_text())["models"]) == ["steep"] and not Path("dvc.lock").exists()


def test_released_versions_stay_and_are_named(capsys):
    git("tag", "--annotate", "--message", "released", "flat@v1.0.0")
    git("tag", "--annotate", "--message", "released", "flatter@v1.0.0")
    remove(["flat"])
    assert "note: released versions stay under the name flat: flat@v1.0.0.\n" in capsys.readouterr().out
    assert git("tag", "--list").split() == ["flat@v1.0.0", "flatter@v1.0.0"]


def test_while_a_rebuild_is_at_work_it_is_refused():
    before = everything()
    with alone("rebuild"), pytest.raises(BusyError, match=r"^rebuild .* is at work in this folder: wait for its end, or stop it\.$"):
        remove(["flat"])
    assert everything() == before


def test_while_dvc_runs_a_stage_of_it_it_is_refused():
    """As `dvc repro` notes what its stage writes; it has no lock on the repository while the command runs."""
    before = everything()
    note = "import os, sys\nfrom dvc.fs import localfs\nfrom dvc.rwlock import rwlock\n"
    note += "with rwlock('.dvc/tmp', localfs, 'dvc repro', [], [os.path.abspath('models/flat/training.json')], False):\n"
    note += "    print('at work', flush=True); sys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", note], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout.readline() == "at work\n"
        with pytest.raises(
            GraphError, match=r"^another command is at work on what is to be changed: .*dvc repro.*; wait until it has ended\.$"
        ):
            remove(["flat"])
        assert everything() == before
        stage.communicate()
    remove(["flat"])


def test_outside_a_repository_and_without_git_it_says_so_or_does_without(tmp_path, monkeypatch, capsys):
    shutil.rmtree(".git")
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    remove(["flat"])
    assert "git add" not in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    said, code = run("flat")
    assert (said, code) == ("error: params.yaml is not in this folder: run the command in the root of the repository.\n", 1)


def test_a_damaged_file_is_named_and_nothing_is_changed():
    lock = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(lock[: len(lock) // 2] + "\n<<<<<<< ours\n")
    before = everything()
    said, code = run("flat")
    assert code == 1 and "dvc.lock" in said and said.count("\n") == 1
    assert everything() == before
    Path("dvc.lock").write_text(lock)
    Path("dvc.yaml").write_text("stages: [")
    said, code = run("flat")
    assert code == 1 and said.startswith("error: unable to read: 'dvc.yaml'") and said.count("\n") == 1
