"""Merges of dvc.lock by real git merges, on a small pipeline: what either side has built is not built again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.pipelines.small import ENVIRONMENT, dvc

GRAPH = """
stages:
  train:
    foreach: ${models}
    do:
      cmd: python -m pipelines.dvc.known sh -c 'echo train ${key} >> runs && echo ${item.lr} > ${key}.weights'
      deps: [code.txt]
      params: ["models.${key}.lr"]
      outs:
        - ${key}.weights: {persist: true}
  evaluate:
    foreach: ${models}
    do:
      cmd: python -m pipelines.dvc.known sh -c 'echo evaluate ${key} >> runs && cp ${key}.weights ${key}.json'
      deps: ["${key}.weights"]
      metrics:
        - ${key}.json: {persist: true, cache: false}
"""
FIRST = "models:\n  first: {lr: 1}\n"


def git(*arguments, ok=True, folder="."):
    done = subprocess.run(["git", *arguments], cwd=folder, check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(message="a state"):
    git("add", "--all")
    git("commit", "--quiet", "-m", message)


def build(params):
    """With these params, committed; the stages that ran."""
    Path("params.yaml").write_text(params)
    ran = repro()
    commit()
    return ran


def repro(folder="."):
    runs = Path(folder) / "runs"
    runs.unlink(missing_ok=True)
    dvc("repro", folder=folder)
    return runs.read_text().splitlines() if runs.exists() else []


def merge_lock(ok=True):
    """What the command says."""
    command = [sys.executable, "-m", "pipelines.dvc.merge"]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stderr
    return done.stdout + done.stderr


def lock():
    return YAML(typ="safe").load(Path("dvc.lock"))["stages"]


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A repository whose one model is built and committed on the branch main."""
    folder = tmp_path / "built"
    folder.mkdir()
    monkeypatch.chdir(folder)
    git("init", "--quiet", "--initial-branch=main")
    dvc("init", "--quiet")
    for name, text in {"dvc.yaml": GRAPH, "code.txt": "1\n", ".gitignore": "*.weights\n/runs\n"}.items():
        Path(name).write_text(text)
    assert build(FIRST) == ["train first", "evaluate first"]
    return folder


def two_branches(left, right):
    """Built on branches of these names; the current one is right."""
    git("switch", "--quiet", "--create", "left")
    build(left)
    git("switch", "--quiet", "main")
    git("switch", "--quiet", "--create", "right")
    build(right)


@pytest.fixture
def driver(built):
    """git's merge driver, as `make hooks` installs it."""
    Path(".gitattributes").write_text("dvc.lock merge=dvc-lock\n")
    git("config", "merge.dvc-lock.driver", f"PYTHONPATH={ENVIRONMENT['PYTHONPATH']} {sys.executable} -m pipelines.dvc.merge %O %A %B")
    commit("the driver")


@pytest.mark.parametrize("how", ["merge", pytest.param("rebase", marks=pytest.mark.slow)])
def test_two_branches_that_add_a_model_each(built, how):
    two_branches(f"{FIRST}  left: {{lr: 2}}\n", f"{FIRST}  right: {{lr: 3}}\n")
    assert "CONFLICT" in git(how, "left", ok=False)
    Path("params.yaml").write_text(f"{FIRST}  left: {{lr: 2}}\n  right: {{lr: 3}}\n")
    said = merge_lock()
    assert said == (
        "Merged: dvc.lock. Resolve params.yaml too, and commit; then run dvc pull, if the other side was built elsewhere, and dvc repro.\n"
    )
    assert set(lock()) == {f"{stage}@{model}" for stage in ("train", "evaluate") for model in ("first", "left", "right")}
    commit()
    assert repro() == []
    assert [Path(f"{model}.weights").read_text() for model in ("first", "left", "right")] == ["1\n", "2\n", "3\n"]


@pytest.mark.slow
def test_the_driver_merges_without_a_conflict(built, driver):
    two_branches(f"{FIRST}  left: {{lr: 2}}\n", f"{FIRST}  right: {{lr: 3}}\n")
    said = git("merge", "left", ok=False)
    assert "CONFLICT (content): Merge conflict in params.yaml" in said and "dvc.lock" not in said.replace("Auto-merging dvc.lock", "")
    assert len(lock()) == 6
    Path("params.yaml").write_text(f"{FIRST}  left: {{lr: 2}}\n  right: {{lr: 3}}\n")
    commit()
    assert repro() == []


