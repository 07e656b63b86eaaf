"""Merges of dvc.lock by real git merges, on a small pipeline: what either side has built is not built again."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import parsed_lock, with_entries
from pipelines.dvc.merge import end_conflict, main
from tests.pipelines.small import ENVIRONMENT, commit, make_repository, repro

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC
GRAPH = """
stages:
  train:
    foreach: ${models}
    do:
      cmd: echo train ${key} >> runs && echo ${item.lr} > ${key}.weights
      deps: [code.txt]
      params: ["models.${key}.lr"]
      outs: ["${key}.weights"]
  evaluate:
    foreach: ${models}
    do:
      cmd: echo evaluate ${key} >> runs && cp ${key}.weights ${key}.json
      deps: ["${key}.weights"]
      metrics:
        - ${key}.json: {cache: false}
"""
FIRST = "models:\n  first: {lr: 1}\n"
LEFT, RIGHT = f"{FIRST}  left: {{lr: 2}}\n", f"{FIRST}  right: {{lr: 3}}\n"
BOTH = f"{LEFT}  right: {{lr: 3}}\n"


def git(*arguments, ok=True):
    done = subprocess.run(["git", *arguments], check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(params=None):
    """With these params, or those that are there, committed; the stages that ran, and were not in DVC's cache."""
    if params:
        Path("params.yaml").write_text(params)
    Path("runs").unlink(missing_ok=True)
    repro()
    commit()
    return Path("runs").read_text().splitlines() if Path("runs").exists() else []


def merge_lock():
    """What the command says."""
    return end_conflict(Path.cwd())


def built_in_lock():
    return {name.partition("@")[2] for name in parsed_lock(Path("dvc.lock").read_text())["stages"]}


def build_first():
    make_repository(Path(), {"dvc.yaml": GRAPH, "code.txt": "1\n", ".gitignore": "*.weights\n/runs\n"})
    assert build(FIRST) == ["train first", "evaluate first"]


@pytest.fixture
def built(copy_of):
    """A repository whose one model is built and committed on the branch main."""
    copy_of(build_first)


def two_branches(left=LEFT, right=RIGHT):
    """Built on branches of these names; the current one is right."""
    git("switch", "--quiet", "--create", "left")
    build(left)
    git("switch", "--quiet", "main")
    git("switch", "--quiet", "--create", "right")
    build(right)


@pytest.mark.parametrize("how", ["merge", "rebase"])
def test_two_branches_that_add_a_model_each(built, how):
    two_branches()
    assert "CONFLICT" in git(how, "left", ok=False)
    Path("params.yaml").write_text(BOTH)
    assert merge_lock() == (
        "Merged: dvc.lock. Resolve params.yaml too, and commit; then run dvc pull, if the other side was built elsewhere, and dvc repro."
    )
    assert built_in_lock() == {"first", "left", "right"}
    assert build() == []
    assert [Path(f"{model}.weights").read_text() for model in ("first", "left", "right")] == ["1\n", "2\n", "3\n"]


def test_gits_merge_driver_merges_without_a_conflict(built):
    Path(".gitattributes").write_text("dvc.lock merge=dvc-lock\n")
    git("config", "merge.dvc-lock.driver", f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']} {sys.executable} -m pipelines.dvc.merge %O %A %B")
    commit()
    two_branches()
    said = git("merge", "left", ok=False)
    assert "CONFLICT (content): Merge conflict in params.yaml" in said and "dvc.lock" not in said.replace("Auto-merging dvc.lock", "")
    assert built_in_lock() == {"first", "left", "right"}
    Path("params.yaml").write_text(BOTH)
    assert build() == []


@pytest.mark.parametrize(("kept", "rate"), [("left", 2), ("right", 3)])
def test_two_branches_that_change_the_same_recipe(built, kept, rate):
    """The one that is kept is not trained again, and its metrics come with it."""
    two_branches("models:\n  first: {lr: 2}\n", "models:\n  first: {lr: 3}\n")
    git("merge", "left", ok=False)
    before = Path("dvc.lock").read_bytes()
    with pytest.raises(GraphError, match=r"^params\.yaml has a merge conflict \(line 2\): resolve it, and run again\.$"):
        merge_lock()
    assert Path("dvc.lock").read_bytes() == before
    Path("params.yaml").write_text(f"models:\n  first: {{lr: {rate}}}\n")
    assert merge_lock().startswith("Merged: dvc.lock, first.json. Resolve params.yaml too, and commit;")
    assert Path("first.json").read_text() == f"{rate}\n"
    assert build() == []
    assert (Path("first.weights").read_text(), Path("first.json").read_text()) == (f"{rate}\n", f"{rate}\n")


def test_a_model_that_one_side_has_removed_and_the_other_trained_anew_stays_removed(built):
    build(f"{FIRST}  second: {{lr: 5}}\n")
    two_branches(f"{FIRST}  second: {{lr: 6}}\n", FIRST)
    Path("dvc.lock").write_text(with_entries(Path("dvc.lock").read_text(), dict.fromkeys(["train@second", "evaluate@second"])))
    git("rm", "--quiet", "--cached", "second.json")
    Path("second.json").unlink()
    commit()
    git("merge", "left", ok=False)
    Path("params.yaml").write_text(FIRST)
    merge_lock()
    assert built_in_lock() == {"first"}


def test_two_repositories_that_have_each_a_first_lock(built):
    """Both have added dvc.lock: there is no version that both come from."""
    git("rm", "--quiet", "--cached", "dvc.lock", "first.json")
    git("commit", "--quiet", "-m", "without what was built")
    git("branch", "empty")
    commit()
    git("switch", "--quiet", "--force-create", "left", "empty")
    build("models:\n  first: {lr: 1}\n  left: {lr: 2}\n")
    git("switch", "--quiet", "main")
    git("merge", "left", ok=False)
    merge_lock()
    assert built_in_lock() == {"first", "left"}
    assert build() == []


def test_without_a_conflict_it_changes_nothing(built):
    before = Path("dvc.lock").read_bytes()
    assert merge_lock() == "dvc.lock has no conflict: nothing is changed."
    assert Path("dvc.lock").read_bytes() == before


@pytest.mark.parametrize("text", ["- a list", "stages: ["])
def test_a_lock_file_that_is_none_is_refused_in_a_sentence(tmp_path, monkeypatch, text):
    for name in ("base", "ours", "theirs"):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["merge", *(str(tmp_path / name) for name in ("base", "ours", "theirs"))])
    with pytest.raises(SystemExit, match=r"error: .*dvc\.lock"):
        main()
    assert (tmp_path / "ours").read_text() == text
