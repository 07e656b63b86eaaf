"""Runs stages' commands beside each other, each under a supervisor of its own, and stops them all when the flow ends."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.running.forks import ROOT, Forked, Forks

SUPERVISOR = ROOT / "stages/shell/supervisor.py"
GRACE_S = 8  # a training has saved its state by then
Process = Forked | subprocess.Popen[bytes]
NUM_KEPT = 100  # runs whose logs are kept
RESUMES = "the next run resumes from its last saved state, or starts it again"  # what a stage says for itself is better


def folder_of_run(logs: Path) -> Path:
    """A folder in `logs` for what the commands of a run say, named by the time. Of earlier runs the last ones stay."""
    earlier = sorted(path for path in logs.glob("*-*.*") if path.is_dir())
    for path in earlier[: max(0, len(earlier) - NUM_KEPT + 1)]:
        shutil.rmtree(path, ignore_errors=True)
    return logs / f"{datetime.now(UTC):%Y%m%d-%H%M%S.%f}"


@dataclass(frozen=True)
class Ended:
    """How a command has ended, because the flow was stopped or by itself. `said` is its own sentence, or else where its output is."""

    code: int
    said: str
    is_stopped: bool = False

    def __str__(self) -> str:
        return self.said if self.is_stopped else f"exit code {self.code}: {self.said}"


class Commands:
    """The commands that run now, their output in the folder `logs`. Use it in a with statement: at its end none is left."""

    def __init__(self, logs: Path):
        self.logs, self.running, self.mutex, self.is_over = logs, set[Process](), threading.Lock(), False
        self.forks = Forks()
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.forks.close()

    def run(
        self, name: str, command: str, folder: Path, environment: dict[str, str], tell: Callable[[str], None], files: Iterable[int] = ()
    ) -> Ended:
        """Runs the command in `folder`. `tell` gets each line of its output, which goes to the file `name`.log too.

        The open files stay open (and what is locked with them, locked) as long as anything of the command lives.
        """
        log, last = self.logs / f"{name}.log", deque[str](maxlen=20)
        with self.mutex:
            if self.is_over:
                return Ended(128 + signal.SIGTERM, "Stopped before it began.", is_stopped=True)
            process: Process | None = self.forks.start(command, log, GRACE_S, folder, as_environment(environment), files)
            process = process or start(command, log, GRACE_S, folder, environment, stdout=subprocess.PIPE, files=files)
            self.running.add(process)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.decode(errors="replace").rstrip())
                tell(last[-1])
            said = next((line.removeprefix("error: ") for line in reversed(last) if line.startswith("error: ")), "")
            return self._ended(process.wait(), said, log)
        finally:
            with self.mutex:
                self.running.discard(process)
                close(process)
            process.stdout.close()

    def _ended(self, code: int, said: str, log: Path) -> Ended:
        if self.is_over and code > 128:
            how = f"Killed, since it did not stop within {GRACE_S} s" if code == 128 + signal.SIGKILL else "Stopped before it said where"
            return Ended(code, said or f"{how}: {RESUMES}.", is_stopped=True)
        return Ended(code, said or f"see {log}")

    def stop(self) -> None:
        """Asks all to end, and returns when they have."""
        with self.mutex:
            self.is_over = True
            running = list(self.running)
            for process in running:
                close(process)
        for process in running:
            process.wait()


def start(
    command: str,
    log: Path,
    grace_s: float,
    folder: Path,
    environment: dict[str, str],
    stdout: int = subprocess.DEVNULL,
    files: Iterable[int] = (),
    umask: int = -1,
) -> "subprocess.Popen[bytes]":
    """The command under a supervisor, in `folder`, with this process's environment and `environment`; close() stops it.

    What it writes, and its log, have the modes that `umask` leaves; -1: this process's.
    """
    arguments = [sys.executable, "-I", "-S", str(SUPERVISOR), str(log.resolve()), str(grace_s), command]
    return subprocess.Popen(
        arguments,
        cwd=folder,
        env=as_environment(environment),
        stdin=subprocess.PIPE,
        stdout=stdout,
        start_new_session=True,
        pass_fds=tuple(files),
        umask=umask,
    )


def close(process: Process) -> None:
    """Asks the supervisor to stop."""
    assert process.stdin is not None
    process.stdin.close()


def as_environment(more: dict[str, str]) -> dict[str, str]:
    """This process's, with the Python that runs it as `python`, which is what the stages' commands start."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, **more}
