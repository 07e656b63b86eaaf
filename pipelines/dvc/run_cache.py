"""DVC's run cache, for stages whose outputs persist: what a stage has made of these very inputs is not made again.

DVC keeps no run cache of a stage with `persist: true`, because the command of such a stage may add to what is there. The stages here
replace their outputs whole, so what they write depends on their inputs alone. The entries are DVC's own, and `dvc gc` removes the files
that they name. `dvc push --run-cache` carries them, but not the metrics that belong to them (DVC 3.67 leaves out what git keeps).
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc.stage.cache import _can_hash, _get_stage_hash
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils import dict_sha256
from dvc.utils.serialize import dumps_yaml

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import replace


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
    if not any(out.persist for out in stage.outs):
        repo.stage_cache.save(stage)
    elif key := key_of(stage):
        cache, entry = repo.stage_cache, to_single_stage_lockfile(stage)
        for out in cache._uncached_outs(stage, entry):
            out.commit()
        # By a hash of all that is in it: DVC's own leaves out what is called size or nfiles, params too.
        path = Path(cache._get_cache_path(key, dict_sha256(entry)))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, dumps_yaml(entry).encode(), path.parent)


def key_of(stage: Any) -> str | None:
    """What the run cache knows the stage and its inputs by; None where it has no inputs or no outputs to be known by."""
    with as_if_not_persistent(stage):
        return _get_stage_hash(stage) if _can_hash(stage) else None


def restore(repo: Repo, stage: Any, *, pull: bool = False) -> bool:
    """Puts in place what the stage has made before of the inputs that are there now, whether by dvc.lock or the run cache.

    False where neither knows them, or DVC's cache no longer has the files; then nothing is changed. With `pull` the default remote
    is asked for them. The stage's deps are saved in any case. The caller sees to it that nobody else works on the outputs. Raises
    DVC's errors, for instance where an input is missing.
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
    """What is noted of the stage with its present command, dependencies and params: a lock file's entry each. Saves the stage's deps.

    DVC's key of the run cache leaves out params that are called size or nfiles, so that one key has entries of several inputs; they are
    compared here.
    """
    locked = to_single_stage_lockfile(stage) if stage.outs and all(out.hash_info for out in stage.outs) else None
    stage.save_deps()
    inputs = inputs_of(to_single_stage_lockfile(stage))
    if locked and inputs_of(locked) == inputs and not stage.changed_stage():
        yield locked
    if (key := key_of(stage)) and (folder := Path(repo.stage_cache._get_cache_dir(key))).is_dir():
        for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
            entry = repo.stage_cache._load_cache(key, path.name)
            if entry and inputs_of(entry) == inputs:
                yield entry


def inputs_of(entry: Any) -> Any:
    """The command, dependencies and params of a lock file's entry."""
    deps = {dep["path"]: {name: value for name, value in dep.items() if name not in ("size", "nfiles")} for dep in entry.get("deps", [])}
    return entry["cmd"], deps, entry.get("params", {})


def inputs_seen(stage: Any) -> dict[str, Any]:
    """What its dependencies were when they were last saved."""
    return {str(dep): dep.hash_info.value for dep in stage.deps}


def refuse_changed(name: str, stage: Any, before: dict[str, Any]) -> None:
    """Raises GraphError where dependencies of the stage, just saved, are not what they were before its command."""
    now = inputs_seen(stage)
    if changed := sorted(dep for dep in now if before.get(dep) != now[dep]):
        raise GraphError(f"{name} is not noted in dvc.lock, because {', '.join(changed)} changed while it ran: run it again.")


def check_out(repo: Repo, outs: list[Any], kept_by_git: set[str]) -> None:
    """Puts the files in place. What git keeps is copied, never a link into the cache."""
    for out in outs:
        with repo.stage_cache._cache_type_copy() if out.def_path in kept_by_git else contextlib.nullcontext():
            out.checkout(force=True)
