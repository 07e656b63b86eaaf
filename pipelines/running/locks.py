"""Locks on files, which end with the process that holds them, however that ends."""

import fcntl
import os
from pathlib import Path


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
