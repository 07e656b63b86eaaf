"""The pipeline as DVC knows it: what its stages are, which are up to date, and what dvc.lock notes of those that have run.

`dvc repro` runs one stage after another. Here its steps are taken apart, so that commands can run beside each other: begin() does what
comes before a stage's command and finish() what comes after, each alone in the repository, under DVC's own lock, which is waited for
however long another command of DVC's has it. What they leave behind is what `dvc repro` leaves: files, cache, run cache, dvc.lock.

Two things differ from DVC: dvc.lock is replaced whole, so that it is never seen half-written, and its entries are in the order of
the graph whatever ended first; and a stage whose dependencies change while it runs is not noted.

This folder is all of this project that talks to DVC, through the classes behind its commands: they are no public interface, so the
tests compare the outcome with that of `dvc repro`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dvc.dependency import ParamsDependency
from dvc.lock import LockError, LockNoop
from dvc.repo import Repo
from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro
from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.transfer import find_tree_by_obj_id, transfer

from pipelines.dvc import run_cache
from pipelines.dvc.errors import GraphError, of_remotes, refusals, transfers
from pipelines.dvc.known import for_a_shell
from pipelines.dvc.lock_file import LOCK, PARAMS, TMP, LockFile, find, read_yaml, refuse_marks
from pipelines.dvc.waiting import Patience, lock_of, paths_in_use, take, undisturbed

Value = TypeVar("Value")


@dataclass(frozen=True)
class Stage:
    """Of dvc.yaml. The command is for a shell in `folder`; without one it only watches data (`dvc add`). It reads outputs of `after`."""

    name: str
    command: str | None
    folder: Path
    after: tuple[str, ...]
    meta: dict[str, Any]


@dataclass(frozen=True)
class Change:
    """In what a stage differs from what dvc.lock notes: params, code, data (of the stage `maker`), output, command, or all of it."""

    kind: str
    what: str = ""
    maker: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.what}".strip()


class Pipeline:
    """The pipeline in the folder `root`. `tell` gets a line that the person who runs it should know.

    Its methods may be called from several threads. Raises GraphError where DVC cannot read dvc.yaml, params.yaml or dvc.lock.
    """

    def __init__(self, root: Path, tell: Callable[[str], None]):
        self.root, self.tell, self.mutex = root, tell, threading.RLock()
        self.begun = dict[str, tuple[contextlib.ExitStack, dict[str, Any]]]()
        self.repo: Any = None
        self.stages, self.lock = dict[str, Any](), LockFile(root, [])
        with refusals():
            self.guard = lock_of(root)
        with self._alone():
            self._remove_torn_list_of_paths()

    def _read_anew(self) -> None:
        """Reads dvc.yaml and dvc.lock, if this is the first time or another DVC command has written dvc.lock."""
        if self.stages and not self.lock.is_changed_by_others():
            return
        refuse_marks(self.root, PARAMS, "dvc.yaml", LOCK)
        with refusals():
            if self.repo:
                self.repo.close()
            self.repo = Repo(str(self.root))
            self.repo.lock = LockNoop()  # self.guard is taken instead
            self.repo.lock.lock()
            self.graph = get_active_graph(self.repo.index.graph)
            self.stages = {stage.addressing: stage for stage in plan_repro(self.graph)}
            self.makers = {Path(out.fs_path): name for name, stage in self.stages.items() for out in stage.outs}
            self.lock = LockFile(self.root, [stage.name for stage in self.stages.values() if stage.cmd])

    def plan(self, targets: Iterable[str] = ()) -> list[Stage]:
        """The stages that the targets need, themselves included, each after those that it waits for; without targets, all."""
        with self._alone(), refusals():
            chosen = collect_stages(self.repo, targets) if targets else None
            wanted = {stage.addressing for stage in plan_repro(self.graph, chosen)}
        return [self._described(stage) for name, stage in self.stages.items() if name in wanted]

    def _described(self, stage: Any) -> Stage:
        after = tuple(sorted(upstream.addressing for upstream in self.graph.successors(stage)))
        return Stage(stage.addressing, one_command(stage.cmd, stage.name), Path(stage.wdir), after, dict(stage.meta or {}))

    def _stage(self, name: str) -> Any:
        if name not in self.stages:
            raise GraphError(f"{name} is not in dvc.yaml any more: somebody has changed it meanwhile; start again.")
        return self.stages[name]

    def is_up_to_date(self, name: str) -> bool:
        """Whether its command, dependencies, params and outputs are those that dvc.lock notes."""
        with self._at(name) as stage:
            return next(self._changes(stage), None) is None

    def changes(self, name: str) -> list[Change]:
        """In what it differs from what dvc.lock notes; empty where it is up to date."""
        with self._at(name) as stage:
            return list(self._changes(stage))

    def is_known(self, name: str) -> bool:
        """Whether begin() would take its outputs, which persist, from DVC's cache."""
        with self._at(name) as stage:
            return run_cache.persists(stage) and not stage.frozen and run_cache.known_outs(self.repo, stage) is not None

    def _changes(self, stage: Any) -> Iterator[Change]:
        if stage.is_callback or stage.always_changed:
            yield Change("always")
        deps = [] if stage.frozen else stage.deps
        if stage.cmd and not any(thing.hash_info for thing in (*deps, *stage.outs)):
            yield Change("never built")
            return
        if stage.changed_stage():
            yield Change("command")
        for dep in deps:
            yield from self._changes_of(dep)
        for path, status in (one for out in stage.outs for one in out.status().items()):
            yield Change("output", f"{path} {status}")

    def _changes_of(self, dep: Any) -> Iterator[Change]:
        """As dep.status(), which reads all of params.yaml for every stage: most of the time of a rebuild with nothing to do."""
        if values := run_cache.params_now(dep):
            noted = dep.hash_info.value or {}
            yield from (Change("params", key) for key, value in values.items() if key not in noted or noted[key] != value)
        elif dep.status():
            maker = self._maker_of(Path(dep.fs_path))
            yield Change("data" if maker else "params" if dep.def_path == PARAMS else "code", dep.def_path, maker)

    def _maker_of(self, path: Path) -> str:
        """The stage that makes it, or the .dvc file that watches it; empty where there is none."""
        return next((self.makers[made] for made in (path, *path.parents) if made in self.makers), "")

    def params(self) -> Any:
        """The content of params.yaml now."""
        return read_yaml(self.root / PARAMS)

    def setting(self, key: str, default: Value) -> Value:
        """A value of params.yaml; the default where it is none that may be: the stage `check` refuses that in a sentence of its own."""
        value = find(self.params(), key)
        return value if type(value) is type(default) else default

    def begin(self, name: str, *, force: bool = False) -> bool:
        """Makes a stage ready for its command. False if it is done: its results were in DVC's cache, or it has no command, or is frozen.

        Waits while another DVC command reads or writes the same paths. Then nobody else can until finish() or give_up().
        """
        with self._alone_with_paths_of(name) as stage:
            if not stage.cmd or stage.frozen:  # DVC looks at the outputs only
                if stage.reproduce(force=force):
                    stage.dump()
                return False
            stage.remove_outs(ignore_remove=False, force=False)
            if not force and run_cache.restore(self.repo, stage):
                self._note(stage)
                return False
            hold, seen = contextlib.ExitStack(), run_cache.save_deps(stage)
            hold.enter_context(self._paths_of(stage))
            self.begun[name] = hold, seen
            return True

    def finish(self, name: str) -> None:
        """Saves the outputs of a stage whose command has ended well, and notes them in dvc.lock."""
        with self._alone(), transfers(name):
            hold, seen = self.begun.pop(name)
            hold.close()
            self._note(self._stage(name), seen)

    def give_up(self, name: str) -> None:
        """Lets go of a stage whose command has failed."""
        with self._alone():
            self.begun.pop(name)[0].close()

    def _note(self, stage: Any, before: dict[str, Any] | None = None) -> None:
        """Puts what a stage has made into the run cache, the cache and dvc.lock. Raises Changed."""
        run_cache.save(self.repo, stage, before)
        stage.commit()
        self.lock.note(stage)

    def push(self, remote: str | None = None) -> None:
        """Pushes what dvc.lock notes to the remote, or to the default one."""
        with self.held(), of_remotes():
            self.repo.push(remote=remote)

    # What a search needs besides

    def keys_read_by(self, name: str) -> set[str]:
        """The keys of params.yaml on which the stage depends, sections among them."""
        return {key for dep in self._stage(name).deps if isinstance(dep, ParamsDependency) for key in dep.params}

    def code_of(self, name: str) -> set[Path]:
        """What the stage reads of the repository that no stage makes: files and folders."""
        deps = {Path(dep.fs_path) for dep in self._stage(name).deps if not isinstance(dep, ParamsDependency) and dep.is_in_repo}
        return {path for path in deps if not self._maker_of(path)}

    def kept_by_git(self, name: str) -> list[Path]:
        """Those of the stage's outputs that are not for DVC's cache."""
        return [Path(out.fs_path) for out in self._stage(name).outs if not out.use_cache]

    def take_from_cache(self, names: Iterable[str]) -> None:
        """Puts the outputs of stages where they belong, as far as DVC's cache has them."""
        with self._alone(), refusals():
            for name in names:
                self._stage(name).checkout(force=True, allow_missing=True)

    # What a release needs besides

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The repository for this pipeline alone, however long: its methods work meanwhile, and other DVC commands wait."""
        with self.mutex:
            if is_first := not self.guard.is_locked:
                take(self.guard, self.tell)
        try:
            yield
        finally:
            if is_first:
                with self.mutex:
                    self.guard.unlock()

    @contextlib.contextmanager
    def reading(self, names: Iterable[str]) -> Iterator[None]:
        """Within it no other DVC command starts to write what the stages read and wrote. Raises GraphError if one does already."""
        hold = contextlib.ExitStack()
        with self._alone():
            things = [thing for name in names for thing in (*self._stage(name).deps, *self._stage(name).outs)]
            hold.enter_context(undisturbed(self.root, "release", sorted({str(thing.fs_path) for thing in things}), []))
        with hold:
            yield

    def noted(self) -> Any:
        """What dvc.lock holds now; hash_of() reads it."""
        with self._alone():
            return self.lock.data

    def written_besides(self) -> list[Path]:
        """The files that git keeps and the pipeline itself writes: dvc.lock, outputs outside DVC's cache (metrics), and .dvc files."""
        with self._alone():
            outs = [Path(out.fs_path) for stage in self.stages.values() for out in stage.outs if stage.cmd and not out.use_cache]
            return [self.lock.path, *outs, *(Path(stage.path) for stage in self.stages.values() if not stage.cmd)]

    def reads(self, name: str) -> list[Path]:
        """The paths of the stage's dependencies."""
        with self._alone():
            return [Path(dep.fs_path) for dep in self._stage(name).deps]

    def artifacts(self) -> set[str]:
        """The names under `artifacts` in dvc.yaml."""
        with self._alone():
            return {name for of_file in self.repo.artifacts.read().values() for name in of_file}

    def check_remote(self, remote: str | None) -> None:
        """Raises GraphError where no such, or no default, remote is configured that can be asked for files by their hashes."""
        with of_remotes():
            self.repo.cloud.get_remote_odb(remote, "push")

    def fetch(self, md5: str, remote: str | None) -> Path:
        """The file of DVC's cache with this hash; from the remote, if the cache has it no more. Raises GraphError if neither has it."""
        with self._alone(), of_remotes():
            path = Path(self.repo.cache.local.oid_to_path(md5))
            if not path.exists():
                self.repo.cloud.pull([HashInfo("md5", md5)], remote=remote)
            if not path.exists():
                raise GraphError(f"{md5} is neither in DVC's cache nor on the remote")
            return path

    def push_hashes(self, hashes: set[str], remote: str | None) -> set[str]:
        """Pushes from DVC's cache those of these files and folders that the remote lacks; the hashes of those that neither has whole.

        The remote is asked for every file. push() trusts what DVC noted of the remote earlier, and only logs what is lost.
        """
        with self._alone(), of_remotes():
            cache, there = self.repo.cache.local, self.repo.cloud.get_remote_odb(remote, "push")
            files = {md5: self._files_of(HashInfo("md5", md5), [cache, there]) for md5 in hashes}
            wanted, lost = {file for of_one in files.values() for file in of_one}, set[HashInfo]()
            done = transfer(cache, there, wanted, cache_odb=cache, validate_status=lambda status: lost.update(status.missing))
            if done.failed:
                raise GraphError(f"{len(done.failed)} files could not be pushed")
        return {md5 for md5, of_one in files.items() if not of_one or of_one & lost}

    def _files_of(self, item: HashInfo, stores: list[Any]) -> set[HashInfo]:
        """Itself, and what a folder holds; empty if that is not known, because no store has its list."""
        if not item.isdir:
            return {item}
        tree = find_tree_by_obj_id(stores, item)
        return set() if tree is None else {item, *(file for _, _, file in tree)}

    def sources_of(self, names: Iterable[str]) -> set[Path]:
        """The files that make the stages what they are and that no stage makes: dvc.yaml, params.yaml, their code as DVC sees it."""
        with self._alone():
            stages = [stage for stage in map(self._stage, names) if stage.cmd]
            code = {path for stage in stages for path in self.code_of(stage.addressing)}
            paths = {self.root / PARAMS, *(Path(stage.path) for stage in stages), *code}
            walked = [self.repo.dvcignore.find(self.repo.fs, str(path)) if path.is_dir() else [path] for path in paths]
            return {Path(file) for files in walked for file in files}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """The repository for ourselves: other threads and other DVC commands wait. What one of those has noted is read first."""
        with self.mutex, self.held():
            self._read_anew()
            yield

    @contextlib.contextmanager
    def _at(self, name: str) -> Iterator[Any]:
        """As _alone(), with a stage that errors name."""
        with self._alone(), refusals(name):
            yield self._stage(name)

    @contextlib.contextmanager
    def _alone_with_paths_of(self, name: str) -> Iterator[Any]:
        """As _at(), as soon as no other DVC command is at work on the stage's paths."""
        patience = Patience(self.tell, f"{name}: another DVC command is at work on its files")
        while True:
            with self._at(name) as stage:
                try:
                    with self._paths_of(stage):
                        pass
                except LockError:
                    pass
                else:
                    yield stage
                    return
            patience.wait()

    def _paths_of(self, stage: Any) -> Any:
        """Within it DVC's own list of paths in use says that the stage reads and writes its own. Raises LockError."""
        reads, writes = [str(dep.fs_path) for dep in stage.deps], [str(out.fs_path) for out in stage.outs]
        # Each stage is a user of its own in that list, though all are of this process.
        return paths_in_use(self.root, f"rebuild: {stage.addressing}", reads, writes)

    def _remove_torn_list_of_paths(self) -> None:
        """DVC writes that list in place, and refuses to do anything where a kill has left a piece of it."""
        try:
            with paths_in_use(self.root, "rebuild", [], []):
                return
        except (RWLockFileCorruptedError, RWLockFileFormatError):
            path = self.root / TMP / "rwlock"
            path.unlink()
            self.tell(f"{path} was half-written, by a DVC command that was killed, and is removed: it lists the files in use")


def one_command(lines: str | list[str] | None, name: str) -> str | None:
    """DVC runs a command's lines one after another, each in a shell of its own, as far as the first that fails.

    What looks for known outputs before a command is left out: begin() does.
    """
    lines = [for_a_shell(line, name) for line in (lines.splitlines() if isinstance(lines, str) else lines or [])]
    return " && ".join(lines if len(lines) < 2 else [f"(\n{line}\n)" for line in lines]) or None
