"""Rebuilds what changed, as `dvc repro` does, but with several stages at once.

Command: python -m pipelines.rebuild [--jobs N] [--force] [--no-keep-going] [--push] [--dry-run] [TARGET ...]
Reads:   dvc.yaml, dvc.lock, params.yaml, in the folder where it is run
Writes:  what the stages write; dvc.lock; their output, under logs/rebuild/<run>/, and how long they took, in logs/rebuild/seconds.json
"""

import argparse
from pathlib import Path

from httpx import HTTPError
from prefect import flow, get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed, State
from pydantic import PositiveInt

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline
from pipelines.dvc.preview import show
from pipelines.rebuilding.arguments import add_arguments
from pipelines.rebuilding.build import Build, Result, Rules, how_stopped, notices, why_not
from pipelines.rebuilding.report import Released, as_table, report
from pipelines.rebuilding.tasks import PrefectTasks
from pipelines.running.limit import count_of_server
from pipelines.running.locks import BusyError, alone
from pipelines.running.slots import SlotError, Slots
from pipelines.serving.presence import announce
from pipelines.serving.server import run_for_command_line, signal_of, stopped_by


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
    results = dict[str, Result]()
    try:
        announce()
        with alone("rebuild"):
            results = build(targets or [], Rules(jobs, force, keep_going), push)
    except (BusyError, GraphError, SlotError) as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=f"{error}: fix that and run again; what was built is noted in dvc.lock.")
    except (KeyboardInterrupt, TerminationSignal) as error:
        stopped_by.extend(filter(None, [signal_of(error)]))
    if stopped_by:
        return Cancelled(name="Stopped", message=how_stopped(stopped_by[0], results))
    if bad := why_not(results):
        return Failed(message=bad)
    return Completed(message=f"{len(results)} stages are up to date.")


def build(targets: list[str], rules: Rules, push: bool) -> dict[str, Result]:
    """What became of every stage, which is noted as an artifact too."""
    log = get_run_logger()
    pipeline = Pipeline(Path.cwd(), log.warning)
    made = Build(pipeline, pipeline.plan(targets), Slots.of(pipeline, count_of_server()), rules)
    results = made.run(PrefectTasks())
    if made.stopped_by:
        stopped_by.append(made.stopped_by)
        return results
    for line in notices(pipeline):
        log.warning("%s", line)
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.rebuild", description="Rebuild what changed, several stages at once.")
    add_arguments(parser)
    parser.add_argument("--push", action="store_true", help="push data and models to the DVC remote at the end")
    parser.add_argument("--dry-run", action="store_true", help="only tell which stages would run, and why (make preview: the same, sooner)")
    arguments = vars(parser.parse_args())
    if arguments.pop("dry_run"):
        show(arguments["targets"])
    else:
        run_for_command_line(rebuild, arguments)


if __name__ == "__main__":
    main()
