"""Runs the stages of a plan beside each other, as Prefect tasks of their names."""

import contextlib
import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed, State

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline, Stage
from pipelines.running.commands import Commands, Ended
from pipelines.running.slots import Slot, SlotError, Slots, num_gpus

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

    def as_state(self) -> State[None]:
        """As Prefect shows it."""
        if self.outcome is Outcome.STOPPED:
            return Cancelled(name="Stopped", message=self.why)
        return Completed(message=self.outcome) if self.is_good else Failed(message=self.why)


@dataclass(frozen=True)
class Rules:
    """How many stages may run at once, whether those that are up to date run too, and whether the rest continues after a failure."""

    jobs: int
    force: bool
    keep_going: bool


class Build:
    """The stages of `plan`, each as soon as those that it waits for are done and its GPUs are free; the longest way to the end first.

    `seconds` is how long each took the last time.
    """

    def __init__(self, pipeline: Pipeline, plan: list[Stage], commands: Commands, slots: Slots, rules: Rules, seconds: dict[str, float]):
        self.pipeline, self.commands, self.slots, self.rules = pipeline, commands, slots, rules
        self.stages = {stage.name: stage for stage in plan}
        self.after = {stage.name: [name for name in stage.after if name in self.stages] for stage in plan}
        self.gpus = {stage.name: num_gpus(stage) for stage in plan}
        self.urgency = longest_way_to_the_end(self.after, seconds)
        self.results, self.stale = dict[str, Result](), set[str]()
        self.futures, self.made = dict[str, PrefectFuture[State[None]]](), dict[str, Result]()
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.stopped_by: signal.Signals | None = None

    def run(self) -> dict[str, Result]:
        """What became of every stage, in the order of the graph.

        Ctrl-C and SIGTERM stop those that run; then only those that have begun have a result, and `stopped_by` is the signal.
        """
        try:
            while len(self.results) < len(self.stages):
                while self.start_what_can_start():
                    pass
                with contextlib.suppress(queue.Empty):
                    if len(self.results) < len(self.stages):
                        # Nobody tells when a GPU that another flow has is free: hence the looks.
                        self.settle(self.ended.get(timeout=LOOK_S if self.slots.devices else None))
        except (KeyboardInterrupt, TerminationSignal) as error:
            self.stopped_by = signal_of(error)
            self.commands.stop()
            while self.running:
                self.settle(self.ended.get())
        return {name: self.results[name] for name in self.stages if name in self.results}

    @property
    def running(self) -> list[str]:
        return [name for name in self.futures if name not in self.results]

    def start_what_can_start(self) -> bool:
        """Whether a stage turned out to be up to date, so that others may start now."""
        found = False
        for name in self.ready():
            if name not in self.stale and not self.rules.force and self.pipeline.is_up_to_date(name):
                self.show(name, lambda: Completed(name="Cached", message=Outcome.UP_TO_DATE))
                self.results[name], found = Result(Outcome.UP_TO_DATE), True
                continue
            self.stale.add(name)
            if len(self.running) < self.rules.jobs and (slot := self.slots.take(self.gpus[name])) is not None:
                self.start(name, slot)
        return found

    def ready(self) -> list[str]:
        """Those that wait for nothing any more, the most urgent first."""
        names = [
            name
            for name, after in self.after.items()
            if name not in self.results and name not in self.futures and all(other in self.results for other in after)
        ]
        return sorted(names, key=lambda name: -self.urgency[name])

    def start(self, name: str, slot: Slot) -> None:
        def run_stage() -> State[None]:
            try:
                result = self.made_of(self.stages[name], slot)
            except (GraphError, SlotError) as error:
                result = Result(Outcome.FAILED, why=str(error))
            finally:
                slot.close()
            self.made[name] = result
            return result.as_state()

        self.show(name, run_stage).add_done_callback(lambda _: self.ended.put(name))

    def show(self, name: str, body: Callable[[], State[None]]) -> PrefectFuture[State[None]]:
        """Hands the stage to Prefect, as a task of its name. Prefect itself runs nothing whose upstream has failed."""
        stage_task = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(body)
        upstream = [self.futures[other] for other in self.after[name] if other in self.futures]
        self.futures[name] = stage_task.submit(return_state=False, wait_for=upstream)
        return self.futures[name]

    def made_of(self, stage: Stage, slot: Slot) -> Result:
        """Runs in a thread of its own."""
        with self.slots.counted(slot, lambda: not self.commands.is_over):
            started, ended = time.monotonic(), None
            if not self.pipeline.begin(stage.name, force=self.rules.force):
                return Result(Outcome.RESTORED, time.monotonic() - started)
            try:
                ended = self.run_command_of(stage, slot)
            finally:
                if ended is None or ended.code:
                    self.pipeline.give_up(stage.name)
            if ended.code:
                return Result(Outcome.STOPPED if ended.is_stopped else Outcome.FAILED, time.monotonic() - started, str(ended))
            self.pipeline.finish(stage.name)
            return Result(Outcome.RAN, time.monotonic() - started)

    def run_command_of(self, stage: Stage, slot: Slot) -> Ended:
        assert stage.command is not None
        environment, tell = {"DVC_STAGE": stage.name, **slot.environment}, partial(get_run_logger().info, "%s")
        return self.commands.run(stage.name, stage.command, stage.folder, environment, tell, slot.files)

    def settle(self, name: str) -> None:
        """Notes how a stage has ended; what can't be built without it is skipped."""
        self.results[name] = self.made.pop(name, Result(Outcome.FAILED, why="see Prefect's log"))
        if self.results[name].is_good or self.stopped_by:
            return
        skipped = Result(Outcome.SKIPPED, why=f"skipped: {name} failed")
        for other in self.after if not self.rules.keep_going else dependents(name, self.after):
            if other not in self.results and other not in self.futures:
                self.results[other] = skipped
                self.show(other, lambda: Cancelled(name="Skipped", message=skipped.why))


def signal_of(error: BaseException) -> signal.Signals:
    """That has stopped the flow: Prefect raises an exception for SIGTERM, as Python does for Ctrl-C."""
    return signal.SIGTERM if isinstance(error, TerminationSignal) else signal.SIGINT


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