@pytest.mark.parametrize("with_driver", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kept", ["left", pytest.param("right", marks=pytest.mark.slow)])
def test_two_branches_that_change_the_same_recipe(built, request, kept, with_driver):
    """Whichever is kept is not trained again, and its metrics come with it."""
    if with_driver:
        request.getfixturevalue("driver")
    two_branches("models:\n  first: {lr: 2}\n", "models:\n  first: {lr: 3}\n")
    git("merge", "left", ok=False)
    rate = {"left": 2, "right": 3}[kept]
    Path("params.yaml").write_text(f"models:\n  first: {{lr: {rate}}}\n")
    said = merge_lock()
    assert said.startswith("Merged: dvc.lock, first.json. Resolve params.yaml too, and commit;")
    assert Path("first.json").read_text() == f"{rate}\n"
    commit()
    assert repro() == []
    assert (Path("first.weights").read_text(), Path("first.json").read_text()) == (f"{rate}\n", f"{rate}\n")


@pytest.mark.slow
def test_what_another_machine_has_built_is_pulled_and_not_built_again(built, tmp_path):
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    commit("a remote")
    dvc("push")
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(built), str(clone))
    two_branches(f"{FIRST}  left: {{lr: 2}}\n", f"{FIRST}  right: {{lr: 3}}\n")
    git("switch", "--quiet", "left")
    dvc("push")
    git("fetch", "--quiet", "origin", folder=clone)
    # On the other machine right was built, and nothing of left.
    git("switch", "--quiet", "--detach", "origin/right", folder=clone)
    dvc("pull", "--allow-missing", folder=clone)
    assert repro(clone) == ["train right"]  # its metrics came with git
    git("merge", "origin/left", ok=False, folder=clone)
    (clone / "params.yaml").write_text(f"{FIRST}  left: {{lr: 2}}\n  right: {{lr: 3}}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(clone)
        merge_lock()
        commit()
        dvc("pull", "--allow-missing")
        assert repro() == []


@pytest.mark.slow
def test_a_model_that_one_side_has_removed_and_the_other_trained_anew_stays_removed(built):
    two = f"{FIRST}  second: {{lr: 5}}\n"
    build(two)
    two_branches("models:\n  first: {lr: 1}\n  second: {lr: 6}\n", FIRST)
    Path("dvc.lock").write_text("".join(line for line in lock_without("second")))
    git("rm", "--quiet", "--cached", "second.json")
    Path("second.json").unlink()
    commit("second is removed")
    git("merge", "left", ok=False)
    Path("params.yaml").write_text(FIRST)
    merge_lock()
    assert set(lock()) == {"train@first", "evaluate@first"}


def lock_without(model):
    keeps = True
    for line in Path("dvc.lock").read_text().splitlines(keepends=True):
        if line.startswith("  ") and line[2] != " ":
            keeps = f"@{model}:" not in line
        if keeps:
            yield line


@pytest.mark.slow
def test_two_repositories_that_have_each_a_first_lock(built):
    """Both have added dvc.lock: there is no version that both come from."""
    git("rm", "--quiet", "--cached", "dvc.lock", "first.json")
    git("commit", "--quiet", "-m", "without what was built")
    git("branch", "empty")
    commit("ours")
    git("switch", "--quiet", "--force-create", "left", "empty")
    build("models:\n  first: {lr: 1}\n  left: {lr: 2}\n")
    git("switch", "--quiet", "main")
    git("merge", "left", ok=False)
    merge_lock()
    assert set(lock()) == {f"{stage}@{model}" for stage in ("train", "evaluate") for model in ("first", "left")}
    commit()
    assert repro() == []


@pytest.mark.slow
def test_without_a_conflict_it_changes_nothing(built):
    before = Path("dvc.lock").read_bytes()
    assert merge_lock() == "dvc.lock has no conflict: nothing is changed.\n"
    assert Path("dvc.lock").read_bytes() == before


@pytest.mark.slow
def test_params_come_first(built):
    two_branches(f"{FIRST}  left: {{lr: 2}}\n", f"{FIRST}  right: {{lr: 3}}\n")
    git("merge", "left", ok=False)
    before = Path("dvc.lock").read_bytes()
    assert merge_lock(ok=False) == "error: params.yaml has a merge conflict (line 3): resolve it, and run again.\n"
    assert Path("dvc.lock").read_bytes() == before


def test_outside_git_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert merge_lock(ok=False).startswith("error: git ls-files: not a git repository")
