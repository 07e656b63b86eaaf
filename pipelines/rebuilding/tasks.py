"""The stages of a build as tasks of a Prefect flow."""

import signal
from collections.abc import Callable
from functools import partial

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed, State

from pipelines.rebuilding.build import Outcome, Result, Tell
from pipelines.serving.server import signal_of


class PrefectTasks:
    """Tasks for pipelines/rebuilding/build.py, within a flow run.

    A task costs Prefect a twentieth of a second: a stage that is up to date becomes one only where another that runs waits for it.
    """

    def __init__(self) -> None:
        self.futures, self.up_to_date = dict[str, PrefectFuture[State[None]]](), dict[str, Result]()

    def run(self, name: str, after: list[str], body: Callable[[Tell], Result], ended: Callable[[], None]) -> None:
        def run_stage() -> State[None]:
            return as_state(body(partial(get_run_logger().info, "%s")))

        for other in after:
            if other in self.up_to_date:
                self.submit(other, [], partial(as_state, self.up_to_date.pop(other)))
        self.submit(name, after, run_stage).add_done_callback(lambda _: ended())

    def note(self, name: str, after: list[str], result: Result) -> None:
        if result.outcome is Outcome.UP_TO_DATE:
            self.up_to_date[name] = result
        else:
            self.submit(name, after, partial(as_state, result))

    def submit(self, name: str, after: list[str], body: Callable[[], State[None]]) -> PrefectFuture[State[None]]:
        """Prefect itself runs nothing whose upstream has failed."""
        stage_task = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(body)
        upstream = [self.futures[other] for other in after if other in self.futures]
        self.futures[name] = stage_task.submit(return_state=False, wait_for=upstream)
        return self.futures[name]

    def signal_of(self, error: BaseException) -> signal.Signals | None:
        return signal_of(error)


def as_state(result: Result) -> State[None]:
    """As Prefect shows it."""
    if result.outcome is Outcome.UP_TO_DATE:
        return Completed(name="Cached", message=result.outcome)
    if result.outcome is Outcome.SKIPPED:
        return Cancelled(name="Skipped", message=result.why)
    if result.outcome is Outcome.STOPPED:
        return Cancelled(name="Stopped", message=result.why)
    return Completed(message=result.outcome) if result.is_good else Failed(message=result.why)
