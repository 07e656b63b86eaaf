"""pipelines.searching.trial.py with real git."""

import pytest

from pipelines.running.git import GitError
from pipelines.searching.space import SearchError
from pipelines.searching.trial import base_of, check_out, experiments_of, git, keep


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "sub").mkdir(parents=True)
    git("init", "--quiet", folder=folder)
    (folder / "a.txt").write_text("a\n")
    (folder / "sub" / "b.sh").write_text("b\n")
    (folder / "sub" / "b.sh").chmod(0o755)
    (folder / "link").symlink_to("a.txt")
    (folder / ".gitignore").write_text("/out\n")
    git("add", ".", folder=folder)
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all", folder=folder)
    return folder


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
    (repository / "a.txt").touch()
    folder = make(repository, "toy-a-001", out="made\n", new="new\n")
    (ref,) = experiments_of(repository, "toy-a").values()
    head = git("rev-parse", "HEAD", folder=repository)
    assert ref == f"refs/exps/{head[:2]}/{head[2:]}/toy-a-001"
    assert git("rev-parse", f"{ref}^", folder=repository) == head
    assert git("diff", "--name-status", head, ref, folder=repository).split() == ["A", "new", "A", "out"]
    assert git("show", f"{ref}:out", folder=repository) == "made"
    assert git("status", "--porcelain=v2", "--branch", folder=repository) == before
    assert (folder / "link").is_symlink() and (folder / "sub" / "b.sh").stat().st_mode & 0o111


def test_what_is_not_committed_is_taken_along_and_left_as_it_is_also_where_git_knows_nobody(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(variable, raising=False)
    git("config", "user.useConfigOnly", "true", folder=repository)
    for name in ("a.txt", "staged", "unknown"):
        (repository / name).write_text("changed\n")
    git("add", "staged", folder=repository)
    (repository / "sub" / "b.sh").unlink()
    before = git("status", "--porcelain", folder=repository)
    folder = make(repository, "toy-a-001")
    assert (folder / "a.txt").read_text() == "changed\n" and (folder / "staged").exists() and not (folder / "unknown").exists()
    assert not (folder / "sub" / "b.sh").exists()
    assert git("status", "--porcelain", folder=repository) == before
    (ref,) = experiments_of(repository, "toy-a").values()
    assert git("log", "-1", "--format=%an %ce", ref, folder=repository) == "sweep sweep@localhost"


def test_the_experiments_of_a_study_are_told_from_anothers(repository):
    for name in ("toy-a-001", "toy-a-1000", "toy-a-001-001", "toy-b-001", "toy-a-x01"):
        make(repository, name)
    assert set(experiments_of(repository, "toy-a")) == {"toy-a-001", "toy-a-1000"}


def test_a_folder_that_experiments_cannot_start_from_is_refused_in_a_sentence(repository, tmp_path):
    (tmp_path / "new").mkdir()
    git("init", "--quiet", folder=tmp_path / "new")
    blob = git("rev-parse", "HEAD:a.txt", folder=repository)
    entries = "".join(f"100644 {blob} {stage}\ta.txt\n" for stage in (1, 2, 3))
    git("update-index", "--index-info", folder=repository, stdin=f"0 {'0' * 40}\ta.txt\n{entries}")  # as a merge leaves it
    for folder, sentence in (
        (tmp_path, r"^git rev-parse: not a git repository.*\.$"),
        (tmp_path / "new", r"^git rev-parse: ambiguous argument 'HEAD': unknown revision.*\.$"),
        (repository, r"^a merge has left conflicts in a\.txt: resolve them first\.$"),
        (repository / "sub", r"^the root of the git repository is .*/repository: run the sweep there\.$"),
    ):
        with pytest.raises((GitError, SearchError), match=sentence):
            base_of(folder)
