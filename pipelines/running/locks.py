"""Locks on files, which end with the process that holds them, however that ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

WORKSPACE = Path("logs") / "running" / "workspace"


class BusyError(Exception):
    """Somebody else has the folder. The message is one sentence."""


def locked(path: Path) -> int | None:
    """The open, locked file, which is made if need be; None where somebody else has it. A symbolic link is not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """Within it, nothing else of ours changes this folder. Raises BusyError where something does."""
    file = locked(WORKSPACE)
    if file is None:
        raise BusyError(
            f"{WORKSPACE.read_text(encoding='utf-8') or 'another flow'} is at work in this folder: wait for its end, or stop it."
        )
    try:
        os.truncate(file, 0)
        os.write(file, f"{what} (process {os.getpid()}, since {time.strftime('%H:%M:%S')})".encode())
        yield
    finally:
        os.close(file)
