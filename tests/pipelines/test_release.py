"""The flow `release` on a small pipeline: real git repositories, a folder as DVC remote, and a real Prefect server."""

import contextlib
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import gto.api
import pytest
from dvc.repo import Repo
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.logging import disable_run_logger
from prefect.states import Failed
from ruamel.yaml import YAML

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline
from pipelines.release import Release, main, release
from pipelines.releasing.gate import Outcome, Verdict, as_state
from pipelines.releasing.git import Git
from pipelines.releasing.versions import ReleaseError, Remotes, following, read_versions, take_back
from pipelines.running.commands import Commands
from pipelines.running.git import GitError
from tests.pipelines.releasable import CONFIG, build, change, commit, consumed, git, make_releasable, retrain, tags
from tests.pipelines.running.test_supervisor import wait_until
from tests.pipelines.small import command_line
from tests.pipelines.sshd import running_sshd

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC
WHO = {f"GIT_{role}_{what}": "tester@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ORIGIN, STORE = Path("../origin"), Path("../store")


@pytest.fixture(scope="module", autouse=True)
def surroundings(server):
    """Nobody's settings of git, and the Python of the tests for the stages' commands."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (WHO | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}).items():
            patch.setenv(name, value)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        yield


@pytest.fixture(scope="module")
def states(surroundings, tmp_path_factory):
    """The repository and its DVC remote as `built`, `released`, with a `better` or a `worse` model built since, and released `twice`."""
    folder = tmp_path_factory.mktemp("states")
    with pytest.MonkeyPatch.context() as patch:

        def enter(name, upon):
            shutil.copytree(folder / upon, folder / name, symlinks=True) if upon else (folder / name / "repository").mkdir(parents=True)
            patch.chdir(folder / name / "repository")

        enter("built", upon=None)
        make_releasable(Path.cwd())
        enter("released", upon="built")
        assert publish() == "released: right v1.0.0, near v1.0.0; 0 of 2 models are already released."
        enter("worse", upon="released")
        retrain(right=10, near=0.25)
        enter("better", upon="released")
        retrain(right=3)
        enter("twice", upon="better")
        assert publish() == "released: right v1.1.0; 1 of 2 models are already released."
    return folder


def in_state(name):
    @pytest.fixture
    def repository(states, tmp_path, monkeypatch):
        """In this state; the current folder."""
        monkeypatch.chdir(shutil.copytree(states / name, tmp_path / "here", symlinks=True) / "repository")
        return Path.cwd()

    return repository


built, released, better, worse, twice = map(in_state, ("built", "released", "better", "worse", "twice"))


def flow(**parameters):
    """Runs the flow; the message of its last state."""
    return release(**parameters, return_state=True).message


def decided(models=None, accept=None, bump="minor", remote=None, push_to=None):
    """What the flow does, without Prefect, which takes longer than all the rest: its last state."""
    pipeline = Pipeline(Path.cwd(), print)
    remotes = Remotes(pipeline, Git(Path.cwd()), remote, push_to)
    try:
        with disable_run_logger(), pipeline.held(), Commands(Path("logs") / "release") as commands:
            made = Release(remotes, commands, models or [], accept or [], bump)
            made.check()
            with pipeline.reading(made.stages):
                verdicts = {model: made.judged(model) for model in made.models}
                return as_state(verdicts, made.publish(verdicts))
    except (GraphError, GitError, ReleaseError) as error:
        return Failed(message=str(error))


def publish(**parameters):
    """The message of a release that goes well."""
    state = decided(**parameters)
    assert state.is_completed(), state.message
    return state.message


def refusal(**parameters):
    """The message of one that does not."""
    state = decided(**parameters)
    assert state.is_failed(), state.message
    return state.message


# What goes out


@pytest.mark.slow
def test_a_version_goes_to_a_remote_behind_ssh_and_comes_from_there(built, tmp_path):
    with running_sshd(tmp_path) as (address, keyfile):
        use_remote(url=f"{address}{tmp_path}/far", keyfile=str(keyfile), allow_agent=False)
        publish()
        assert list((tmp_path / "far").rglob("*")) and not STORE.exists()
        shutil.rmtree(".dvc/cache")
        assert consumed("right", "v1.0.0") == 4


def use_remote(name="cloud", **settings):
    with Repo(".") as repository, repository.config.edit("repo") as config:
        config["remote"][name] = settings
        config["core"]["remote"] = name
    commit()


def test_what_has_changed_is_pushed_committed_tagged_and_told_and_nothing_else(better):
    assert git("status", "--porcelain", "--untracked-files=no").splitlines() == ["M dvc.lock", " M models/right/metrics.json"]
    first, before = tags(), git("rev-parse", "HEAD")
    assert git("cat-file", "tag", "right@v1.0.0").endswith("right v1.0.0\n\naccuracy 0.9 [0.9, 0.9]")
    assert flow() == "released: right v1.1.0; 1 of 2 models are already released."
    head = git("rev-parse", "HEAD")
    assert tags() == first | {"right@v1.1.0": head}
    assert git("diff", "--name-only", before, head).splitlines() == ["dvc.lock", "models/right/metrics.json"]
    assert git("status", "--porcelain") == ""
    message = git("cat-file", "tag", "right@v1.1.0").split("\n\n")[-1]
    assert message.startswith("accuracy 0.925 [0.925, 0.925]; v1.0.0: 0.9 [0.9, 0.9] on the same test split, difference +0.025 [+0, +0.0")
    shutil.rmtree(".dvc/cache")  # what consumers get comes from the remote
    assert (consumed("right"), consumed("right", "v1.0.0")) == (3, 4)
    with get_client(sync_client=True) as client:
        by_key = ArtifactFilter(key=ArtifactFilterKey(any_=["release"]))
        newest_first = client.read_artifacts(artifact_filter=by_key, sort=ArtifactSort.CREATED_DESC)
    assert "| right | released as v1.1.0 | accuracy 0.925 [0.925, 0.925] | v1.0.0: 0.9 [0.9, 0.9] | +0.025 [+0, " in newest_first[0].data


# The gate


def test_a_model_that_may_be_worse_is_held_back_and_the_others_go_out(worse):
    message = flow()
    assert message.startswith("1 of 2 models were held back: right (accuracy differs by -0.15 [-0.2")
    assert "] from that of v1.0.0 on the same test split, which may be worse than the tolerance of 0.05: to release it " in message
    assert message.endswith("to release it all the same, right --accept right); released: near v1.1.0.")
    assert set(tags()) == {"right@v1.0.0", "near@v1.0.0", "near@v1.1.0"}
    assert publish(accept=["right"]) == "released: right v1.1.0; 1 of 2 models are already released."


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("gate.at_least.sample", 0.95, "accuracy is 0.9; expected at least 0.95 (params.yaml: models.right.gate.at_least.sample)"),
        ("gate.metric", "auc", "evaluate could not measure auc on this test split (models.right.gate.metric)"),
        ("gate", None, "it has no gate: add models.right.gate to params.yaml, with the figure to reach"),
    ],
)
def test_nothing_waives_the_bound(built, key, value, why):
    change(f"models.right.{key}", value)
    assert refusal(accept=["right"]) == f"1 of 2 models were held back: right ({why}); released: near v1.0.0."
    assert set(tags()) == {"near@v1.0.0"}


def test_the_last_version_is_measured_on_the_present_test_rows(released):
    Path("rows.txt").write_text("\n".join(["dog"] * 8))
    commit()
    retrain(right=3)
    publish(models=["right"])
    assert "; v1.0.0: 0.5 [0.5, 0.5] on the same test split, difference +0.125 [" in git("cat-file", "tag", "right@v1.1.0")


def test_a_version_that_the_present_code_cannot_read_holds_the_model_back(better):
    code = Path("stages/evaluate.py")
    code.write_text(code.read_text().replace("rows, weight =", "if folder.joinpath('checkpoint.safetensors').read_text() == '4\\n':\n"
                                            "    sys.exit('error: an older format')\nrows, weight ="))  # fmt: skip
    build()
    commit()
    message = refusal(models=["right"])
    assert (
        "right (v1.0.0 cannot be compared with it (with the present code and data, evaluate ends with exit code 1: an older format): "
        "to do without, right --accept right)" in message
    )


def test_a_version_of_other_data_is_not_compared_and_a_model_without_a_bound_for_the_source_is_held_back(worse):
    change("source", "official")
    message = refusal()
    assert "near (v1.0.0 cannot be compared with it (it was trained with source: sample, and this one with source: official): " in message
    assert "right (params.yaml gives no bound: models.right.gate.at_least.official is null)" in message


def test_a_last_version_that_left_the_cache_comes_from_the_remote_or_holds_the_model_back(better):
    cached = cache_of("models/right/checkpoint.safetensors", "HEAD")
    stored = STORE / cached.relative_to(Path(".dvc/cache").resolve())
    cached.unlink()
    stored.rename("../lost")
    message = refusal()
    assert f"({cached.parent.name}{cached.name} is neither in DVC's cache nor on the remote" in message
    assert "): to do without, right --accept right)" in message
    Path("../lost").rename(stored)
    assert "right v1.1.0" in publish()
    assert cached.exists()


def cache_of(path, commit):
    """The file in DVC's cache of an output, by the dvc.lock of a commit."""
    lines = git("show", f"{commit}:dvc.lock").splitlines()
    start = max(place for place, line in enumerate(lines) if line == f"    - path: {path}")  # as an output it comes last, or alone
    md5 = lines[start + 2].split()[-1]
    return Path(".dvc/cache/files/md5").resolve() / md5[:2] / md5[2:]


# What stands in the way: nothing is done at all


def test_changes_that_are_not_committed_are_refused(built):
    with Path("stages/evaluate.py").open("a") as file:
        file.write("\n")
    Path("rows.txt").write_text("staged")
    git("add", "rows.txt")
    Path("untracked.txt").write_text("is nobody's business")
    assert refusal() == "rows.txt, stages/evaluate.py differ from the last commit: commit or discard the changes, and run again."


def test_code_that_was_never_committed_or_that_git_ignores_is_refused(built):
    change("models.near.family", "loud")
    Path("stages/families/loud.sh").write_text("echo $1\n")
    Path("stages/common/units.py").touch()
    Path("stages/imported.py").touch()  # by a stage, perhaps, though nothing depends on it
    Path(".git/info/exclude").write_text("stages/common/units.py\n")
    build()
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", "the usual files")
    lacking = "stages/common/units.py, stages/families/loud.sh, stages/imported.py"
    how = "commit it (git add --force, where git ignores it; dvc add FOLDER for raw data), or move it away, and run again."
    assert refusal() == f"not committed: {lacking}; nobody could build it again from a clone: {how}"
    git("add", "--force", "stages")
    Path("stages/common/__init__.py.bak").touch()  # not looked at by DVC, and no code
    Path(".dvcignore").write_text("*.bak\n")
    git("add", ".dvcignore")
    git("commit", "--quiet", "--message", "all of it")
    publish()


def test_changes_that_git_was_told_not_to_see_links_to_somewhere_else_and_ignored_metrics_and_settings_are_refused(built):
    shutil.copy("stages/families/plain.sh", "stages/common/more.sh")
    Path("stages/common/again.py").symlink_to("__init__.py")  # this one leads to a file of the repository
    Path("../linked.py").touch()
    Path("stages/common/linked.py").symlink_to("../../../linked.py")
    commit()
    git("rm", "--quiet", "--cached", "models/near/metrics.json", ".dvc/config")
    Path(".git/info/exclude").write_text("metrics.json\n/.dvc/config\n")
    git("update-index", "--skip-worktree", "stages/families/plain.sh")
    git("update-index", "--assume-unchanged", "stages/common/more.sh")
    for name in ("stages/families/plain.sh", "stages/common/more.sh"):
        with Path(name).open("a") as file:
            file.write("# changed\n")
    build()
    commit()
    code = "stages/common/linked.py, stages/common/more.sh, stages/families/plain.sh"
    assert refusal().startswith(f"not committed: .dvc/config, models/near/metrics.json, {code}; nobody could build it again ")


def test_what_is_not_up_to_date_or_not_in_the_cache_is_refused(built):
    cached = cache_of("models/near/checkpoint.safetensors", "HEAD")
    stale = "not up to date: {}; run python -m pipelines.rebuild, and then the "
    change("models.right.train", 3)
    assert refusal().startswith(stale.format("train@right"))
    cached.unlink()
    assert refusal().startswith(stale.format("train@right, train@near"))


def test_a_stage_at_work_an_unknown_model_no_branch_and_nobody_to_sign_are_refused(built, monkeypatch):
    pipeline = Pipeline(built, print)
    assert pipeline.begin("evaluate@right", force=True)
    assert refusal().startswith("another command is at work on what is to be read: '")
    pipeline.give_up("evaluate@right")
    for parameter in ("models", "accept"):
        assert refusal(**{parameter: ["near", "rigth"]}) == "params.yaml has no model rigth; known: right, near."
    git("checkout", "--quiet", "--detach")
    assert refusal() == "git is on no branch (a detached HEAD): switch to the one to release from, and run again."
    git("checkout", "--quiet", "main")
    for name in WHO:
        monkeypatch.delenv(name)
    assert refusal().startswith("git does not know who releases: set git config user.name and user.email, or ")
    Path("within").mkdir()
    with pytest.raises(GitError, match=r"the folder of \.dvc is not the root of its git repository"):
        Git(Path("within").resolve())


def test_dvc_remotes_that_cannot_be_used_are_refused(built, monkeypatch):
    assert refusal(remote="nope") == "config file error: remote 'nope' doesn't exist"
    use_remote(url="../store", worktree=True)
    assert refusal() == "config file error: 'push' is unsupported for cloud versioned remotes"
    # Errors of the plugins' libraries have no common kind; this one is raised before anything is asked of the network.
    use_remote("plain", url="http://127.0.0.1:1/folder", auth="basic")
    assert refusal().startswith(
        "the DVC remote cannot be used: ConfigError: HTTP 'basic' authentication require both 'user' and 'password'"
    )
    use_remote(url="s3://bucket/folder")
    monkeypatch.setitem(sys.modules, "dvc_s3", None)  # whether it is installed here or not
    assert refusal().startswith("the DVC remote needs a package that is not installed (s3 is supported, but requires 'dvc-s3' to be ")
    assert refusal().endswith(": .venv/bin/pip install dvc-s3, and run again.")
    use_remote(url="ssh://127.0.0.1/folder")
    monkeypatch.setattr("dvc_ssh.SSHFileSystem.REQUIRES", {"sshfs": "no_such_module"})  # a package may lack what it stands on
    assert refusal().endswith("missing dependencies): .venv/bin/pip install sshfs, and run again.")
    assert tags() == {}


# What fails on the way: nothing is tagged, and the next run ends well


@pytest.mark.slow
def test_a_dvc_remote_that_refuses_leaves_everything_as_it_was(better):
    shutil.rmtree(STORE)
    STORE.write_text("a file, and no folder")
    before = git("rev-parse", "HEAD")
    message = refusal()
    assert message.startswith("data and models could not be pushed to the DVC remote (")
    assert "Not a directory" in message
    assert message.endswith("so nothing was tagged: fix that, and run again.")
    assert (set(tags()), git("rev-parse", "HEAD")) == ({"right@v1.0.0", "near@v1.0.0"}, before)
    STORE.unlink()
    assert "right v1.1.0" in publish()


@pytest.mark.slow
def test_a_commit_that_git_refuses_leaves_no_tag_and_what_a_killed_git_has_left_is_named(better):
    hook("pre-commit", "echo 'error: the lint is not green.' >&2; exit 1")
    assert refusal() == "git commit: the lint is not green."
    assert set(tags()) == {"right@v1.0.0", "near@v1.0.0"}
    Path(".git/index.lock").touch()
    assert re.fullmatch(r"git add: Unable to create '.*\.lock': File exists; if no other git is at work, remove that file\.", refusal())


def hook(name, script, repository=Path(".git")):
    path = repository / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("how", ["refused", pytest.param("killed", marks=pytest.mark.slow)])
def test_a_release_that_ends_when_it_is_about_to_tag_is_done_by_the_next_one(better, server, how):
    first, before = tags(), git("rev-parse", "HEAD")
    kill = "kill -9 $(cat ../pid) && " if how == "killed" else ""
    tagging = hook("reference-transaction", f"grep -q refs/tags/ && [ $1 = prepared ] && {kill}exit 1; exit 0")
    if how == "killed":
        process = command_line("pipelines.release", "--push-to", "origin", server=server)
        Path("../pid").write_text(str(process.pid))
        output, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, output
    else:
        assert refusal(push_to="origin").startswith("git update-ref: ")
    head = git("rev-parse", "HEAD")
    assert (tags(), head == before) == (first, False)
    tagging.unlink()
    publish(push_to="origin")
    assert tags() == tags(ORIGIN) == first | {"right@v1.1.0": head}
    assert git("rev-parse", "HEAD") == git("rev-parse", "main", folder=ORIGIN) == head


# The git remote


def test_remotes_that_refuse_keep_the_tags_here_until_a_later_run(released):
    receiving = hook("pre-receive", "echo 'not on Fridays' >&2; exit 1", ORIGIN)
    message, again = refusal(push_to="origin"), "): python -m pipelines.release {} --push-to origin pushes them."
    assert message.startswith("the tags are made, and not yet pushed (git push: ") and "not on Fridays" in message
    assert message.endswith("): python -m pipelines.release --push-to origin pushes them.")
    assert flow(roll_back="near", push_to="origin").endswith(again.format("--roll-back near@v1.0.0"))
    receiving.unlink()
    shutil.rmtree(STORE)
    STORE.write_text("a file, and no folder")
    message = refusal(models=["right"], push_to="origin")
    assert "Not a directory" in message and message.endswith(again.format("right"))
    assert tags(ORIGIN) == {}
    STORE.unlink()
    assert publish(models=["right"], push_to="origin") == "released: nothing new; 1 of 1 models are already released."
    assert tags() == tags(ORIGIN)


def test_what_is_on_the_git_remote_alone_is_refused(released, tmp_path):
    assert "'nowhere' does not appear to be a git repository" in refusal(push_to="nowhere")
    git("push", "--quiet", "origin", "main", "right@v1.0.0")
    git("tag", "--delete", "right@v1.0.0")
    assert refusal(push_to="origin") == "origin has right@v1.0.0, which is not here: git fetch --tags origin, and run again."
    tag_by_hand("right@v1.0.0")
    take = "git tag --delete right@v1.0.0; git fetch origin tag right@v1.0.0, and run again."
    assert refusal(push_to="origin") == f"origin has right@v1.0.0, which is another tag here: {take}"
    git("tag", "--delete", "right@v1.0.0")
    git("fetch", "--quiet", "origin", "tag", "right@v1.0.0")
    Git(Path.cwd()).check_remote("origin", "main", {"right"})  # and now nothing is refused

    git("clone", "--quiet", str(ORIGIN), str(tmp_path / "elsewhere"))
    git("commit", "--quiet", "--allow-empty", "--message", "theirs", folder=tmp_path / "elsewhere")
    git("push", "--quiet", folder=tmp_path / "elsewhere")
    assert refusal(push_to="origin") == "origin has commits of main that are not here: git pull origin main, and run again."


# Tags, made by hand or by a release, and their data


def tag_by_hand(*names, message="by hand"):
    for name in names:
        git("tag", "--annotate", "--message", message, name)


@contextlib.contextmanager
def clone_of(tag):
    """A clone of the git remote at this tag, as anyone who has never been here would make it; within, it is the current folder."""
    folder = Path("..", tag).resolve()
    git("clone", "--quiet", "--branch", tag, str(ORIGIN.resolve()), str(folder))
    with contextlib.chdir(folder), Repo() as repository:
        yield repository


def lose(path, commit):
    """Removes an output of a version, a folder's list or a file, from DVC's cache and from the DVC remote."""
    place = cache_of(path, commit)
    place.unlink()
    (STORE / place.relative_to(Path(".dvc/cache").resolve())).unlink()


def test_tags_made_by_hand_are_pushed_with_all_that_their_versions_need(built):
    tag_by_hand("right@v1.0.0")
    gto.api.register(".", "near", "HEAD", "v1.0.0")
    assert publish(push_to="origin") == (
        "released: nothing new; 2 of 2 models are already released; tagged by hand, without having passed the gate: "
        "right v1.0.0, near v1.0.0."
    )
    assert set(tags(ORIGIN)) == {"right@v1.0.0", "near@v1.0.0"}
    with clone_of("right@v1.0.0") as clone:
        targets = ["export@right", "evaluate@right"]
        clone.pull(targets, with_deps=True)
        assert clone.status(targets, with_deps=True) == {}


def test_what_the_dvc_remote_has_lost_since_is_pushed_again(released):
    (file,) = json.loads(cache_of("models/right/exported", "HEAD").read_text())
    (STORE / "files/md5" / file["md5"][:2] / file["md5"][2:]).unlink()  # the folder's list stays
    exported = cache_of("models/near/exported", "HEAD")
    (STORE / exported.relative_to(Path(".dvc/cache").resolve())).unlink()
    assert push_by_hand() == {}
    assert tags(ORIGIN) == tags()
    shutil.rmtree(".dvc/cache")
    assert (consumed("right"), consumed("near")) == (4, 0.5)


def test_a_tag_whose_data_is_lost_is_not_pushed_and_the_others_are(twice):
    git("tag", "--annotate", "--message", "taken back", "right@v1.0.0!", "right@v1.0.0^{}")
    lose("models/right/exported", "right@v1.0.0")
    assert refusal(push_to="origin") == (
        "released: nothing new; 2 of 2 models are already released; not pushed: right@v1.0.0 (neither DVC's cache nor the DVC remote has "
        "models/right/exported of it: build it again at that tag, or git tag --delete right@v1.0.0)."
    )
    assert set(tags(ORIGIN)) == {"near@v1.0.0", "right@v1.1.0"}


def test_a_tag_of_what_is_not_a_version_is_not_pushed_and_the_others_are(built):
    head = git("rev-parse", "HEAD")
    git("tag", "--annotate", "--message", "by hand", "right@v0.1.0", git("hash-object", "-w", "rows.txt"))
    for place, lock in enumerate(("<<<<<<< ours", "stages: [1]", "stages: {export@right: 1}", "a: b: c", "schema: '2.0'")):
        Path("dvc.lock").write_text(f"{lock}\n")
        commit()
        tag_by_hand(f"right@v0.2.{place}")
    git("reset", "--quiet", "--hard", head)
    tag_by_hand("other@v1.0.0", "other@v1.0.0!", "other@v1.1.0!", "right@v1.0.0")
    kept = push_by_hand()
    assert set(tags(ORIGIN)) == {"other@v1.1.0!", "right@v1.0.0"}
    assert set(kept) == {"other@v1.0.0", "right@v0.1.0", *(f"right@v0.2.{place}" for place in range(5))}
    assert all(why.endswith(f": git tag --delete {tag}") and "\n" not in why for tag, why in kept.items())
    assert kept["right@v0.2.4"].startswith("the dvc.lock of its commit notes no exported model of this name: ")


def push_by_hand():
    """As the end of a release, without Prefect; the tags that are kept, and why."""
    return Remotes(Pipeline(Path.cwd(), print), Git(Path.cwd()), None, "origin").push_tags("main", "")


def test_data_that_dvc_add_watches_is_part_of_what_a_version_needs(built):
    git("rm", "--quiet", "--cached", "rows.txt")
    Path("raw").mkdir()
    Path("rows.txt").rename("raw/rows.txt")
    graph = Path("dvc.yaml").read_text().replace("cp rows.txt", "cp raw/rows.txt").replace("[rows.txt]", "[raw/rows.txt]")
    Path("dvc.yaml").write_text(graph)
    with Repo(".") as repository:
        repository.add("raw")
    build()
    commit()
    tag_by_hand("right@v1.0.0")
    assert push_by_hand() == {}
    with clone_of("right@v1.0.0") as clone:
        clone.pull(["raw"])
        assert Path("raw/rows.txt").exists()


@pytest.mark.slow
def test_what_is_released_can_be_built_again_from_each_of_its_tags(released):
    """From a clone and the DVC remote alone."""
    change("models.right.family", "careful")
    Path("stages/families/careful.sh").write_text("echo $(($1 - 1))\n")
    build()
    commit()
    publish(push_to="origin")
    assert set(tags(ORIGIN)) == {"near@v1.0.0", "right@v1.0.0", "right@v1.1.0"}
    for tag in tags(ORIGIN):
        with clone_of(tag) as clone:
            clone.pull()
            assert clone.status() == {}
            exported = list(Path.cwd().glob("models/*/exported/*"))
            pulled = [path.read_bytes() for path in exported]
            shutil.rmtree(".dvc/cache")
            clone.reproduce(force=True)
            assert [path.read_bytes() for path in exported] == pulled and len(pulled) == 2
            assert git("status", "--porcelain") == ""  # dvc.lock and metrics are those that were released


# Versions that no gate has seen


def test_a_version_tagged_by_hand_is_told_from_one_that_passed_the_gate(twice):
    back("right")
    tag_by_hand("right@v3.0.0", message=git("tag", "--list", "--format=%(contents)", "right@v1.1.0"))  # of another version
    tag_by_hand("right@v4.0.0", message="right v4.0.0")
    tag_by_hand("right@v5.0.0", message="right@v5.0.0 is v4.0.0 again")
    tag_by_hand("right@v6.0.0", message="right@v6.0.0 is v6.0.0 again")
    gto.api.register(".", "other", "HEAD", "v1.0.0")
    told = {version.tag: version.passed_gate for of_model in read_versions(Path.cwd()).values() for version in of_model}
    passed = {"right@v1.0.0", "near@v1.0.0", "right@v1.1.0", "right@v1.1.1"}
    verdict = Verdict(Outcome.ALREADY, "v1.0.0", passed_gate=False)
    assert verdict.text == "already released as v1.0.0, which was tagged by hand and has not passed the gate"
    assert told == dict.fromkeys(passed, True) | dict.fromkeys([f"right@v{n}.0.0" for n in (3, 4, 5, 6)] + ["other@v1.0.0"], False)


# Rolling back


def back(what):
    """Rolls back without Prefect; what it says."""
    return take_back(Git(Path.cwd()), what)[1]


def test_rolling_back_gives_everyone_the_version_before(twice):
    shutil.rmtree(STORE)
    message = flow(roll_back="right", push_to="origin")
    assert message == "right@v1.1.0 rolled back; the newest version is right@v1.1.1, which is v1.0.0 again."
    assert [version["version"] for version in gto.api.show(".", "right")] == ["v1.1.1", "v1.0.0"]
    assert (consumed("right"), consumed("right", "v1.1.0")) == (4, 3)
    assert git("rev-parse", "right@v1.1.0!^{}") == git("rev-parse", "HEAD")
    assert tags() == tags(ORIGIN)
    assert back("right@v1.1.0") == "right@v1.1.0 was rolled back before; the newest version is right@v1.1.1."

    # What was rolled back goes out again only when it is accepted.
    message = refusal()
    assert "right (it is, byte for byte, v1.1.0, which was rolled back: rebuild it with other params, or release it all " in message
    assert "right v1.2.0" in publish(accept=["right"])
    assert consumed("right") == 3
    assert [version["version"] for version in gto.api.show(".", "right")] == ["v1.2.0", "v1.1.1", "v1.0.0"]


def test_rolling_back_twice_goes_back_twice_and_what_cannot_be_is_refused(twice):
    assert back("right@v1.0.0") == "right@v1.0.0 rolled back; the newest version is right@v1.1.0."
    git("tag", "--delete", "right@v1.0.0!")
    back("right")
    assert back("right") == "right@v1.1.1, right@v1.0.0 rolled back; right has no released version left."
    assert gto.api.show(".", "right") == []
    back("near")
    known = "near is not a released version; known: near@v1.0.0 (rolled back)."
    for what, why in (("rihgt", "rihgt has no version that could be rolled back; models that have: near, right."), ("near", known)):
        with pytest.raises(ReleaseError, match=f"^{re.escape(why)}$"):
            back(what)
    assert flow(roll_back="near", remote="store").startswith("to roll back and to release are two commands: ")
    shutil.rmtree("logs")
    Path("logs").write_text("a file in the way")
    assert flow().endswith(": Not a directory: fix that and run again; what was tagged is whole.")


# Versions


def test_versions_count_as_numbers_and_over_what_was_rolled_back(built):
    for version in ("v1.10.0-rc1", "v1.9.0", "v1.2.0", "v1.9.0!"):
        git("tag", "--annotate", "--message", version, f"right@{version}")
    git("tag", "right@v7.0.0")  # a tag that is not annotated is none of GTO's
    versions = read_versions(Path.cwd())["right"]
    assert [(version.name, version.is_released) for version in versions] == [("v1.10.0-rc1", True), ("v1.9.0", False), ("v1.2.0", True)]
    assert [following(versions[1:], bump) for bump in ("major", "minor", "patch")] == ["v2.0.0", "v1.10.0", "v1.9.1"]


def test_a_name_that_gto_cannot_read_and_a_model_that_nobody_would_find_are_held_back(built):
    for name in ("params.yaml", "dvc.yaml"):
        Path(name).write_text(Path(name).read_text().replace("  near:", "  near_:"))
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("  right: {path: models/right/exported}\n", ""))
    build()
    commit()
    message = refusal()
    assert "near_ (GTO reads no tag of this name, which must begin and end with a letter or a digit)" in message
    assert "right (dvc.yaml has no artifact right, by which its versions are found: add a line under artifacts there" in message
    assert tags() == {}


