"""Files and folders that are written beside and renamed: a stage that dies leaves the old result or the new one, never half of one."""

import contextlib
import csv
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.shell.errors import UserError


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a new empty folder beside `path`; when the block ends well it takes the place of `path`, else it is removed.

    Two renames are needed, so a kill between them leaves `path` absent and the old content in `.NAME.old`; the next
    call puts that back before anything else. Raises UserError while another process is at it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")

    def tidy() -> None:
        if old.exists() and not path.exists():  # stopped between the two renames
            old.rename(path)
        _remove(beside)
        _remove(old)

    with alone_with(path.parent):
        tidy()
        beside.mkdir()
        try:
            yield beside
            if path.exists():
                path.rename(old)
            beside.rename(path)
        finally:
            tidy()


@contextlib.contextmanager
def alone_with(path: Path, refusal: str = "") -> Iterator[None]:
    """Holds a lock on a folder, or on a file that is made if need be; it ends with the process at the latest.

    Raises UserError (with `refusal`, if given) while another process holds it.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(path.stat(), os.fstat(descriptor))  # else its owner has renamed it in this very moment
        except (BlockingIOError, FileNotFoundError):
            held = False
        if not held:
            raise UserError(refusal or f"Another process is writing {path}: wait until it has ended, and run the stage again.")
        yield
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """What stands at `path`, if anything: somebody may have put a file or a link where a folder belongs."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Ask the system to put a file's bytes on the disk, so that a rename never outlives its content, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


Content = bytes | Iterable[bytes | memoryview]  # whole, or in pieces


def write_files(contents: Mapping[Path, Content]) -> None:
    """Writes files that belong together: none is replaced before all are written.

    Raises UserError while another process is writing one of them.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(_replacing_file(path, content))


@contextlib.contextmanager
def _replacing_file(path: Path, content: Content) -> Iterator[None]:
    """Writes `content` beside `path`; it takes the place of `path` when the block ends well, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    with alone_with(beside):
        try:
            with naming(path):
                with beside.open("wb") as file:
                    file.writelines([content] if isinstance(content, bytes) else content)
                sync(beside)
            yield
            with naming(path):
                beside.replace(path)
                sync(path.parent)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """In it an error of the system's names `path`, not the file beside it, or none as for a full disk."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def as_json(content: Any) -> bytes:
    """Keys keep their order; NaN and infinities are refused, since JSON has none."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A header and a line a row, all with the first row's keys, with Unix line ends; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
