"""pipelines/searching/experiments.py with real git."""

import subprocess

import pytest

from pipelines.searching.experiments import base_of, check_out, experiments_of, file_of, git, keep, unknown_to_git
from pipelines.searching.space import SearchError


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git("init", "--quiet", folder=folder)
    (folder / "a.txt").write_text("a\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.sh").write_text("b\n")
    (folder / "sub" / "b.sh").chmod(0o755)
    (folder / "link").symlink_to("a.txt")
    (folder / ".gitignore").write_text("/out\n")
    commit(folder)
    return folder


def commit(folder):
    git("add", ".", folder=folder)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all", folder=folder)


def make(repository, name, **contents):
    """An experiment in which these files have these contents."""
    (commit, tree), folder = base_of(repository), repository.parent / name
    check_out(repository, tree, folder, folder.with_suffix(".index"))
    for file, content in contents.items():
        (folder / file).write_text(content)
    keep(repository, commit, folder, folder.with_suffix(".index"), [folder / file for file in contents], name)
    return folder


def test_an_experiment_is_a_commit_upon_its_base_and_touches_nothing_else(repository):
    before = git("status", "--porcelain=v2", "--branch", folder=repository)
    folder = make(repository, "toy-a-001", out="made\n", new="new\n")
    (ref,) = experiments_of(repository, "toy-a").values()
    head = git("rev-parse", "HEAD", folder=repository)
    assert ref == f"refs/exps/{head[:2]}/{head[2:]}/toy-a-001"
    assert git("rev-parse", f"{ref}^", folder=repository) == head
    assert git("diff", "--name-status", head, ref, folder=repository).split() == ["A", "new", "A", "out"]
    assert file_of(repository, ref, "out") == "made"
    assert git("status", "--porcelain=v2", "--branch", folder=repository) == before
    assert (folder / "link").is_symlink() and (folder / "sub" / "b.sh").stat().st_mode & 0o111


def test_what_is_not_committed_is_taken_along_and_left_as_it_is(repository):
    (repository / "a.txt").write_text("changed\n")
    (repository / "staged").write_text("staged\n")
    git("add", "staged", folder=repository)
    (repository / "unknown").write_text("unknown\n")
    (repository / "sub" / "b.sh").unlink()
    before = git("status", "--porcelain", folder=repository)
    folder = make(repository, "toy-a-001")
    assert (folder / "a.txt").read_text() == "changed\n" and (folder / "staged").exists() and not (folder / "unknown").exists()
    assert not (folder / "sub" / "b.sh").exists()
    assert git("status", "--porcelain", folder=repository) == before


def test_experiments_can_be_made_from_a_detached_head_and_a_worktree_of_git(repository):
    git("worktree", "add", "--quiet", "--detach", str(repository.parent / "worktree"), folder=repository)
    make(repository.parent / "worktree", "toy-a-001", new="x")
    assert list(experiments_of(repository, "toy-a")) == ["toy-a-001"]


def test_the_experiments_of_a_study_are_told_from_anothers(repository):
    for name in ("toy-a-001", "toy-a-1000", "toy-a-001-001", "toy-b-001", "toy-a-x01"):
        make(repository, name)
    assert set(experiments_of(repository, "toy-a")) == {"toy-a-001", "toy-a-1000"}


def test_an_experiment_can_be_kept_where_git_knows_nobody(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(variable, raising=False)
    git("config", "user.useConfigOnly", "true", folder=repository)
    (repository / "a.txt").write_text("changed\n")
    make(repository, "toy-a-001")
    (ref,) = experiments_of(repository, "toy-a").values()
    assert git("log", "-1", "--format=%an %ce", ref, folder=repository) == "sweep sweep@localhost"


def test_variables_of_a_git_hook_mean_nothing(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere.index"))
    make(repository, "toy-a-001")
    assert list(experiments_of(repository, "toy-a")) == ["toy-a-001"]


def test_files_that_git_does_not_know_are_named(repository):
    (repository / "sub" / "new.py").write_text("")
    (repository / "out").write_text("ignored")
    (repository / "elsewhere.py").write_text("")
    assert unknown_to_git(repository, {repository / "sub", repository / "out", repository / "a.txt"}) == ["sub/new.py"]
    assert unknown_to_git(repository, set()) == []


def test_a_folder_without_git_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(
        SearchError, match=r"experiments are kept in git, and this is not a git repository \(git rev-parse: not a git.*: git init"
    ):
        base_of(tmp_path)


def test_a_folder_within_the_repository_is_refused_in_a_sentence(repository):
    with pytest.raises(SearchError, match=r"the root of the git repository is .*/repository: run the sweep there"):
        base_of(repository / "sub")


def test_a_repository_without_a_commit_is_refused_in_a_sentence(tmp_path):
    git("init", "--quiet", folder=tmp_path)
    with pytest.raises(SearchError, match=r"experiments are made upon a commit, and there is none yet: git add and git commit first"):
        base_of(tmp_path)


def test_a_merge_that_is_not_resolved_is_refused_in_a_sentence(repository):
    git("checkout", "--quiet", "-b", "other", folder=repository)
    (repository / "a.txt").write_text("theirs\n")
    commit(repository)
    git("checkout", "--quiet", "-b", "ours", "HEAD^", folder=repository)
    (repository / "a.txt").write_text("ours\n")
    commit(repository)
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "merge", "other"]
    assert subprocess.run(command, cwd=repository, capture_output=True, check=False).returncode == 1
    with pytest.raises(SearchError, match=r"a merge has left conflicts in a\.txt: resolve them first"):
        base_of(repository)
