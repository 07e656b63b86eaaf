"""Starts stages as forks of one process that has imported torch and the like already (stages/shell/forks.py)."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
STAGE = re.compile(r"python -m (stages\.\w+) ([\w.-]+)")
KILLED = 137


class Forked:
    """A supervised stage, as subprocess.Popen has a command under a supervisor: closing `stdin` asks it to stop."""

    def __init__(self, stdin: IO[bytes], stdout: IO[bytes], code: IO[bytes]):
        self.stdin, self.stdout, self._code = stdin, stdout, code
        self._mutex, self._ended_with = threading.Lock(), -1

    def wait(self) -> int:
        """Its exit code, once it has ended with all that it started."""
        with self._mutex:
            if not self._code.closed:
                self._ended_with = int(self._code.read() or KILLED)  # a signal may interrupt it: then it is asked again
                self._code.close()
            return self._ended_with


class Forks:
    """The process whose forks are the stages; it is started for the first of them, and ends with this process or close()."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.asker: socket.socket | None = None

    def start(
        self, command: str, log: Path, grace_s: float, folder: Path, environment: dict[str, str], files: Iterable[int]
    ) -> Forked | None:
        """The command, in `folder`; None where it is no stage's, or cannot be forked here: then it is to be started as any other."""
        if sys.platform != "linux" or not (match := STAGE.fullmatch(command)) or not (folder / "stages").is_dir():
            return None
        job = {
            "module": match[1],
            "argument": match[2],
            "folder": str(folder.resolve()),
            "environment": environment,
            "log": str(log.resolve()),
            "grace_s": grace_s,
        }
        stdin, stdout, code = os.pipe(), os.pipe(), os.pipe()
        theirs = [stdin[0], stdout[1], code[1]]
        try:
            with self.mutex:
                socket.send_fds(self._begun(), [json.dumps(job).encode()], [*theirs, *files])
        except OSError:  # it was killed, or the environment is larger than a message
            for file in (stdin[1], stdout[0], code[0]):
                os.close(file)
            return None
        finally:
            for file in theirs:
                os.close(file)
        return Forked(os.fdopen(stdin[1], "wb"), os.fdopen(stdout[0], "rb"), os.fdopen(code[0], "rb"))

    def _begun(self) -> socket.socket:
        if self.asker is None:
            self.asker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-m", "stages.shell.forks"]
                self.process = subprocess.Popen(command, cwd=ROOT, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True)
        return self.asker

    def close(self) -> None:
        with self.mutex:
            if self.asker is not None:
                self.asker.close()
            if self.process is not None:
                self.process.wait()
