"""Rebuilds what changed, as `dvc repro` does, but with several stages at once.

Command: python -m pipelines.rebuild [--jobs N] [--force] [--no-keep-going] [--push] [--dry-run] [TARGET ...]
Reads:   dvc.yaml, dvc.lock, params.yaml, in the folder where it is run
Writes:  what the stages write; dvc.lock; their output, under logs/rebuild/<run>/, and how long they took, in logs/rebuild/seconds.json
"""

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path

from httpx import HTTPError
from prefect import flow, get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed, State
from pydantic import PositiveInt

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline
from pipelines.dvc.preview import show
from pipelines.rebuilding.build import Build, Outcome, Result, Rules, signal_of
from pipelines.rebuilding.report import Released, as_table, report
from pipelines.running import installed
from pipelines.running.commands import Commands, folder_of_run
from pipelines.running.leftovers import leftovers, notice
from pipelines.running.locks import BusyError, alone
from pipelines.running.slots import SlotError, Slots, usual_jobs
from pipelines.serving.presence import announce
from pipelines.serving.server import run_for_command_line

LOGS = Path("logs") / "rebuild"
SECONDS = LOGS / "seconds.json"
stopped_by = list[signal.Signals]()  # of the last run in this process


@flow(persist_result=False)
def rebuild(
    targets: list[str] | None = None,
    jobs: PositiveInt | None = None,
    force: bool = False,
    keep_going: bool = True,
    push: bool = False,
) -> State[None]:
    """Rebuild what changed, several stages at once.

    Args:
        targets: Stages of dvc.yaml (train@mnist_cnn, or train for all of them); what they need is rebuilt too. None: everything.
        jobs: Stages at a time. None: as many as there are cores for, with runtime.threads each.
        force: Also run what is up to date.
        keep_going: After a failure, continue with what does not depend on it.
        push: Push data and models to the DVC remote when everything is rebuilt.
    """
    stopped_by.clear()
    try:
        announce()
        with alone("rebuild"):
            results = build(targets or [], jobs, force, keep_going, push)
    except (BusyError, GraphError, SlotError) as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=f"{error}: fix that and run again; what was built is noted in dvc.lock.")
    except (KeyboardInterrupt, TerminationSignal) as error:
        stopped_by.append(signal_of(error))
        results = {}
    bad = ", ".join(f"{name} ({result.why})" for name, result in results.items() if not result.is_good)
    if stopped_by:
        how = f"stopped by {stopped_by[0].name}{': ' if bad else ''}{bad}"
        return Cancelled(name="Stopped", message=f"{how}; what was built is kept, and the same command resumes.")
    if bad:
        number = sum(not result.is_good for result in results.values())
        return Failed(message=f"{number} of {len(results)} stages were not rebuilt: {bad}.")
    return Completed(message=f"{len(results)} stages are up to date.")


def build(targets: list[str], jobs: int | None, force: bool, keep_going: bool, push: bool) -> dict[str, Result]:
    """What became of every stage, which is noted as an artifact too."""
    log = get_run_logger()
    pipeline = Pipeline(Path.cwd(), log.warning)
    plan = pipeline.plan(targets)
    with Commands(folder_of_run(LOGS)) as commands:
        rules = Rules(jobs or usual_jobs(pipeline), force, keep_going)
        made = Build(pipeline, plan, commands, Slots.of(pipeline), rules, read_seconds())
        results = made.run()
    note_seconds(results)
    if made.stopped_by:
        stopped_by.append(made.stopped_by)
        return results
    if found := leftovers(pipeline.params(), pipeline.noted().get("stages", {}), pipeline.root):
        log.warning("%s", notice(found))
    if made_with_others := installed.notice(pipeline.params().get("models", {}), pipeline.root):
        log.warning("%s", made_with_others)
    log.info("%s", as_table(results))
    if push and all(result.is_good for result in results.values()):
        pipeline.push()
    try:
        report(results, lambda: last_release_of(pipeline.root))
    except HTTPError as error:
        log.warning("The Prefect server does not answer (%s): it shows no tables of this run.", error)
    return results


def last_release_of(root: Path) -> Released:
    """Imported here, since that takes a second and more, which a rebuild that finds nothing to do need not wait for."""
    from pipelines.releasing.versions import last_release

    return last_release(root)


def read_seconds() -> dict[str, float]:
    """How long each stage took when it last ran; nothing is wrong if that was never noted, or badly."""
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(SECONDS.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note_seconds(results: dict[str, Result]) -> None:
    """Nothing is wrong if that cannot be noted: what comes next is built in another order."""
    ran = {name: round(result.seconds, 2) for name, result in results.items() if result.outcome is Outcome.RAN}
    with contextlib.suppress(OSError):
        SECONDS.write_text(json.dumps(read_seconds() | ran, indent=1), encoding="utf-8")


def number(text: str) -> int:
    """From 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number from 1 on")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.rebuild", description="Rebuild what changed, several stages at once.")
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="stages of dvc.yaml, for example train@mnist_cnn, or train for all of them; default: everything",
    )
    parser.add_argument("--jobs", type=number, metavar="N", help="stages at a time; default: as many as there are cores for")
    parser.add_argument("--force", action="store_true", help="also run what is up to date")
    parser.add_argument("--keep-going", action=argparse.BooleanOptionalAction, default=True, help="after a failure, continue with the rest")
    parser.add_argument("--push", action="store_true", help="push data and models to the DVC remote at the end")
    parser.add_argument("--dry-run", action="store_true", help="only tell which stages would run, and why (make preview: the same, sooner)")
    arguments = vars(parser.parse_args())
    if arguments.pop("dry_run"):
        return show(arguments["targets"])
    try:
        run_for_command_line(rebuild, arguments)
    except SystemExit as end:
        if not stopped_by:
            raise
        print(end.code, file=sys.stderr)
        sys.exit(128 + stopped_by[0])


if __name__ == "__main__":
    main()
