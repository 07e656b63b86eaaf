"""Makes one trial of a sweep: trains with other values of params.yaml in a folder of its own, and keeps the outcome as a DVC experiment.

Command: python -m pipelines.searching.trial TICKET
Reads:   TICKET, the trial's description in JSON, which the sweep has written
Writes:  the folder beside it, of the same name; at the end the experiment, whose model is in DVC's cache by then

It is a program of its own because DVC takes the current folder for its repository's. Whoever asks it to stop asks the training too,
which saves its state in the folder; the next run of the same trial goes on there. The exit code is that of the stage that has failed;
NOT_THE_STAGE where something else was in the way and the same trial may well succeed another time.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.dvc.errors import GraphError
from pipelines.dvc.experiments import begin_copy, repository_lock, set_params
from pipelines.dvc.pipeline import Pipeline, Stage
from pipelines.running.git import GitError
from pipelines.searching.experiments import Base, check_out, keep

NOT_THE_STAGE = 75


@dataclass(frozen=True)
class Ticket:
    """What a trial is: the experiment `name` of the stage `target` with `values` in params.yaml, upon `base` of the repository `root`."""

    root: str
    base: Base
    target: str
    values: dict[str, Any]
    name: str

    @classmethod
    def read(cls, path: Path) -> "Ticket":
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**content | {"base": Base(**content["base"])})

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")


def make(ticket: Ticket, folder: Path, is_asked: Callable[[], bool]) -> int:
    """Makes the trial in `folder`, or goes on with it there; the exit code. Raises GraphError and GitError."""
    root, index = Path(ticket.root), folder.with_suffix(".index")
    if not index.exists():
        prepare(ticket, folder, index)
    os.chdir(folder)
    pipeline = Pipeline(folder, say)
    *before, last = pipeline.plan([ticket.target])
    pipeline.take_from_cache(stage.name for stage in before)

    def keep_all() -> None:
        new = [path for stage in (*before, last) for path in pipeline.kept_by_git(stage.name) if path.exists()]
        keep(root, ticket.base, folder, index, [folder / "dvc.lock", *new], ticket.name)

    for stage in before:
        if code := run(pipeline, stage, root, is_asked):
            return code
    return run(pipeline, last, root, is_asked, keep_all)


def prepare(ticket: Ticket, folder: Path, index: Path) -> None:
    """Fills the folder: files from git, with the trial's values. The index comes last: with it, all is there."""
    shutil.rmtree(folder, ignore_errors=True)
    beside = index.with_suffix(".part")
    beside.unlink(missing_ok=True)
    check_out(Path(ticket.root), ticket.base.tree, folder, beside)
    begin_copy(Path(ticket.root), folder)
    set_params(folder, ticket.values)
    beside.rename(index)


def run(pipeline: Pipeline, stage: Stage, root: Path, is_asked: Callable[[], bool], then: Callable[[], None] = lambda: None) -> int:
    """Brings one stage up to date; its exit code. `then` follows in the same breath: no `dvc gc` can come between."""
    if is_asked():
        return 128 + signal.SIGTERM
    is_run = not pipeline.is_up_to_date(stage.name) and pipeline.begin(stage.name)
    if is_run:
        assert stage.command is not None
        environment = os.environ | {"DVC_STAGE": stage.name}
        code = subprocess.run(["/bin/sh", "-c", stage.command], cwd=stage.folder, env=environment, check=False).returncode
        if code:
            pipeline.give_up(stage.name)
            return 128 - code if code < 0 else code
    with repository_lock(root, say):
        if is_run:
            pipeline.finish(stage.name)
        then()
    return 0


def say(line: str) -> None:
    print(line, flush=True)


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Waits until the same trial of a run that was killed a moment ago has saved what it had, and is gone."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_for_all(folder: Path) -> None:
    """Returns when none of the trials is made any more whose tickets lie in the folder."""
    for ticket in folder.glob("*.json"):
        with alone_with(ticket):
            continue


def main() -> None:
    path, asked = Path(sys.argv[1]), list[int]()
    # The stage gets it as well, and ends; what has been done by then is put away here.
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    try:
        with alone_with(path):
            sys.exit(make(Ticket.read(path), path.with_suffix(""), lambda: bool(asked)))
    except (GraphError, GitError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOT_THE_STAGE)


if __name__ == "__main__":
    main()
