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
from entries import lines
from entries.lines import parse
from entries.remove import remove
from pipelines.dvc.errors import GraphError
from pipelines.running.leftovers import leftovers
from pipelines.running.locks import BusyError, alone
from stages.shell.errors import UserError
from tests.entries.small import PARAMS, ROOT, everything, git, kill_everywhere, lock_blocks, write

pytestmark = [
    pytest.mark.usefixtures("small"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of pygtrie, by DVC
]
SHARED = ("raw: data/hours/raw", "raw: data/line/raw")
SOURCE_OF_HOURS = "  hours: {kind: points, train: [[1, 0]]}\n"


def run(*arguments):
    """The command line; its output and its exit code."""
    command = [sys.executable, "-m", "entries.remove", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr, done.returncode


def without(files, name):
    """The files but those in folders of the name."""
    return {path: content for path, content in files.items() if not {name, f"{name}.int8"} & set(Path(path).parts)}


def change_params(*changes):
    text = Path("params.yaml").read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    Path("params.yaml").write_text(text)


def params():
    return parse(Path("params.yaml").read_text())


def left_over():
    return leftovers(params(), lock_blocks(), Path.cwd())


def test_all_of_a_model_goes_and_nothing_of_the_others(capsys):
    before, blocks = everything(), lock_blocks()
    git("tag", "--annotate", "--message", "released", "flat@v1.0.0")
    remove(["flat"])
    after = everything()
    changed = {"params.yaml", "dvc.yaml", "dvc.lock"}
    assert {path: content for path, content in after.items() if path not in changed} == {
        path: content for path, content in without(before, "flat").items() if path not in changed
    }
    assert after["params.yaml"].decode() == PARAMS[: PARAMS.index("\n  # steep is not flat\n")]
    assert after["dvc.yaml"] == before["dvc.yaml"].replace(b"  flat: {path: models/flat/exported/model.onnx, type: model}\n", b"")
    assert lock_blocks() == {stage: block for stage, block in blocks.items() if not stage.endswith("@flat")}
    assert left_over() == [] and git("tag").split() == ["flat@v1.0.0"]
    said = capsys.readouterr().out
    assert "note: dvc.yaml: the plot 'of both' draws files of others beside these: change it by hand.\n" in said
    assert "note: prefect.yaml names flat: change it by hand.\n" in said
    with Repo(".") as repo:  # DVC can still read all of it
        assert {stage.name for stage in repo.index.stages if "flat" in stage.name} == set()
    command = said.splitlines()[-1].removeprefix("To commit it: ")
    assert command == "git add --update -- params.yaml dvc.yaml dvc.lock models/flat && git commit --message 'Remove flat'"
    subprocess.run(command.replace("git commit", "git -c user.name=t -c user.email=t@t commit"), shell=True, check=True)  # noqa: S602
    assert git("status", "--porcelain") == git("ls-files", "models/flat") == ""


@pytest.mark.parametrize(("names", "left"), [(["flat"], ["of steep alone", "of both"]), (["steep"], ["of both"]), (["steep", "flat"], [])])
def test_a_plot_goes_with_the_last_model_that_it_draws(names, left):
    remove(names)
    assert [name for plot in parse(Path("dvc.yaml").read_text())["plots"] for name in plot] == left


def test_everything_can_go_at_once():
    remove(["steep", "models/flat", "line", "flat", "hours"])
    assert [path for path in everything() if path.startswith(("models", "data"))] == []
    assert [section for section in ("models", "datasets", "sources") if params()[section] != {}] == []
    assert list(lock_blocks()) == ["check"]
    with Repo(".") as repo:
        assert [stage.name for stage in repo.index.stages] == ["check"]


def test_a_dry_run_shows_it_and_changes_nothing(capsys):
    before = everything()
    remove(["steep"], dry_run=True)
    assert everything() == before and not Path("logs/running").exists()
    said = capsys.readouterr().out
    assert said.startswith("model steep: would remove\n  params.yaml: models.steep\n  dvc.yaml: artifacts.steep\n")
    assert "\n  dvc.lock: train@steep\n" in said and "\n  dvc.yaml: a plot\n" in said
    assert "\n  models/steep/training.json\n" in said and "commit" not in said


def test_a_source_goes_with_its_last_dataset(capsys):
    before, blocks = everything(), lock_blocks()
    remove(["hours"])
    assert without(before, "hours").keys() == everything().keys()
    dataset = PARAMS[PARAMS.index("\n  # of hours") : PARAMS.index("\nrecipes:")]
    assert Path("params.yaml").read_text() == PARAMS.replace(SOURCE_OF_HOURS, "").replace(dataset, "")
    assert lock_blocks() == {stage: block for stage, block in blocks.items() if not stage.endswith("@hours")}
    said = capsys.readouterr().out
    assert said.startswith(
        "dataset hours: removed\n  params.yaml: datasets.hours\n  dvc.lock: preprocess@hours\n"
        "  dvc.lock: audit@hours\n  data/hours/processed\n  data/hours/audit\n"
    )
    assert "\nsource hours: removed\n  params.yaml: sources.hours\n  dvc.lock: download@hours\n  data/hours/raw\nnote: " in said
    assert "note: data/hours/raw goes with the last dataset that reads it, hours.\n" in said


def test_a_source_that_another_dataset_reads_stays(capsys):
    change_params(SHARED)
    before = everything()
    remove(["hours"])
    assert "note: data/line/raw stays, for line.\n" in capsys.readouterr().out
    assert set(before) - set(everything()) == {"data/hours/processed/meta.json", "data/hours/audit/verdict.json"}
    assert set(params()["sources"]) == {"line", "hours"}  # of hours nobody spoke: no dataset read it
    remove(["hours"])
    assert set(params()["sources"]) == {"line"} and not Path("data/hours").exists()


def test_what_others_use_is_refused_with_their_names():
    change_params(("\n  hours:\n", "\n  times:\n"))
    remove(["hours"])  # what is left of the dataset of that name
    before = everything()
    assert "data/hours/raw/.source" in before and "data/hours/processed/meta.json" not in before
    with pytest.raises(UserError, match=r'^the source hours is used by times: remove .* \(make remove NAME="hours times"\)\.$'):
        remove(["hours"])
    said, code = run("line")
    assert code == 1
    assert said == 'error: the dataset line is used by steep, flat: remove these first, or with it (make remove NAME="line steep flat").\n'
    assert everything() == before


def test_what_is_left_of_a_source_goes_before_a_dataset_of_its_name(capsys):
    change_params(SHARED, (SOURCE_OF_HOURS, ""))
    assert left_over() == ["data/hours"]
    before = everything()
    remove(["data/hours"])
    assert set(before) - set(everything()) == {"data/hours/raw/.source", "data/hours/raw/train.csv"}
    assert "note: the dataset hours stays, since params.yaml has it.\n" in capsys.readouterr().out
    assert left_over() == []


def test_leftovers_of_an_entry_that_was_taken_out_by_hand_go():
    Path("params.yaml").write_text(PARAMS[: PARAMS.index("\n  # steep is not flat\n")])
    assert left_over() == ["models/flat"]
    remove(["flat"])
    assert not [path for path in everything() if "flat" in path] and "flat:" not in Path("dvc.yaml").read_text()


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ("falt", "there is no model, dataset or source 'falt' in params.yaml, models/, data/ or dvc.lock; did you mean flat?"),
        ("data/flat", "there is no model, dataset or source 'data/flat'"),
        ("../flat", "there is no model, dataset or source '../flat'"),
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
    change_params(("\n  hours:\n", "\n  flat:\n"))
    write("data/flat/raw/.source", "sample")
    with pytest.raises(UserError, match=r"^flat is a dataset and a model: say data/flat or models/flat\.$"):
        remove(["flat"])
    remove(["data/flat"])
    assert Path("models/flat/training.json").exists() and not Path("data/flat").exists()


def make_one():
    """A dataset and a model of the name flat, as `make new` makes them."""
    change_params(("\n  hours:\n    kind", "\n  flat:\n    kind"), ("  flat:\n    dataset: line\n", "  flat:\n    dataset: flat\n"))
    remove(["data/hours"])  # what is left under its earlier name
    write("data/schemas/flat.yaml", "columns: {}")
    write("data/flat/processed/meta.json", "{}")
    git("add", "--all")
    git("commit", "--quiet", "--message", "one")


def test_a_dataset_and_a_model_of_one_name_go_together(capsys):
    make_one()
    capsys.readouterr()
    remove(["flat"])
    assert list(params()["datasets"]) == ["line"] and list(params()["models"]) == ["steep"]
    assert not [path for path in everything() if "flat" in path] and left_over() == []
    said = capsys.readouterr().out
    assert said.startswith("dataset flat: removed\n  params.yaml: datasets.flat\n  data/flat/processed\n  data/schemas/flat.yaml\n")
    assert "git add --update -- params.yaml dvc.yaml dvc.lock models/flat data/schemas/flat.yaml &&" in said


def test_of_a_dataset_that_another_model_uses_the_model_of_its_name_is_named_alone():
    make_one()
    change_params(("dataset: line   #", "dataset: flat   #"))
    with pytest.raises(UserError, match=r"^flat is a dataset and a model: say data/flat or models/flat\.$"):
        remove(["flat"])
    remove(["models/flat"])
    remove(["flat", "steep"])
    assert left_over() == [] and not Path("data/schemas/flat.yaml").exists()


def test_what_is_left_of_a_dataset_and_a_model_of_one_name_goes_together():
    make_one()
    text = Path("params.yaml").read_text()
    for keys in (("datasets", "flat"), ("models", "flat")):
        text = lines.without(text, keys)
    Path("params.yaml").write_text(text)
    assert left_over() == ["data/flat", "models/flat"]
    remove(["flat"])
    assert left_over() == [] and not [path for path in everything() if "flat" in path]


def test_a_removal_that_is_killed_anywhere_is_ended_by_the_same_command(small, tmp_path, monkeypatch):
    """Before each write of a file and each deletion."""
    steps = [(entries.project, "replace"), (entries.remove, "delete"), (entries.remove.Removal, "tidy")]
    assert kill_everywhere(lambda: remove(["hours", "flat"]), steps, small, tmp_path, monkeypatch) >= 15


def test_files_that_no_stage_wrote_stay_and_are_named(tmp_path, capsys):
    """Of a folder that is a link, the link alone goes."""
    write("models/flat/notes.md", "mine")
    write("models/flat/plots/mine.png", "mine")
    write(str(tmp_path / "disk" / "model.onnx"), "far away")
    shutil.rmtree("models/flat/exported")
    Path("models/flat/exported").symlink_to(tmp_path / "disk")
    remove(["flat"])
    assert {path for path in everything() if path.startswith("models/flat")} == {"models/flat/notes.md", "models/flat/plots/mine.png"}
    assert "note: models/flat stays, with what no stage wrote: notes.md, plots.\n" in capsys.readouterr().out
    assert (tmp_path / "disk" / "model.onnx").read_text() == "far away"


def add_own_data():
    """Raw data of one's own: in the folder, and added to DVC."""
    shutil.rmtree("data/hours/raw")
    git("rm", "-r", "--quiet", "--cached", "--ignore-unmatch", "data/hours/raw")
    Path(".gitignore").write_text("/data/*/processed/\n")
    change_params((SOURCE_OF_HOURS, ""))
    write("data/hours/raw/table.csv", "1,2\n")
    with Repo(".") as repo:
        repo.add("data/hours/raw")


def test_raw_data_of_ones_own_goes_with_its_last_dataset(capsys):
    add_own_data()
    change_params(("    raw: data/line/raw\n", "    raw: data/hours/raw\n"))
    remove(["hours"])
    assert Path("data/hours/raw/table.csv").exists() and Path("data/hours/.gitignore").read_text() == "/raw\n"
    git("add", "--all")
    git("commit", "--quiet", "--message", "own")
    remove(["line", "steep", "flat"])
    assert not Path("data/hours").exists()
    assert "  data/hours/raw\n  data/hours/raw.dvc\n" in capsys.readouterr().out
    git("checkout", "--quiet", ".")  # and it can be brought back
    with Repo(".") as repo:
        repo.checkout("data/hours/raw.dvc")
    assert Path("data/hours/raw/table.csv").read_text() == "1,2\n"


@pytest.mark.parametrize("lose", [["data/hours/raw.dvc"], [".dvc/cache"], []], ids=["never added", "cache cleared", "changed since"])
def test_raw_data_that_nobody_could_bring_back_is_refused(lose):
    add_own_data()
    subprocess.run(["rm", "-rf", *lose], check=True)
    if not lose:
        write("data/hours/raw/table.csv", "3,4\n")
    before = everything()
    with pytest.raises(UserError, match=r"^data/hours/raw was not made by a stage, and DVC's cache does not have it: move it away, or"):
        remove(["hours"])
    assert everything() == before
    remove(["hours"], yes=True)
    assert not Path("data/hours").exists()


def test_a_stage_that_somebody_added_and_that_reads_it_is_named():
    text = Path("dvc.yaml").read_text()
    stage = "  both:\n    cmd: cat models/flat/metrics.json\n    deps: [models/flat/metrics.json]\n    outs: [both.json]\n\n"
    Path("dvc.yaml").write_text(text.replace("\nplots:\n", f"\n{stage}plots:\n"))
    with pytest.raises(UserError, match=r"^dvc\.yaml: the stage both names models/flat: change or remove that stage first\.$"):
        remove(["flat"])


def test_what_was_never_built_goes_without_a_dvc_lock_and_without_git(capsys):
    Path("dvc.lock").unlink()
    shutil.rmtree(".git")
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n")
    Path("params.yaml").write_text(f"{PARAMS}\n  empty:\n")
    remove(["empty", "flat"])
    assert list(params()["models"]) == ["steep"] and not Path("dvc.lock").exists()
    assert "git add" not in capsys.readouterr().out


def test_while_a_rebuild_or_a_stage_of_it_is_at_work_it_is_refused():
    """As `dvc repro` notes what its stage writes; it has no lock on the repository while the command runs."""
    before = everything()
    with alone("rebuild"), pytest.raises(BusyError, match=r"^rebuild .* is at work in this folder: wait for its end, or stop it\.$"):
        remove(["flat"])
    note = "import os, sys\nfrom dvc.fs import localfs\nfrom dvc.rwlock import rwlock\n"
    note += "with rwlock('.dvc/tmp', localfs, 'dvc repro', [], [os.path.abspath('models/flat/training.json')], False):\n"
    note += "    print('at work', flush=True); sys.stdin.read()\n"
    with subprocess.Popen([sys.executable, "-c", note], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout.readline() == "at work\n"
        with pytest.raises(GraphError, match=r"^another command is at work on what is to be changed: .*dvc repro.*; wait until"):
            remove(["flat"])
        assert everything() == before
        stage.communicate()
    remove(["flat"])


@pytest.mark.parametrize(("file", "text"), [("dvc.lock", "stages:\n<<<<<<< ours\n"), ("dvc.yaml", "stages: ["), ("params.yaml", None)])
def test_a_damaged_or_missing_file_is_named_and_nothing_is_changed(file, text):
    Path(file).write_text(text) if text else Path(file).unlink()
    before = everything()
    said, code = run("flat")
    assert code == 1 and said.startswith("error: ") and file in said and said.count("\n") == 1
    assert everything() == before
