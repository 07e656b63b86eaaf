"""DVC's run cache, for stages whose outputs persist: what a stage has made of these very inputs is not made again.

DVC keeps no run cache of a stage with `persist: true`, because the command of such a stage may add to what is there. The stages here
replace their outputs whole, so what they write depends on their inputs alone. The entries are DVC's own, and `dvc gc` removes the files
that they name. `dvc push --run-cache` carries them, but not the metrics that belong to them (DVC 3.67 leaves out what git keeps).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile


@contextlib.contextmanager
def as_if_not_persistent(stage: Any) -> Iterator[None]:
    """Within it DVC takes the stage's outputs for ones that it may cache by their inputs."""
    persistent = [out for out in stage.outs if out.persist]
    for out in persistent:
        out.persist = False
    try:
        yield
    finally:
        for out in persistent:
            out.persist = True


def note(repo: Repo, stage: Any) -> None:
    """Notes what the stage, just saved, has made. The content of outputs outside DVC's cache (metrics) is copied into it."""
    with as_if_not_persistent(stage):
        repo.stage_cache.save(stage)


def restore(repo: Repo, stage: Any, *, pull: bool = False) -> bool:
    """Puts in place what the stage has made before of the inputs that are there now, whether by dvc.lock or the run cache.

    False where neither knows them, or DVC's cache no longer has the files; then nothing is changed. With `pull` the default remote
    is asked for them. The caller sees to it that nobody else works on the outputs. Raises DVC's errors, for instance where an input
    is missing.
    """
    for entry in entries(repo, stage):
        known = repo.stage_cache._create_stage(entry, wdir=stage.wdir)
        if pull:
            for files in known.get_used_objs().values():
                repo.cloud.pull(files)
        kept_by_git = {out.def_path for out in stage.outs if not out.use_cache}
        missing = [out for out in known.outs if not (out.def_path in kept_by_git and not out.workspace_status())]
        if all(not out.changed_cache() for out in missing):
            check_out(repo, missing, kept_by_git)
            return True
    return False


def entries(repo: Repo, stage: Any) -> Iterator[Any]:
    """What is noted of the stage with its present command, dependencies and params: a lock file's entry each. Saves the stage's deps."""
    is_locked = not stage.changed_stage() and not any(dep.status() for dep in stage.deps) and all(out.hash_info for out in stage.outs)
    if is_locked:
        yield to_single_stage_lockfile(stage)
    stage.save_deps()
    with as_if_not_persistent(stage):
        entry = repo.stage_cache._load(stage)
    if entry:
        yield entry


def check_out(repo: Repo, outs: list[Any], kept_by_git: set[str]) -> None:
    """Puts the files in place. What git keeps is copied, never a link into the cache."""
    for out in outs:
        with repo.stage_cache._cache_type_copy() if out.def_path in kept_by_git else contextlib.nullcontext():
            out.checkout(force=True)