# The stages of this project


@pytest.mark.slow
def test_the_real_evaluate_measures_the_last_version_with_the_present_code(tmp_path, monkeypatch):
    folder = tmp_path / "here" / "repository"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in ("stages", "pipelines", "examples", "data/schemas", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for section, name in (("sources", "line"), ("datasets", "line"), ("models", "line_gd")):
        params[section] = {name: params[section][name]}
    params["models"]["line_gd"]["train"]["epochs"] = 3
    params["models"]["line_gd"]["gate"] = {"metric": "mae", "at_most": 10, "tolerance": 10}
    Path("params.yaml").write_text(json.dumps(params))
    Path(".dvc/config").write_text(CONFIG)
    git("init", "--quiet", "--initial-branch=main")
    build()
    commit()
    assert publish() == "released: line_gd v1.0.0; 0 of 1 models are already released."
    before = json.loads(Path("models/line_gd/metrics.json").read_text())["mae"]
    change("models.line_gd.train.epochs", 4)
    build()
    assert publish() == "released: line_gd v1.1.0; 0 of 1 models are already released."
    assert f"; v1.0.0: {before:.4g} [" in git("cat-file", "tag", "line_gd@v1.1.0")


# The command line


def command(monkeypatch, *arguments):
    """Runs the command line in this process."""
    monkeypatch.setattr(sys, "argv", ["release", *arguments])
    main()


def test_the_command_line_takes_the_same_names(worse, monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        command(monkeypatch, "right")
    assert str(left.value.code).startswith("error: 1 of 1 models were held back: right (accuracy differs by -0.15 [-0.2")
    assert "Traceback" not in capsys.readouterr().err
    command(monkeypatch, "--accept", "right", "--bump", "patch", "--remote", "store", "--push-to", "origin", "right", "right")
    assert set(tags(ORIGIN)) == {"right@v1.0.0", "near@v1.0.0", "right@v1.0.1"}
    command(monkeypatch, "--roll-back", "right")
    assert "right@v1.0.1!" in tags()


def test_a_release_that_is_stopped_ends_in_a_sentence(better, server):
    waits = (
        "import os\nif os.path.basename(os.getcwd()).startswith('right.'):\n    print('waits', flush=True)\n    os.read(os.pipe()[0], 1)\n"
    )
    evaluate = Path("stages/evaluate.py")
    evaluate.write_text(waits + evaluate.read_text())
    build()
    commit()
    process = command_line("pipelines.release", server=server)
    wait_until(lambda: [log for log in Path("logs/release").glob("*/gate@right.log") if log.read_text()], 60)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, output
    assert output.splitlines()[-1].startswith("error: stopped by SIGTERM: what was done until now is kept; the same command resumes")
    assert "Crash" not in output and "Traceback" not in output
