"""Runs one command and lets nothing of it outlive its caller.

Command: python -I -S supervisor.py LOG GRACE_S COMMAND
Reads:   stdin, whose end asks it to stop: it comes when the caller closes it, and when the caller dies, however that happens
Writes:  what the command writes, to stdout and to LOG, which is complete even where the caller is gone

Asked to stop, it sends SIGTERM to the command's process group, and SIGKILL after GRACE_S seconds. When the command has ended, whatever
it has left behind is killed. The exit code is the command's; 128 + N where signal N ended it.

It is a program of its own, and imports little, so that it starts in no time and survives its caller. stages/shell/forks.py supervises its
forks with it too.
"""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_S = 0.1  # between two looks whether the command has ended, where its output does not show it


class Child(Protocol):
    """The leader of a process group, as subprocess.Popen has it."""

    pid: int
    stdout: IO[bytes] | None

    def poll(self) -> int | None:
        """Its exit code, or minus the number of the signal that ended it; None while it runs."""


class Supervisor:
    """Of the command `child`, whose output goes to the file descriptors `outputs`."""

    def __init__(self, child: Child, outputs: list[int], grace_s: float):
        self.child, self.outputs, self.grace_s = child, outputs, grace_s
        self.is_asked, self.deadline = False, float("inf")

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True

    def watch(self) -> None:
        """Returns when the command has ended."""
        assert self.child.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin, selectors.EVENT_READ)
            selector.register(self.child.stdout, selectors.EVENT_READ)
            while self.child.poll() is None or self.has_more(selector) or self.is_saving():
                for key, _ in selector.select(LOOK_S):
                    content = os.read(key.fd, 1 << 16)
                    if not content:
                        selector.unregister(key.fileobj)
                    if key.fileobj is self.child.stdout:
                        self.pass_on(content)
                    elif not content:
                        self.is_asked = True
                self.stop_if_asked()

    def has_more(self, selector: selectors.BaseSelector) -> bool:
        """Whether the command, which has ended, has written what has not been read yet."""
        return any(key.fileobj is self.child.stdout for key, _ in selector.select(0))

    def is_saving(self) -> bool:
        """Whether something that the command has started still ends in good order, though the shell, asked to stop, is gone."""
        try:
            return self.is_asked and os.waitpid(-self.child.pid, os.WNOHANG) is not None
        except ChildProcessError:  # nothing of its process group is left
            return False

    def pass_on(self, content: bytes) -> None:
        for output in list(self.outputs):
            try:
                write_all(output, content)
            except OSError:  # its reader is gone, or the disk is full: no reason to end the command
                self.outputs.remove(output)

    def stop_if_asked(self) -> None:
        if self.is_asked and self.deadline == float("inf"):
            self.deadline = time.monotonic() + self.grace_s
            kill_group(self.child.pid, signal.SIGTERM)
        if time.monotonic() > self.deadline:
            kill_group(self.child.pid, signal.SIGKILL)


def start(command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )


def supervise(start: Callable[[], Child], log: str, grace_s: float) -> int:
    """Starts the command and returns when nothing of it is left: its exit code, as a shell gives it."""
    on_linux(PR_SET_CHILD_SUBREAPER, 1)
    with Path(log).open("ab", buffering=0) as file:
        child = start()
        supervisor = Supervisor(child, [file.fileno(), sys.stdout.fileno()], grace_s)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, supervisor.ask)
        supervisor.watch()
    code = child.poll()
    assert code is not None
    kill_group(child.pid, signal.SIGKILL)
    kill_children()
    return 128 - code if code < 0 else code


def end_with_parent() -> None:
    """On Linux this process is killed when its parent ends."""
    on_linux(PR_SET_PDEATHSIG, signal.SIGKILL)


def on_linux(option: int, value: int) -> None:
    """prctl(2), where there is one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def write_all(output: int, content: bytes) -> None:
    while content:
        content = content[os.write(output, content) :]


def kill_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def kill_children() -> None:
    """Kills what the command has started in process groups of its own, which is this process's child once its own parent has ended."""
    while True:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children() -> list[int]:
    """This process's, where /proc can tell."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == os.getpid():
            found.append(int(path.parent.name))
    return found


if __name__ == "__main__":
    command_log, seconds, line = sys.argv[1:]
    sys.exit(supervise(lambda: start(line), command_log, float(seconds)))
