"""Runs a stage's command, unless what it would write is known: then that is taken from DVC's cache.

Command: python -m pipelines.dvc.known COMMAND [ARGUMENT ...]
Reads:   DVC_STAGE, the stage's name, which DVC sets; dvc.yaml, dvc.lock, the stage's inputs, DVC's run cache
Writes:  the stage's outputs, or what COMMAND writes; then an entry of DVC's run cache. The exit code is COMMAND's, or 1 where an input
         changed while it ran

dvc.yaml has it before the command of each stage whose outputs persist, since DVC itself keeps no run cache of these
(pipelines/dvc/run_cache.py). `dvc repro --force` and `--no-run-cache` run the command all the same, `--pull` asks the DVC remote for
what the cache lacks. The flows look the outputs up themselves, and leave this program out.
"""

import os
import re
import signal
import subprocess
import sys
from typing import Any

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.utils import parse_target

from pipelines.dvc.errors import GraphError
from pipelines.dvc.run_cache import inputs_seen, note, refuse_changed, restore
from pipelines.dvc.waiting import take
from pipelines.running.supervisor import PR_SET_PDEATHSIG, on_linux

PREFIX = "python -m pipelines.dvc.known "


class Known:
    """The stage `name` of the repository in the current folder."""

    def __init__(self, name: str):
        self.name = name
        self.repo = Repo()
        path, stage = parse_target(name)[:2]
        self.stage = self.repo.stage.load_one(path, stage)
        self.before: dict[str, Any] = {}

    def restored(self, *, pull: bool) -> bool:
        """Whether its outputs are those of the present inputs now, without its command; `pull`: the remote's files count too."""
        take(self.repo.lock, tell)
        try:
            return restore(self.repo, self.stage, pull=pull)
        finally:
            self.repo.lock.unlock()

    def note(self) -> None:
        """Notes what the command has made. Raises GraphError where inputs changed meanwhile."""
        take(self.repo.lock, tell)
        try:
            self.stage.save(run_cache=False)
            refuse_changed(self.name, self.stage, self.before)
            note(self.repo, self.stage)
        finally:
            self.repo.lock.unlock()


def tell(line: str) -> None:
    print(line, flush=True)


def options_of_dvc() -> set[str]:
    """The options, in their long form, of the DVC command that runs the stage: those that matter here."""
    import psutil

    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "repro" in words or "exp" in words:
            short = {"--force" for word in words if re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*", word)}
            forced = short | {"--force" for word in words if word == "--force-downstream"}
            return forced | (set(words) & {"--force", "--no-run-cache", "--pull"})
    return set()


def run(command: list[str]) -> int:
    """The command's exit code, as a shell gives it. On Linux the command ends with this process, however that ends."""
    # What asks a terminal or a process group to end reaches the command too, which puts away what it has: its end is waited for.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    code = subprocess.Popen(command, preexec_fn=lambda: on_linux(PR_SET_PDEATHSIG, signal.SIGKILL)).wait()
    return 128 - code if code < 0 else code


def prepared(name: str) -> Known | None:
    """The stage, with its inputs seen; None where its command cannot be done without. Exits with 0 where its outputs are restored."""
    try:
        known, options = Known(name), options_of_dvc()
        if options & {"--force", "--no-run-cache"}:
            known.stage.save_deps()
        elif known.restored(pull="--pull" in options):
            tell(f"{name}: known, and taken from DVC's cache")
            sys.exit(0)
        known.before = inputs_seen(known.stage)
    except (DvcException, LockError, OSError) as error:
        tell(f"{name}: DVC cannot say whether its outputs are known ({' '.join(str(error).split())})")
        return None
    return known


def main() -> None:
    name, command = os.environ.get("DVC_STAGE"), sys.argv[1:]
    if not command:
        sys.exit("usage: python -m pipelines.dvc.known COMMAND [ARGUMENT ...]")
    known = prepared(name) if name else None
    if code := run(command):
        sys.exit(code)
    if known:
        try:
            known.note()
        except GraphError as error:  # DVC would note the new inputs with what was made of the old ones
            sys.exit(f"error: {error}")
        except (DvcException, LockError, OSError) as error:
            tell(f"{name}: what it made is not noted in DVC's run cache ({' '.join(str(error).split())})")


if __name__ == "__main__":
    main()
