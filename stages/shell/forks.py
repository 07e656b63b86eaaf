"""Starts stages as forks of this process, which has imported what they share: each saves the two to four seconds that this takes.

Command: python -m stages.shell.forks
Reads:   stdin, a Unix socket: a message for each stage to be started (Job), with its open files; its end ends this process, and no stage
Writes:  nothing itself

A fork supervises a second one, which runs the stage (stages/shell/supervisor.py). The stage sees what it would see as a program of its
own: its code is imported anew, from the folder where it runs, in its environment. Only libraries are shared, and nothing is computed
here, since neither the threads of an OpenMP nor a CUDA device survive a fork.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
import warnings
from typing import IO, Any, NoReturn, TypedDict

from stages.shell.supervisor import end_with_parent, supervise

MESSAGE_BYTES, NUM_FILES = 1 << 18, 250
# What each stage imports anyway, and what takes long. Matplotlib and ONNX Runtime come in by files of ours, which first set the variables
# that keep the one from writing below HOME, and the other from reporting its use.
SHARED = {
    "stages.check": ["torch"],
    "stages.train": ["torch", "torch._dynamo"],
    "stages.evaluate": ["torch", "sklearn.metrics", "sklearn.ensemble", "pandas", "stages.common.figures"],
    "stages.report": ["torch", "scipy.special", "jinja2", "stages.common.figures"],
    "stages.export": ["torch", "onnx", "stages.exporting.forms"],
}


class Job(TypedDict):
    """A stage to be started, and where. Its open files: stdin, whose end stops it; stdout; one for its exit code; more that it holds."""

    module: str
    argument: str
    folder: str
    environment: dict[str, str]
    log: str
    grace_s: float


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forks are nobody's to wait for
    with socket.socket(fileno=os.dup(0)) as asker:
        while True:
            message, files, _, _ = socket.recv_fds(asker, MESSAGE_BYTES, NUM_FILES)
            if not message:
                return
            job: Job = json.loads(message)
            for library in SHARED.get(job["module"], []):
                with contextlib.suppress(Exception):  # the stage itself says what is wrong with it
                    importlib.import_module(library)
            gc.freeze()  # so that no collection in a fork copies what is shared
            if fork() == 0:
                asker.close()
                be_supervisor(job, files)
            for file in files:
                os.close(file)


def fork() -> int:
    """os.fork(), which warns of the threads of numpy's OpenBLAS; that prepares them for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def be_supervisor(job: Job, files: list[int]) -> NoReturn:
    """Of the job's stage, until it has ended; this process ends too, whatever happens."""
    stdin, stdout, code, *held = files
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        for file, number in ((stdin, 0), (stdout, 1)):
            os.dup2(file, number)
            os.close(file)
        os.chdir(job["folder"])
        ended_with = supervise(lambda: Stage(job, [code, *held]), job["log"], job["grace_s"])
        with contextlib.suppress(BrokenPipeError):  # who asked for it is gone
            os.write(code, str(ended_with).encode())
    except BaseException:  # noqa: BLE001  # in a fork nothing may reach its parent's frames
        traceback.print_exc()
    finally:
        os._exit(0)


class Stage:
    """A fork that runs the job's stage, in a process group of its own; it has none of `files`."""

    def __init__(self, job: Job, files: list[int]):
        reading, writing = os.pipe()
        self.code: int | None = None
        self.pid = fork()
        with contextlib.suppress(PermissionError, ProcessLookupError):  # of the two the first does it
            os.setpgid(self.pid, self.pid)
        if self.pid == 0:
            for file in (reading, *files):
                os.close(file)
            be_stage(job, writing)
        os.close(writing)
        self.stdout: IO[bytes] | None = os.fdopen(reading, "rb", buffering=0)

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code


def be_stage(job: Job, output: int) -> NoReturn:
    """As `python -m MODULE ARGUMENT` in the current folder; its threads and the interpreter's state end with it."""
    code: Any = 1
    try:
        end_with_parent()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for file, numbers in ((nothing, [0]), (output, [1, 2])):
            for number in numbers:
                os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(job["environment"])
        for name in [name for name in sys.modules if name.partition(".")[0] == "stages"]:
            del sys.modules[name]
        sys.path[0], sys.argv = job["folder"], [job["module"], job["argument"]]
        try:
            runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as end:
            code = end.code
    except BaseException:  # noqa: BLE001  # in a fork nothing may reach its parent's frames
        traceback.print_exc()
    finally:
        leave(code)


def leave(code: Any) -> NoReturn:
    """Ends this process as sys.exit() does, but for the caller's frames and the libraries' clearing up, which takes up to a second."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main()
