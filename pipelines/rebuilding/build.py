"""Runs the stages of a plan beside each other, wherever one sees them: as Prefect's tasks (tasks.py) or on a terminal (repro.py)."""

import contextlib
import json
import queue
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Protocol

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline, Stage
from pipelines.running import installed
from pipelines.running.commands import Commands, Ended, folder_of_run
from pipelines.running.leftovers import leftovers, notice
from pipelines.running.slots import Slot, SlotError, Slots, num_gpus, usual_jobs

LOGS = Path("logs") / "rebuild"
SECONDS = LOGS / "seconds.json"  # how long each stage took when it last ran
USUAL_SECONDS = Path(__file__).with_name("usual_seconds.json")  # of the lessons' stages, for those that have not run here
MOST_NAMED = 3  # of the stages that were skipped
LOOK_S = 1.0  # between two looks whether a GPU that somebody else has is free


class Outcome(StrEnum):
    UP_TO_DATE = "up to date"
    RESTORED = "from the cache"
    RAN = "ran"
    FAILED = "failed"
    SKIPPED = "skipped"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Result:
    """What became of a stage; `why` is a sentence where it failed, or was skipped or stopped."""

    outcome: Outcome
    seconds: float = 0.0
    why: str = ""

    @property
    def is_good(self) -> bool:
        return self.outcome in (Outcome.UP_TO_DATE, Outcome.RESTORED, Outcome.RAN)


@dataclass(frozen=True)
class Rules:
    """How many stages may run at once (None: as many as there are cores for), and whether those that are up to date run too.

    And whether the rest continues after a failure.
    """

    jobs: int | None = None
    force: bool = False
    keep_going: bool = True


Tell = Callable[[str], None]


class Tasks(Protocol):
    """Where one sees what becomes of the stages."""

    def run(self, name: str, after: list[str], body: Callable[[Tell], Result], ended: Callable[[], None]) -> None:
        """Begins with `body` in a thread of its own, and calls `ended` after it, or instead of it where it is not to run."""

    def note(self, name: str, after: list[str], result: Result) -> None:
        """Of a stage that is not run."""

    def signal_of(self, error: BaseException) -> signal.Signals | None:
        """The signal that has raised it in the main thread, where it asks for the end."""


class Build:
    """The stages of `plan`, each as soon as those that it waits for are done and its GPUs are free; the longest way to the end first."""

    def __init__(self, pipeline: Pipeline, plan: list[Stage], slots: Slots, rules: Rules):
        self.pipeline, self.slots, self.rules = pipeline, slots, rules
        self.jobs, self.commands = rules.jobs or usual_jobs(pipeline), Commands(folder_of_run(LOGS))
        self.stages = {stage.name: stage for stage in plan}
        self.after = {stage.name: [name for name in stage.after if name in self.stages] for stage in plan}
        self.gpus = {stage.name: num_gpus(stage) for stage in plan}
        self.seconds = expected_seconds(self.stages)
        self.urgency = longest_way_to_the_end(self.after, self.seconds)
        self.results, self.stale = dict[str, Result](), set[str]()
        self.started, self.made = set[str](), dict[str, Result]()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.stopped_by: signal.Signals | None = None

    def run(self, tasks: Tasks) -> dict[str, Result]:
        """What became of every stage, in the order of the graph.

        Ctrl-C and SIGTERM stop those that run; then only those that have begun have a result, and `stopped_by` is the signal.
        """
        self.tasks = tasks
        with self.commands:
            try:
                while len(self.results) < len(self.stages):
                    while self.start_what_can_start():
                        pass
                    with contextlib.suppress(queue.Empty):
                        if len(self.results) < len(self.stages):
                            # Nobody tells when a GPU that another flow has is free: hence the looks.
                            self.settle(self.ended.get(timeout=LOOK_S if self.slots.devices else None))
            except BaseException as error:
                self.stopped_by = self.tasks.signal_of(error)
                if self.stopped_by is None:
                    raise
                self.commands.stop()
                while self.running:
                    self.settle(self.ended.get())
        results = {name: self.results[name] for name in self.stages if name in self.results}
        note_seconds(results)
        return results

    @property
    def running(self) -> list[str]:
        return [name for name in self.started if name not in self.results]

    def start_what_can_start(self) -> bool:
        """Whether a stage turned out to be up to date, so that others may start now."""
        found = False
        for name in self.ready():
            if name not in self.stale and not self.rules.force and self.pipeline.is_up_to_date(name):
                self.note(name, Result(Outcome.UP_TO_DATE))
                found = True
                continue
            self.stale.add(name)
            if len(self.running) < self.jobs and (slot := self.slots.take(self.gpus[name])) is not None:
                self.start(name, slot)
        return found

    def ready(self) -> list[str]:
        """Those that wait for nothing any more, the most urgent first."""
        names = [
            name
            for name, after in self.after.items()
            if name not in self.results and name not in self.started and all(other in self.results for other in after)
        ]
        return sorted(names, key=lambda name: -self.urgency[name])

    def start(self, name: str, slot: Slot) -> None:
        def run_stage(tell: Tell) -> Result:
            started = time.monotonic()
            try:
                result = self.made_of(self.stages[name], slot, tell)
            except (GraphError, SlotError) as error:
                result = Result(Outcome.FAILED, time.monotonic() - started, str(error))
            finally:
                slot.close()
            self.made[name] = result
            return result

        self.started.add(name)
        self.tasks.run(name, self.after[name], run_stage, partial(self.ended.put, name))

    def note(self, name: str, result: Result) -> None:
        self.results[name] = result
        self.tasks.note(name, self.after[name], result)

    def made_of(self, stage: Stage, slot: Slot, tell: Tell) -> Result:
        """Runs in a thread of its own."""
        with self.slots.counted(slot, lambda: not self.commands.is_over):
            started, ended = time.monotonic(), None
            if not self.pipeline.begin(stage.name, force=self.rules.force):
                return Result(Outcome.RESTORED, time.monotonic() - started)
            try:
                ended = self.run_command_of(stage, slot, tell)
            finally:
                if ended is None or ended.code:
                    self.pipeline.give_up(stage.name)
            if ended.code:
                return Result(Outcome.STOPPED if ended.is_stopped else Outcome.FAILED, time.monotonic() - started, str(ended))
            self.pipeline.finish(stage.name)
            return Result(Outcome.RAN, time.monotonic() - started)

    def run_command_of(self, stage: Stage, slot: Slot, tell: Tell) -> Ended:
        assert stage.command is not None
        environment = {"DVC_STAGE": stage.name, **slot.environment}
        return self.commands.run(stage.name, stage.command, stage.folder, environment, tell, slot.files)

    def settle(self, name: str) -> None:
        """Notes how a stage has ended; what can't be built without it is skipped."""
        self.results[name] = self.made.pop(name, Result(Outcome.FAILED, why="see its log"))
        if self.results[name].is_good or self.stopped_by:
            return
        for other in self.after if not self.rules.keep_going else dependents(name, self.after):
            if other not in self.results and other not in self.started:
                self.note(other, Result(Outcome.SKIPPED, why=f"skipped: {name} failed"))


