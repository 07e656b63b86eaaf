"""Runs a stage's command, unless what it would write is known: then that is taken from DVC's cache.

Command: python -m pipelines.dvc.known COMMAND [ARGUMENT ...]
Reads:   DVC_STAGE, the stage's name, which DVC sets; dvc.yaml, dvc.lock, the stage's inputs, DVC's run cache
Writes:  the stage's outputs, or what COMMAND writes; then an entry of DVC's run cache. The exit code is COMMAND's, or 1 where an input
         changed while it ran

A word of COMMAND that is `@` stands for what follows the @ in the stage's name. DVC itself would write the name into the text that it gives
to a shell, before the stage `check` can refuse a name such as `a; reboot`.

dvc.yaml has it before the command of each stage whose outputs persist, since DVC itself keeps no run cache of these
(pipelines/dvc/run_cache.py). `dvc repro --force` and `--no-run-cache` run the command all the same, `--pull` asks the DVC remote for
what the cache lacks. The flows look the outputs up themselves, and leave this program out.
"""

import functools
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.utils import parse_target

from pipelines.dvc.errors import Changed, GraphError, as_reason
from pipelines.dvc.run_cache import restore, save, save_deps
from pipelines.dvc.waiting import repository_lock
from pipelines.running.parent import end_with_parent

PREFIX = "python -m pipelines.dvc.known "
KEY = "@"
HINDRANCES = (DvcException, GraphError, OSError, sqlite3.Error)
tell = functools.partial(print, flush=True)


def look_up(name: str) -> tuple[Repo, Any, dict[str, Any] | None]:
    """The stage `name` of the repository in the current folder, and what its inputs are: None if its outputs are in place now."""
    repo, (path, part) = Repo(), parse_target(name)
    stage, options = repo.stage.load_one(path, part), options_of_dvc()
    with repository_lock(Path(repo.root_dir), tell):
        is_forced = bool(options & {"--force", "--no-run-cache"})
        is_known = not is_forced and restore(repo, stage, pull="--pull" in options)
        return repo, stage, None if is_known else save_deps(stage)


def options_of_dvc() -> set[str]:
    """The options, in their long form, of the DVC command that runs the stage: those that matter here."""
    import psutil

    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "repro" in words or "exp" in words:
            force = any(re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*|--force-downstream", word) for word in words)
            return {"--force"} if force else set(words) & {"--force", "--no-run-cache", "--pull"}
    return set()


def run(command: list[str]) -> int:
    """The command's exit code, as a shell gives it. On Linux the command ends with this process, however that ends."""
    # What asks a terminal or a process group to end reaches the command too, which puts away what it has: its end is waited for.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    code = subprocess.Popen(command, preexec_fn=end_with_parent).wait()
    return 128 - code if code < 0 else code


def for_a_shell(line: str, name: str) -> str:
    """A line of dvc.yaml that starts this program, without it, as a shell reads it for the stage `name`; others as they are."""
    if not line.startswith(PREFIX):
        return line
    return re.sub(rf"(?<!\S){KEY}(?!\S)", lambda _: shlex.quote(key_of(name)), line.removeprefix(PREFIX))


def key_of(name: str) -> str:
    return name.partition("@")[2]


def main() -> None:
    name, command = os.environ.get("DVC_STAGE"), sys.argv[1:]
    if name:
        command = [key_of(name) if word == KEY else word for word in command]
    if not command:
        sys.exit("usage: python -m pipelines.dvc.known COMMAND [ARGUMENT ...]")
    found = None
    try:
        if name:
            found = repo, stage, before = look_up(name)
            if before is None:
                return tell(f"{name}: known, and taken from DVC's cache")
    except HINDRANCES as error:
        tell(f"{name}: DVC cannot say whether its outputs are known ({as_reason(error)})")
    if code := run(command):
        sys.exit(code)
    try:
        if found:
            with repository_lock(Path(repo.root_dir), tell):
                save(repo, stage, before)
    except Changed as error:  # DVC would note the new inputs with what was made of the old ones
        sys.exit(f"error: {error}")
    except HINDRANCES as error:
        tell(f"{name}: what it made is not noted in DVC's run cache ({as_reason(error)})")


if __name__ == "__main__":
    main()
