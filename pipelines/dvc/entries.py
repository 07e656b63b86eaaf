"""What `make remove` and `make rename` need of DVC: the repository for themselves, the entries of dvc.lock, and what the cache has."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dvc.lock import LockError
from dvc.repo import Repo

from pipelines.dvc.errors import GraphError, refusals
from pipelines.dvc.lock_file import as_text, parsed_lock, replace
from pipelines.dvc.waiting import TMP, paths_in_use, repository_lock


@contextlib.contextmanager
def repository_and_paths(root: Path, who: str, paths: Iterable[Path], tell: Callable[[str], None]) -> Iterator[None]:
    """No other DVC command in the repository, which is waited for, and no stage at work on the paths.

    Raises GraphError where one is, or where there is no repository.
    """
    if not (root / ".dvc").is_dir():
        raise GraphError("there is no DVC repository here (no folder .dvc): run the command in the root of the repository.")
    (root / TMP).mkdir(exist_ok=True)
    with contextlib.ExitStack() as held:
        with refusals():
            held.enter_context(repository_lock(root, tell))
            try:
                held.enter_context(paths_in_use(root, who, [], [str(root / path) for path in paths]))
            except LockError as error:
                reason = " ".join(str(error).partition("\n\n")[0].split())
                raise GraphError(f"a stage is at work here: {reason}; wait until it has ended, or stop it.") from error
        yield


def lock_entries(text: str) -> dict[str, Any]:
    """The entries of a dvc.lock, by stage."""
    return dict(parsed_lock(text)["stages"])


def with_entries(text: str, changes: dict[str, tuple[str, Any] | None]) -> str:
    """A dvc.lock in which stages have another name and entry, or none; all others stay as they are."""
    entries = dict[str, Any]()
    for stage, entry in (lock := parsed_lock(text))["stages"].items():
        name, new = (changes[stage] or (None, None)) if stage in changes else (stage, entry)
        if name is not None:
            entries[name] = new
    return as_text(lock | {"stages": entries})


def write(path: Path, content: str, root: Path) -> None:
    """The file is replaced whole."""
    replace(path, content.encode(), root / TMP)


def is_in_cache(root: Path, pointer: Path) -> bool:
    """Whether DVC's cache has the very data that lies where a .dvc file says."""
    with refusals(str(pointer)), Repo(str(root)) as repo:
        return not any(out.status() or out.changed_cache() for stage in repo.stage.load_file(str(root / pointer)) for out in stage.outs)
