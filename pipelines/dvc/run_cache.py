"""DVC's run cache, for stages whose outputs persist: what a stage has made of these very inputs is not made again.

DVC keeps no run cache of a stage with `persist: true`, because the command of such a stage may add to what is there. The stages here
replace their outputs whole, so what they write depends on their inputs alone. Their entries lie among DVC's own and have the same form;
`dvc push --run-cache` carries them, but not the metrics that belong to them (DVC 3.67 leaves out what git keeps).
"""

from pathlib import Path
from typing import Any

from dvc.dependency import ParamsDependency
from dvc.output import loadd_from
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils import dict_sha256
from dvc.utils.serialize import dumps_yaml

from pipelines.dvc.errors import Changed
from pipelines.dvc.lock_file import MISSING, PARAMS, find, parsed, read_yaml, replace


def params_now(dep: Any) -> dict[str, Any]:
    """The values of its keys of params.yaml; empty where one of them is missing, or the dependency is something else."""
    if not isinstance(dep, ParamsDependency) or dep.def_path != PARAMS or not dep.exists:
        return {}
    content = read_yaml(Path(dep.fs_path))
    values = {key: find(content, key) for key in dep.params}
    return {} if MISSING in values.values() else values


def save_deps(stage: Any) -> dict[str, Any]:
    """As stage.save_deps(), which walks all of params.yaml for each key: for a training most of a second. What the deps are now."""
    for dep in stage.deps:
        if values := params_now(dep):
            dep.fill_values(values)
        else:
            dep.save()
    return {str(dep): dep.hash_info.value for dep in stage.deps}


def save(repo: Repo, stage: Any, before: dict[str, Any] | None = None) -> None:
    """Hashes its dependencies and outputs, and notes in the run cache what it has made.

    Raises Changed where dependencies are not what they were `before` its command. The content of outputs outside DVC's cache (metrics)
    is copied into it.
    """
    now = save_deps(stage)
    if changed := sorted(dep for dep in now if before is not None and before.get(dep) != now[dep]):
        what = f"{stage.addressing} is not noted in dvc.lock, because {', '.join(changed)} changed while it ran"
        raise Changed(f"{what}: run it again.")
    stage.save_outs()
    if not persists(stage):
        repo.stage_cache.save(stage)
    elif depends_on_inputs_alone(stage):
        entry, path = to_single_stage_lockfile(stage), path_of(repo, stage)
        for out in outs_of(stage, entry):
            if out.def_path in kept_by_git(stage):
                out.commit(relink=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, dumps_yaml(entry).encode(), path.parent)


def restore(repo: Repo, stage: Any, *, pull: bool = False) -> bool:
    """Puts in place what the stage has made before of the inputs that are there now, whether by dvc.lock or the run cache.

    False where neither knows them, or DVC's cache no longer has the files; then nothing is changed. With `pull` the default remote
    is asked for them. The caller sees to it that nobody else works on the outputs. Raises DVC's errors, for instance where an input is
    missing.
    """
    if not persists(stage):
        try:
            repo.stage_cache.restore(stage, pull=pull)
        except RunCacheNotFoundError:
            return False
        return True
    outs = known_outs(repo, stage, pull=pull)
    for out in outs or []:
        out.checkout(force=True)
        if out.def_path in kept_by_git(stage):
            out.unprotect()  # never a link into the cache
    return outs is not None


def known_outs(repo: Repo, stage: Any, *, pull: bool = False) -> list[Any] | None:
    """What a stage with persistent outputs makes of the inputs that are there now, without what git keeps and is in place.

    None where neither dvc.lock nor the run cache knows it, or DVC's cache lacks files.
    """
    locked = to_single_stage_lockfile(stage) if all(out.hash_info for out in stage.outs) else None
    save_deps(stage)
    if not depends_on_inputs_alone(stage):
        return None
    is_locked = locked and inputs_of(locked) == inputs_of(to_single_stage_lockfile(stage)) and not stage.changed_stage()
    noted, path = [locked] if is_locked else [], path_of(repo, stage)
    if path.exists():
        noted.append(parsed(path.read_text(encoding="utf-8"), str(path)))
    for entry in noted:
        outs = outs_of(stage, entry)
        for out in outs if pull else []:
            for files in out.get_used_objs().values():
                repo.cloud.pull(files)
        missing = [out for out in outs if out.def_path not in kept_by_git(stage) or out.workspace_status()]
        if all(not out.changed_cache() for out in missing):
            return missing
    return None


def depends_on_inputs_alone(stage: Any) -> bool:
    """Whether it has inputs, and all that it reads and writes is here."""
    is_here = all(dep.protocol == "local" for dep in stage.deps) and all(out.is_in_repo for out in stage.outs)
    return bool(stage.cmd and stage.deps and is_here) and not (stage.is_callback or stage.always_changed)


def path_of(repo: Repo, stage: Any) -> Path:
    """The entry of the stage with its inputs, as they were last saved. (DVC's own key leaves out params that are called size or nfiles.)"""
    key = dict_sha256({"inputs": inputs_of(to_single_stage_lockfile(stage)), "outs": sorted(out.def_path for out in stage.outs)})
    return Path(repo.stage_cache.cache_dir) / key[:2] / key / key


def inputs_of(entry: Any) -> list[Any]:
    """The command, dependencies and params of a lock file's entry."""
    return [entry["cmd"], {dep["path"]: dep.get("md5") for dep in entry.get("deps", [])}, entry.get("params", {})]


def outs_of(stage: Any, entry: Any) -> list[Any]:
    """The outputs of a lock file's entry of the stage; all are in DVC's cache."""
    return list(loadd_from(stage, [dict(out) for out in entry["outs"]]))


def persists(stage: Any) -> bool:
    return any(out.persist for out in stage.outs)


def kept_by_git(stage: Any) -> set[str]:
    """The paths of the stage's outputs that are not for DVC's cache."""
    return {out.def_path for out in stage.outs if not out.use_cache}
