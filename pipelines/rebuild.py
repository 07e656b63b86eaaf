"""Rebuilds what changed, as `dvc repro` does, but with several stages at once.

Command: python -m pipelines.rebuild [--jobs N] [--force] [--no-keep-going] [--push] [TARGET ...]
Reads:   dvc.yaml, dvc.lock, params.yaml, in the folder where it is run
Writes:  what the stages write; dvc.lock; what they said, under logs/rebuild/<run>/, and how long they took, in logs/rebuild/seconds.json
"""

import argparse
import json
import os
import queue
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed, State
from pydantic import PositiveInt

from pipelines.dvc import GraphError, Pipeline, Stage
from pipelines.running.commands import Commands
from pipelines.running.server import ServerError, use_prefect_server

LOGS = Path("logs") / "rebuild"
SECONDS = LOGS / "seconds.json"


class Outcome(StrEnum):
    UP_TO_DATE = "up to date"
    RESTORED = "from the cache"
    RAN = "ran"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Result:
    """What became of a stage; `why` is a sentence where it failed or was skipped."""

    outcome: Outcome
    seconds: float = 0.0
    why: str = ""

    @property
    def is_good(self) -> bool:
        return self.outcome not in (Outcome.FAILED, Outcome.SKIPPED)


class StageFailed(Exception):
    """The message says why, in a sentence."""


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
        jobs: Stages at a time. None: as many as there are cores for runtime.threads each.
        force: Also run what is up to date.
        keep_going: After a failure, go on with what does not depend on it.
        push: Push data and models to the DVC remote when everything is rebuilt.
    """
    try:
        results = build(targets or [], jobs, force, keep_going, push)
    except GraphError as error:
        return Failed(message=str(error))
    if failed := [f"{name} ({result.why})" for name, result in results.items() if not result.is_good]:
        return Failed(message=f"{len(failed)} of {len(results)} stages were not rebuilt: {', '.join(failed)}.")
    return Completed(message=f"{len(results)} stages are up to date.")


def build(targets: list[str], jobs: int | None, force: bool, keep_going: bool, push: bool) -> dict[str, Result]:
    """What became of every stage, which is noted as an artifact too."""
    log = get_run_logger()
    pipeline = Pipeline(Path.cwd(), log.warning)
    plan = pipeline.plan(targets)
    jobs = jobs or max(1, num_cores() // pipeline.params()["runtime"]["threads"])
    with Commands(LOGS / f"{datetime.now(UTC):%Y%m%d-%H%M%S.%f}") as commands:
        results = Build(pipeline, plan, commands, jobs, force, keep_going).run()
    note_seconds(results)
    create_markdown_artifact(as_table(results), key="rebuild", description="What became of every stage")
    log.info("%s", as_table(results))
    if push and all(result.is_good for result in results.values()):
        pipeline.push()
    return results


class Build:
    """The stages of `plan`, at most `jobs` at once, each as soon as those that it waits for are done; the longest way to the end first."""

    def __init__(self, pipeline: Pipeline, plan: list[Stage], commands: Commands, jobs: int, force: bool, keep_going: bool):
        self.pipeline, self.commands, self.jobs, self.force, self.keep_going = pipeline, commands, jobs, force, keep_going
        self.stages = {stage.name: stage for stage in plan}
        self.after = {stage.name: [name for name in stage.after if name in self.stages] for stage in plan}
        self.urgency = longest_way_to_the_end(self.after, read_seconds())
        self.results, self.stale = dict[str, Result](), set[str]()
        self.futures, self.made = dict[str, PrefectFuture[State[None]]](), dict[str, Result]()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self) -> dict[str, Result]:
        """What became of every stage."""
        while len(self.results) < len(self.stages):
            while self.start_what_can_start():
                pass
            if self.running:
                self.settle(self.ended.get())
        return self.results

    @property
    def running(self) -> list[str]:
        return [name for name in self.futures if name not in self.results]

    def start_what_can_start(self) -> bool:
        """Whether a stage turned out to be up to date, so that others may start now."""
        found = False
        for name in self.ready():
            if name not in self.stale and not self.force and self.pipeline.is_up_to_date(name):
                self.results[name], found = Result(Outcome.UP_TO_DATE), True
                continue
            self.stale.add(name)
            if self.has_room_for(name):
                self.start(name)
        return found

    def ready(self) -> list[str]:
        """Those that wait for nothing any more, the most urgent first."""
        names = [
            name
            for name, after in self.after.items()
            if name not in self.results and name not in self.futures and all(other in self.results for other in after)
        ]
        return sorted(names, key=lambda name: -self.urgency[name])

    def has_room_for(self, name: str) -> bool:
        return len(self.running) < self.jobs

    def start(self, name: str) -> None:
        """Hands the stage to Prefect, as a task of its name."""

        @task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
        def run_stage() -> State[None]:
            try:
                self.made[name] = self.made_of(self.stages[name])
            except (GraphError, StageFailed) as error:
                self.made[name] = Result(Outcome.FAILED, why=str(error))
                return Failed(message=str(error))
            return Completed(message=self.made[name].outcome)

        upstream = [self.futures[other] for other in self.after[name] if other in self.futures]
        self.futures[name] = run_stage.submit(return_state=False, wait_for=upstream)
        self.futures[name].add_done_callback(lambda _: self.ended.put(name))

    def made_of(self, stage: Stage) -> Result:
        """Runs in a thread of its own."""
        started = time.monotonic()
        if not self.pipeline.begin(stage.name, force=self.force):
            return Result(Outcome.RESTORED, time.monotonic() - started)
        assert stage.command is not None
        log, last = get_run_logger(), deque[str](maxlen=20)

        def tell(line: str) -> None:
            last.append(line)
            log.info("%s", line)

        try:
            code = self.commands.run(stage.name, stage.command, stage.folder, {"DVC_STAGE": stage.name}, tell)
            if code:
                raise StageFailed(reason(code, last, self.commands.log_of(stage.name)))
        except BaseException:
            self.pipeline.give_up(stage.name)
            raise
        self.pipeline.finish(stage.name)
        return Result(Outcome.RAN, time.monotonic() - started)

    def settle(self, name: str) -> None:
        """Notes how a stage has ended; what can't be built without it is skipped."""
        self.results[name] = self.made.pop(name, Result(Outcome.FAILED, why="see Prefect's log"))
        if self.results[name].is_good:
            return
        others = self.after if not self.keep_going else dependents(name, self.after)
        for other in others:
            if other not in self.results and other not in self.futures:
                self.results[other] = Result(Outcome.SKIPPED, why=f"skipped: {name} failed")


