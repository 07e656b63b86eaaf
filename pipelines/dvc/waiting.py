"""The locks of a DVC repository, and waiting for what another DVC command has."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.fs import localfs
from dvc.lock import LockError, make_lock
from dvc.rwlock import rwlock

from pipelines.dvc.errors import GraphError, refusals
from pipelines.dvc.lock_file import TMP

POLL_S = 0.1  # between two looks at a lock that somebody else has
PATIENCE_S = 2.0  # before the wait for it is told


class Patience:
    """Waits for somebody else, and says so once it takes longer than a moment."""

    def __init__(self, tell: Callable[[str], None], what: str):
        self.tell, self.what, self.since, self.has_told = tell, what, time.monotonic(), False

    def wait(self) -> None:
        if not self.has_told and time.monotonic() - self.since > PATIENCE_S:
            self.tell(f"waiting: {self.what}")
            self.has_told = True
        time.sleep(POLL_S)


def lock_of(root: Path) -> Any:
    """DVC's own lock of the repository `root`, not yet taken."""
    if not (root / ".dvc").is_dir():
        raise GraphError("there is no DVC repository here (no folder .dvc): run the command in the root of the repository.")
    (root / TMP).mkdir(exist_ok=True)
    return make_lock(str(root / TMP / "lock"), tmp_dir=str(root / TMP), hardlink_lock=uses_hardlinks(root))


def take(lock: Any, tell: Callable[[str], None]) -> None:
    """Takes DVC's lock of a repository, however long another command has it."""
    patience = Patience(tell, "another DVC command has the repository's lock")
    while True:
        try:
            return lock.lock()
        except LockError:
            patience.wait()


@contextlib.contextmanager
def repository_lock(root: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """No other DVC command at work in the repository `root` (dvc gc, for one): those are waited for, and they wait."""
    lock = lock_of(root)
    take(lock, tell)
    try:
        yield
    finally:
        lock.unlock()


def paths_in_use(root: Path, who: str, reads: Iterable[str], writes: Iterable[str]) -> Any:
    """A context in which they are in DVC's own list of paths in use. Raises LockError where somebody else has one of them."""
    return rwlock(str(root / TMP), localfs, who, list(reads), list(writes), uses_hardlinks(root))


@contextlib.contextmanager
def undisturbed(root: Path, who: str, reads: Iterable[str], writes: Iterable[str]) -> Iterator[None]:
    """As paths_in_use(), without a wait: raises GraphError where somebody else has one of them."""
    with contextlib.ExitStack() as hold:
        try:
            with refusals():
                hold.enter_context(paths_in_use(root, who, reads, writes))
        except LockError as error:
            other, what = " ".join(str(error).partition("\n\n")[0].split()), "changed" if writes else "read"
            raise GraphError(f"another command is at work on what is to be {what}: {other}; wait until it has ended.") from error
        yield


def uses_hardlinks(root: Path) -> bool:
    """Whether the repository's locks are hard links, for file systems that have no others."""
    return bool(Config(str(root / ".dvc"))["core"].get("hardlink_lock", False))
