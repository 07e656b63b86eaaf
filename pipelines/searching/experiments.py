"""DVC experiments made beside the workspace, several at once, with git's plumbing.

`dvc exp run --temp` stashes what lies in the workspace while it begins, under references that all experiments share: a kill leaves the
workspace empty, and experiments that begin together get in each other's way; its folder is a new one each time, so that no training
resumes. `dvc exp save` sets references that are shared as well. Here nothing in the workspace is touched: files come out of git's objects
into a folder, through an index of the experiment's own, and go back as one commit and one reference.
"""

import re
from pathlib import Path

from pipelines.dvc.experiments import experiment_ref
from pipelines.running.git import GitError, git
from pipelines.searching.space import SearchError

WHO = {"NAME": "sweep", "EMAIL": "sweep@localhost"}
NOBODY = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in WHO.items()}


def base_of(root: Path) -> tuple[str, str]:
    """What experiments start from: HEAD, and a tree of it with what has been changed since in files that git knows.

    Nothing is touched. Raises SearchError where there is no such thing.
    """
    try:
        top = Path(git("rev-parse", "--show-toplevel", folder=root))
        commit = git("rev-parse", "--verify", "HEAD^{commit}", folder=root)
    except GitError as error:
        why = str(error).rstrip(".")
        raise SearchError(f"experiments are made upon a commit of git's, and there is none ({why}): git init, and commit.") from error
    if top.resolve() != root.resolve():
        raise SearchError(f"the root of the git repository is {top}: run the sweep there.")
    if conflicts := git("diff", "--name-only", "--diff-filter=U", folder=root).splitlines():
        raise SearchError(f"a merge has left conflicts in {', '.join(conflicts)}: resolve them first.")
    changed = git("stash", "create", folder=root, environment=identity(root))  # a commit that no reference names
    return commit, git("rev-parse", f"{changed or commit}^{{tree}}", folder=root)


def identity(root: Path) -> dict[str, str]:
    """Somebody to sign commits with, where git has been told nobody."""
    try:
        git("var", "GIT_AUTHOR_IDENT", folder=root)
        git("var", "GIT_COMMITTER_IDENT", folder=root)
    except GitError:
        return NOBODY
    return {}


def unknown_to_git(root: Path, paths: set[Path]) -> list[str]:
    """Files among `paths`, of which there is at least one, that an experiment would lack: git neither knows nor ignores them."""
    return git("ls-files", "--others", "--exclude-standard", "--", *map(str, sorted(paths)), folder=root).splitlines()


def experiments_of(root: Path, study: str) -> dict[str, str]:
    """The references of a study's experiments by their names, upon whatever commit."""
    refs = git("for-each-ref", "--format=%(refname)", "refs/exps", folder=root).splitlines()
    return {name: ref for ref in refs if re.fullmatch(rf"{re.escape(study)}-\d{{3,}}", name := ref.rpartition("/")[2])}


def check_out(root: Path, tree: str, folder: Path, index: Path) -> None:
    """Writes all files of a tree into `folder`, and what git must know of them into `index`."""
    own = {"GIT_INDEX_FILE": str(index)}
    git("read-tree", tree, folder=root, environment=own)
    git("checkout-index", "--all", f"--prefix={folder}/", folder=root, environment=own)


def keep(root: Path, commit: str, folder: Path, index: Path, new: list[Path], name: str) -> None:
    """Makes what lies in `folder` (files that git knows, and `new`) the experiment `name` upon a commit, all at once."""
    store = git("rev-parse", "--absolute-git-dir", folder=root)
    own = {"GIT_INDEX_FILE": str(index), "GIT_DIR": store, "GIT_WORK_TREE": str(folder)}
    git("add", "--update", ".", folder=folder, environment=own)
    git("add", "--force", "--", *map(str, new), folder=folder, environment=own)
    tree = git("write-tree", folder=folder, environment=own)
    made = git("commit-tree", tree, "-p", commit, "-m", f"sweep: {name}", folder=root, environment=identity(root))
    git("update-ref", experiment_ref(commit, name), made, folder=root)
