"""What DVC knows of data: what stages read and wrote in a commit, and whether its cache has what a .dvc file names."""

from collections.abc import Iterable
from pathlib import Path

from dvc.repo import Repo

from pipelines.dvc.errors import GraphError, refusals


def data_at(root: Path, commit: str, targets: dict[str, list[str]]) -> dict[str, dict[str, str] | GraphError]:
    """For each name in `targets`, what its stages and all that they need wrote and read: the hashes of what git has not, by their paths.

    Data that an import leaves in another repository is not among it. A GraphError stands for what DVC cannot read in this commit.
    """
    found = dict[str, dict[str, str] | GraphError]()
    try:
        with refusals(), Repo(str(root), rev=commit) as repo:
            for name, stages in targets.items():
                try:
                    found[name] = data_of(repo, stages)
                except GraphError as error:
                    found[name] = error
    except GraphError as error:
        return dict.fromkeys(targets, error)
    return found


def data_of(repo: Repo, targets: Iterable[str]) -> dict[str, str]:
    with refusals():
        stages = {stage for target in targets for stage in repo.stage.collect(target, with_deps=True)}
        made = [out for stage in stages if not stage.is_repo_import for out in stage.outs if out.use_cache and out.can_push]
        read = [dep for stage in stages if not stage.is_import for dep in stage.deps if dep.is_in_repo]
        paths = {repo.fs.relpath(one.fs_path, repo.root_dir): one for one in (*read, *made)}
        needed = {path: one for path, one in paths.items() if one in made or not repo.dvcfs.exists(path)}
        return {path: one.hash_info.value for path, one in needed.items() if one.hash_info}


def is_in_cache(root: Path, pointer: Path) -> bool:
    """Whether DVC's cache has the very data that lies where a .dvc file says."""
    with refusals(str(pointer)), Repo(str(root)) as repo:
        return not any(out.status() or out.changed_cache() for stage in repo.stage.load_file(str(root / pointer)) for out in stage.outs)