def notices(pipeline: Pipeline) -> list[str]:
    """What else a person should know after a build, a line each."""
    params = pipeline.params()
    found = leftovers(params, pipeline.noted().get("stages", {}), pipeline.root)
    made_with_others = installed.notice(params.get("models", {}), pipeline.root)
    return [line for line in (notice(found) if found else None, made_with_others) if line]


def why_not(results: dict[str, Result]) -> str:
    """What a build that was not stopped has left undone, as a sentence; empty if nothing. Many that were skipped are counted only."""
    bad = {name: result for name, result in results.items() if not result.is_good}
    skipped = [name for name, result in bad.items() if result.outcome is Outcome.SKIPPED]
    left_out = skipped if len(skipped) > MOST_NAMED else []
    shown = [f"{name} ({result.why})" for name, result in bad.items() if name not in left_out]
    rest = [f"and {len(left_out)} that wait for what failed"] if left_out else []
    return f"{len(bad)} of {len(results)} stages were not rebuilt: {', '.join([*shown, *rest])}." if bad else ""


def how_stopped(number: signal.Signals, results: dict[str, Result]) -> str:
    bad = ", ".join(f"{name} ({result.why})" for name, result in results.items() if not result.is_good)
    return f"stopped by {number.name}{': ' if bad else ''}{bad}; what was built is kept, and the same command resumes."


def dependents(name: str, after: dict[str, list[str]]) -> list[str]:
    """All stages that wait for it, whether or not others lie between."""
    found = {name}
    for other, upstream in after.items():  # in the order of the graph
        if found & set(upstream):
            found.add(other)
    return [other for other in after if other in found - {name}]


def longest_way_to_the_end(after: dict[str, list[str]], seconds: dict[str, float]) -> dict[str, float]:
    """For each stage, how long it and the slowest chain of stages behind it take."""
    ways = dict.fromkeys(after, 0.0)
    for name in reversed(after):
        ways[name] += seconds[name]
        for other in after[name]:
            ways[other] = max(ways[other], ways[name])
    return ways


def expected_seconds(names: Iterable[str]) -> dict[str, float]:
    """For each stage: what it took the last time, or where that is unknown, the mean of those of its kind (the name before the @)."""
    known = read_seconds(USUAL_SECONDS) | read_seconds(SECONDS)
    of_kind: dict[str, list[float]] = {}
    for name, seconds in known.items():
        of_kind.setdefault(name.partition("@")[0], []).append(seconds)
    return {name: known.get(name, mean(of_kind.get(name.partition("@")[0], [1.0]))) for name in names}


def read_seconds(path: Path) -> dict[str, float]:
    """Nothing is wrong if they were never noted, or badly."""
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def note_seconds(results: dict[str, Result]) -> None:
    """Nothing is wrong if that cannot be noted: what comes next is built in another order."""
    ran = {name: round(result.seconds, 2) for name, result in results.items() if result.outcome is Outcome.RAN}
    with contextlib.suppress(OSError):
        SECONDS.write_text(json.dumps(read_seconds(SECONDS) | ran, indent=1), encoding="utf-8")
