"""Waiting for what another DVC command has."""

import time
from collections.abc import Callable
from typing import Any

from dvc.lock import LockError

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


def take(lock: Any, tell: Callable[[str], None]) -> None:
    """Takes DVC's lock of a repository, however long another command has it."""
    patience = Patience(tell, "another DVC command has the repository's lock")
    while True:
        try:
            lock.lock()
            return
        except LockError:
            patience.wait()
