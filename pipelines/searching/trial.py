"""Makes one trial of a sweep: trains with other values of params.yaml in a folder of its own, and keeps the outcome as a DVC experiment.

Command: python -m pipelines.searching.trial ROOT FOLDER COMMIT TREE TARGET NAME VALUES, the arguments of make(), VALUES as JSON
Writes:  the trial's folder; at the end the experiment, whose model is in DVC's cache by then

It is a program of its own because DVC takes the current folder for its repository's. A request to stop reaches the training too, which
saves its state in the folder; the next run of the same trial resumes there. The exit code is that of the stage that has failed;
NOT_THE_STAGE where something else was in the way and the same trial may well succeed another time.

`dvc exp run --temp` stashes what lies in the workspace while it begins, under references that all experiments share: a kill leaves the
workspace empty, and experiments that begin together get in each other's way; its folder is a new one each time, so that no training
resumes. `dvc exp save` sets references that are shared as well. Here nothing in the workspace is touched: files come out of git's objects
into a folder, through an index of the experiment's own, and go back as one commit and one reference.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.dvc.errors import GraphError
from pipelines.dvc.experiments import begin_copy, experiment_ref, set_params
from pipelines.dvc.pipeline import Pipeline
from pipelines.dvc.waiting import repository_lock
from pipelines.running.git import GitError, git
from pipelines.searching.space import SearchError

NOT_THE_STAGE = 75
INDEX, PART = Path(".dvc/tmp/index"), Path(".dvc/tmp/index.part")  # git's, of the trial's folder
asked = list[int]()  # the requests to stop
say = partial(print, flush=True)


def make(root: Path, folder: Path, commit: str, tree: str, target: str, name: str, values: dict[str, Any]) -> int:
    """Makes, or resumes, in `folder` the experiment `name` of the repository `root`: the stage `target` with `values` in params.yaml.

    Returns the exit code, as a shell gives it, and early once it is asked to stop. Raises GraphError and GitError.
    """
    if not (folder / INDEX).exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / INDEX).parent.mkdir(parents=True)
        check_out(root, tree, folder, folder / PART)
        begin_copy(root, folder)
        set_params(folder, values)
        (folder / PART).rename(folder / INDEX)  # it comes last: with it, all is there
    os.chdir(folder)
    pipeline = Pipeline(folder, say)
    stages = pipeline.plan([target])
    pipeline.take_from_cache(stage.name for stage in stages[:-1])
    for stage in stages:
        if asked:
            return 128 + signal.SIGTERM
        is_run = not pipeline.is_up_to_date(stage.name) and pipeline.begin(stage.name)
        if is_run:
            assert stage.command is not None
            environment = os.environ | {"DVC_STAGE": stage.name}
            code = subprocess.run(["/bin/sh", "-c", stage.command], cwd=stage.folder, env=environment, check=False).returncode
            if code:
                pipeline.give_up(stage.name)
                return 128 - code if code < 0 else code
        with repository_lock(root, say):  # no `dvc gc` can come between the end of a training and its experiment
            if is_run:
                pipeline.finish(stage.name)
            if stage.name == target:
                new = [path for stage in stages for path in pipeline.kept_by_git(stage.name) if path.exists()]
                keep(root, commit, folder, folder / INDEX, [folder / "dvc.lock", *new], name)
    return 0


def base_of(root: Path) -> tuple[str, str]:
    """What experiments start from: HEAD, and a tree of it with what has been changed since in files that git knows. Nothing is touched.

    Raises GitError where there is no commit, and SearchError where a merge has left conflicts, or outside the root.
    """
    commit, top = git("rev-parse", "HEAD", folder=root), Path(git("rev-parse", "--show-toplevel", folder=root))
    if top.resolve() != root.resolve():
        raise SearchError(f"the root of the git repository is {top}: run the sweep there.")
    # git diff also refreshes the index: of files that were only touched, git stash would end with exit code 1.
    if conflicts := git("diff", "--name-only", "--diff-filter=U", folder=root).splitlines():
        raise SearchError(f"a merge has left conflicts in {', '.join(conflicts)}: resolve them first.")
    changed = git("stash", "create", folder=root, environment=identity(root))  # a commit that no reference names
    return commit, git("rev-parse", f"{changed or commit}^{{tree}}", folder=root)


def identity(root: Path) -> dict[str, str]:
    """Somebody to sign commits with, where git has been told nobody."""
    try:
        git("var", "GIT_AUTHOR_IDENT", folder=root)
        return {}
    except GitError:
        who = {"NAME": "sweep", "EMAIL": "sweep@localhost"}
        return {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in who.items()}


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


def main() -> None:
    # The stage gets it as well, and ends; what has been done by then is put away here.
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        root, folder, commit, tree, target, name, values = sys.argv[1:]
        sys.exit(make(Path(root), Path(folder), commit, tree, target, name, json.loads(values)))
    except (GraphError, GitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOT_THE_STAGE)


if __name__ == "__main__":
    main()
