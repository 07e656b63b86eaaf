"""Merges of dvc.lock by real git merges, on a small pipeline: what either side has built is not built again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import parsed_lock, with_entries
from pipelines.dvc.merge import end_conflict, main
from tests.pipelines.small import ENVIRONMENT, commit, dvc, make_repository, repro

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


def git(*arguments, ok=True, folder="."):
    done = subprocess.run(["git", *arguments], cwd=folder, check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def build(params):
    """With these params, committed; the stages that ran."""
    Path("params.yaml").write_text(params)
    ran = build_again()
    commit()
    return ran


def build_again(folder="."):
    """The stages that ran, and were not in DVC's cache."""
    runs = Path(folder) / "runs"
    runs.unlink(missing_ok=True)
    repro(folder=folder)
    return runs.read_text().splitlines() if runs.exists() else []


def merge_lock():
    """What the command says."""
    return end_conflict(Path.cwd())


def stages_in_lock():
    return sorted(parsed_lock(Path("dvc.lock").read_text())["stages"])


def stages_of(*models):
    return sorted(f"{stage}@{model}" for stage in ("train", "evaluate") for model in models)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A repository whose one model is built and committed on the branch main."""
    folder = tmp_path_factory.mktemp("template")
    make_repository(folder, {"dvc.yaml": GRAPH, "code.txt": "1\n", ".gitignore": "*.weights\n/runs\n"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert build(FIRST) == ["train first", "evaluate first"]
    return folder


@pytest.fixture
def built(template, tmp_path, monkeypatch):
    """A copy of it; the current folder."""
    monkeypatch.chdir(shutil.copytree(template, tmp_path / "built"))


def two_branches(left=LEFT, right=RIGHT):
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
    commit()


@pytest.mark.parametrize("how", ["merge", "rebase"])
def test_two_branches_that_add_a_model_each(built, how):
    two_branches()
    assert "CONFLICT" in git(how, "left", ok=False)
    Path("params.yaml").write_text(BOTH)
    assert merge_lock() == (
        "Merged: dvc.lock. Resolve params.yaml too, and commit; then run dvc pull, if the other side was built elsewhere, and dvc repro."
    )
    assert stages_in_lock() == stages_of("first", "left", "right")
    commit()
    assert build_again() == []
    assert [Path(f"{model}.weights").read_text() for model in ("first", "left", "right")] == ["1\n", "2\n", "3\n"]


def test_the_driver_merges_without_a_conflict(built, driver):
    two_branches()
    said = git("merge", "left", ok=False)
    assert "CONFLICT (content): Merge conflict in params.yaml" in said and "dvc.lock" not in said.replace("Auto-merging dvc.lock", "")
    assert stages_in_lock() == stages_of("first", "left", "right")
    Path("params.yaml").write_text(BOTH)
    commit()
    assert build_again() == []


@pytest.mark.parametrize("with_driver", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kept", ["left", "right"])
def test_two_branches_that_change_the_same_recipe(built, request, kept, with_driver):
    """The one that is kept is not trained again, and its metrics come with it."""
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
    assert build_again() == []
    assert (Path("first.weights").read_text(), Path("first.json").read_text()) == (f"{rate}\n", f"{rate}\n")


@pytest.mark.slow
def test_what_another_machine_has_built_is_pulled_and_not_built_again(built, tmp_path, monkeypatch):
    dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    commit()
    dvc("push")
    clone = tmp_path / "clone"
    git("clone", "--quiet", ".", str(clone))
    two_branches()
    git("switch", "--quiet", "left")
    dvc("push")
    git("fetch", "--quiet", "origin", folder=clone)
    # On the other machine right was built, and nothing of left.
    git("switch", "--quiet", "--detach", "origin/right", folder=clone)
    dvc("pull", "--allow-missing", folder=clone)
    assert build_again(clone) == ["train right"]  # its metrics came with git
    git("merge", "origin/left", ok=False, folder=clone)
    (clone / "params.yaml").write_text(BOTH)
    monkeypatch.chdir(clone)
    merge_lock()
    commit()
    dvc("pull", "--allow-missing")
    assert build_again() == []


def test_a_model_that_one_side_has_removed_and_the_other_trained_anew_stays_removed(built):
    build(f"{FIRST}  second: {{lr: 5}}\n")
    two_branches(f"{FIRST}  second: {{lr: 6}}\n", FIRST)
    Path("dvc.lock").write_text(with_entries(Path("dvc.lock").read_text(), dict.fromkeys(stages_of("second"))))
    git("rm", "--quiet", "--cached", "second.json")
    Path("second.json").unlink()
    commit()
    git("merge", "left", ok=False)
    Path("params.yaml").write_text(FIRST)
    merge_lock()
    assert stages_in_lock() == stages_of("first")


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
    assert stages_in_lock() == stages_of("first", "left")
    commit()
    assert build_again() == []


def test_without_a_conflict_it_changes_nothing(built):
    before = Path("dvc.lock").read_bytes()
    assert merge_lock() == "dvc.lock has no conflict: nothing is changed."
    assert Path("dvc.lock").read_bytes() == before


def test_params_come_first(built):
    two_branches()
    git("merge", "left", ok=False)
    before = Path("dvc.lock").read_bytes()
    with pytest.raises(GraphError, match=r"^params\.yaml has a merge conflict \(line 3\): resolve it, and run again\.$"):
        merge_lock()
    assert Path("dvc.lock").read_bytes() == before


def test_outside_git_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["merge"])
    with pytest.raises(SystemExit, match="error: git ls-files: not a git repository"):
        main()


@pytest.mark.parametrize("text", ["- a list", "stages: [", "stages: text"])
def test_a_lock_file_that_is_none_is_refused_in_a_sentence(tmp_path, monkeypatch, text):
    for name in ("base", "ours", "theirs"):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["merge", *(str(tmp_path / name) for name in ("base", "ours", "theirs"))])
    with pytest.raises(SystemExit, match=r"error: .*dvc\.lock"):
        main()
    assert (tmp_path / "ours").read_text() == text