def reason(code: int, last: Iterable[str], log: Path) -> str:
    """Why a stage has failed, by the last lines that it wrote: its own sentence, if it has one."""
    said = next((line for line in reversed(list(last)) if line.startswith("error: ")), f"see {log}")
    return f"exit code {code}: {said.removeprefix('error: ')}"


def dependents(name: str, after: dict[str, list[str]]) -> list[str]:
    """All stages that wait for it, whether or not others lie between."""
    found = {name}
    for other, upstream in after.items():  # in the order of the graph
        if found & set(upstream):
            found.add(other)
    return [other for other in after if other in found - {name}]


def longest_way_to_the_end(after: dict[str, list[str]], seconds: dict[str, float]) -> dict[str, float]:
    """For each stage, how long it and the slowest chain of stages behind it take, going by the last time."""
    usual = sum(seconds.values()) / len(seconds) if seconds else 1.0
    ways = dict.fromkeys(after, 0.0)
    for name in reversed(after):
        ways[name] += seconds.get(name, usual)
        for other in after[name]:
            ways[other] = max(ways[other], ways[name])
    return ways


def read_seconds() -> dict[str, float]:
    """How long each stage took when it last ran; nothing is wrong if that was never noted, or badly."""
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(SECONDS.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note_seconds(results: dict[str, Result]) -> None:
    ran = {name: round(result.seconds, 2) for name, result in results.items() if result.outcome is Outcome.RAN}
    SECONDS.write_text(json.dumps(read_seconds() | ran, indent=1), encoding="utf-8")


def as_table(results: dict[str, Result]) -> str:
    """Markdown: a line for each stage, but for those that were up to date, which are counted."""
    idle = [name for name, result in results.items() if result.outcome is Outcome.UP_TO_DATE]
    rows = [
        f"| {name} | {result.outcome} | {result.seconds:.1f} | {result.why} |"
        for name, result in results.items()
        if result.outcome is not Outcome.UP_TO_DATE
    ]
    table = ["| stage | outcome | seconds | why |", "|---|---|---|---|", *rows] if rows else []
    return "\n".join([*table, *([""] if rows else []), f"{len(idle)} of {len(results)} stages were up to date."])


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.rebuild", description="Rebuild what changed, several stages at once.")
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="stages of dvc.yaml, for example train@mnist_cnn, or train for all of them; default: everything",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="stages at a time; default: as many as there are cores for")
    parser.add_argument("--force", action="store_true", help="also run what is up to date")
    parser.add_argument("--keep-going", action=argparse.BooleanOptionalAction, default=True, help="after a failure, go on with the rest")
    parser.add_argument("--push", action="store_true", help="push data and models to the DVC remote at the end")
    arguments = vars(parser.parse_args())
    try:
        use_prefect_server()
        state = rebuild(**arguments, return_state=True)
    except ServerError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if not state.is_completed():
        sys.exit(f"error: {state.message}")


if __name__ == "__main__":
    main()
