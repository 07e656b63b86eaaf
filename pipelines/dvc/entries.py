"""What `make remove` and `make rename` need of DVC: the repository for themselves, the entries of dvc.lock, and what the cache has."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.rwlock import rwlock
from dvc.utils.serialize import dumps_yaml

from pipelines.dvc.errors import GraphError, refusals
from pipelines.dvc.experiments import repository_lock
from pipelines.dvc.lock_file import parsed, replace

TMP = Path(".dvc") / "tmp"


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
            hardlinks = Config(str(root / ".dvc"))["core"].get("hardlink_lock", False)
            held.enter_context(repository_lock(root, tell))
            try:
                held.enter_context(rwlock(str(root / TMP), localfs, who, [], [str(root / path) for path in paths], hardlinks))
            except LockError as error:
                reason = " ".join(str(error).partition("\n\n")[0].split())
                raise GraphError(f"a stage is at work here: {reason}; wait until it has ended, or stop it.") from error
        yield


def lock_entries(text: str) -> dict[str, Any]:
    """What a dvc.lock notes, by stage."""
    return dict((parsed(text, "dvc.lock") or {}).get("stages") or {})


def with_entries(text: str, changes: dict[str, tuple[str, Any] | None]) -> str:
    """A dvc.lock in which stages have another name and entry, or none; the text of all others stays, byte by byte.

    Raises GraphError where the file is not laid out as DVC writes it.
    """
    expected: dict[str, Any] = {}
    for stage, entry in lock_entries(text).items():
        name, new = changes[stage] or (None, None) if stage in changes else (stage, entry)
        if name is not None:
            expected[name] = new
    for stage, change in changes.items():
        new_text = dumps_yaml({"stages": {change[0]: change[1]}}).partition("\n")[2] if change else ""
        text = re.sub(rf"^  {re.escape(stage)}:\n(?:(?:   .*)?\n)*", lambda _, new=new_text: new, text, count=1, flags=re.MULTILINE)  # type: ignore[misc]
    if not expected:
        text = re.sub(r"^stages:\n\Z", "stages: {}\n", text, flags=re.MULTILINE)
    if lock_entries(text) != expected:
        raise GraphError("dvc.lock is not laid out as DVC writes it: let DVC write it (dvc commit), and run this again.")
    return text


def write(path: Path, content: str, root: Path) -> None:
    """The file is replaced whole."""
    replace(path, content.encode(), root / TMP)


def is_in_cache(root: Path, pointer: Path) -> bool:
    """Whether DVC's cache has the very data that lies where a .dvc file says."""
    with refusals(str(pointer)), Repo(str(root)) as repo:
        return not any(out.status() or out.changed_cache() for stage in repo.stage.load_file(str(root / pointer)) for out in stage.outs)
