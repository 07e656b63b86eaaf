"""Rebuilds what changed, as `dvc repro` does, with several stages at once; `make repro` runs it.

Command: python -m pipelines.rebuilding.repro [--jobs N] [--force] [TARGET ...]
Reads:   dvc.yaml, dvc.lock, params.yaml, in the folder where it is run
Writes:  what the stages write; dvc.lock; their output, under logs/rebuild/<run>/, and how long they took, in logs/rebuild/seconds.json

The same engine as that of the flow `rebuild`, seen on a terminal: Prefect, whose start takes seconds, is left out.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tqdm import tqdm

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline
from pipelines.rebuilding.arguments import add_arguments
from pipelines.rebuilding.build import Build, Outcome, Result, Rules, Tell, how_stopped, notices, why_not
from pipelines.running.locks import BusyError, alone
from pipelines.running.slots import SlotError, Slots

TOLD_EVERY_S = 30  # where there is no terminal


class Interrupted(BaseException):
    """A signal asks for the end."""

    def __init__(self, number: int):
        self.number = signal.Signals(number)
        super().__init__(self.number.name)


class Terminal:
    """Tasks for pipelines/rebuilding/build.py: a line for each stage that has run, below them what runs and how long it may still take."""

    def __init__(self, seconds: dict[str, float], jobs: int):
        self.seconds, self.jobs = seconds, jobs
        self.mutex, self.left, self.since = threading.Lock(), dict(seconds), dict[str, float]()
        self.taken, self.expected = 0.0, 0.0  # seconds of those that have run
        self.is_over, self.told = threading.Event(), time.monotonic()
        self.bar = tqdm(bar_format="{desc}", file=sys.stdout, leave=False, disable=not sys.stdout.isatty())
        self.clock = threading.Thread(target=self._tick, daemon=True)
        self.clock.start()

    def run(self, name: str, after: list[str], body: Callable[[Tell], Result], ended: Callable[[], None]) -> None:
        def run_stage() -> None:
            lines: list[str] = []

            def tell(line: str) -> None:
                if lines:
                    self.say(f"{name}: {lines[-1]}")
                lines.append(line.removeprefix(f"{name.partition('@')[2]}: "))

            try:
                result = body(tell)
                last = lines[-1] if lines else ""
                if last and not result.is_good and last.removeprefix("error: ") not in result.why:
                    self.say(f"{name}: {last}")
                said = last if result.is_good else result.why
                self._count(name, result)
                self.say(f"{self._done():>9} {name:30} {result.outcome} in {result.seconds:.1f} s" + (f": {said}" if said else ""))
            finally:
                ended()

        with self.mutex:
            self.since[name] = time.monotonic()
        threading.Thread(target=run_stage, name=name).start()

    def note(self, name: str, after: list[str], result: Result) -> None:
        self._count(name, result)

    def signal_of(self, error: BaseException) -> signal.Signals | None:
        return error.number if isinstance(error, Interrupted) else None

    def close(self) -> None:
        self.is_over.set()
        self.clock.join()
        self.bar.close()

    def _count(self, name: str, result: Result) -> None:
        with self.mutex:
            expected = self.left.pop(name)
            self.since.pop(name, None)
            if result.outcome is Outcome.RAN:
                self.taken, self.expected = self.taken + result.seconds, self.expected + expected

    def _done(self) -> str:
        return f"[{len(self.seconds) - len(self.left)}/{len(self.seconds)}]"

    def say(self, line: str) -> None:
        """What a stage says may hold names from anywhere: what a terminal would obey is shown as its code."""
        try:
            tqdm.write("".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads it any more, as with `| head`: no reason to leave a build
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _tick(self) -> None:
        while not self.is_over.wait(1.0):
            with self.mutex:
                line = self._state()
            self.bar.set_description_str(line)
            if self.bar.disable and line and time.monotonic() - self.told > TOLD_EVERY_S:
                self.told = time.monotonic()
                self.say(line)

    def _state(self) -> str:
        """Such as "12 of 85 done, about 2 min left; running: train@mnist_cnn (12 s)"; empty while nothing runs."""
        now = time.monotonic()
        running = {name: now - since for name, since in self.since.items()}
        if not running:
            return ""
        pace = self.taken / self.expected if self.expected > 20 else 1.0  # of this machine
        left = sum(max(0.0, seconds * pace - running.get(name, 0.0)) for name, seconds in self.left.items()) / self.jobs
        time_left = f"{left / 60:.0f} min" if left > 90 else f"{max(left, 1):.0f} s"
        shown = ", ".join(f"{name} ({seconds:.0f} s)" for name, seconds in running.items())
        return f"{self._done()} done, about {time_left} left; running: {shown}"


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Once: trainings save within seconds, and asking again would not make them faster."""
    for other in SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def repro(targets: list[str], rules: Rules) -> None:
    """Leaves with a sentence where something was not rebuilt."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    started = time.monotonic()
    logging.getLogger("dvc").setLevel(logging.CRITICAL)  # no bars of its own; what it refuses is raised
    try:
        with alone("make repro"):
            pipeline = Pipeline(Path.cwd(), lambda line: tqdm.write(line, file=sys.stderr))
            build = Build(pipeline, pipeline.plan(targets), Slots.of(pipeline), rules)
            terminal = Terminal(build.seconds, build.jobs)
            try:
                results = build.run(terminal)
            finally:
                terminal.close()
            lines = notices(pipeline)
    except Interrupted as error:
        print(f"error: stopped by {error}; nothing is lost, and the same command resumes.", file=sys.stderr)
        sys.exit(128 + error.number)
    except (BusyError, GraphError, SlotError) as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error}: fix that and run again; what was built is noted in dvc.lock.")
    if build.stopped_by:
        print(f"error: {how_stopped(build.stopped_by, results)}", file=sys.stderr)
        sys.exit(128 + build.stopped_by)
    for line in lines:
        print(line, file=sys.stderr)
    if bad := why_not(results):
        sys.exit(f"error: {bad}")
    outcomes = Counter(result.outcome for result in results.values())
    restored = f" and {outcomes[Outcome.RESTORED]} taken from the cache" if outcomes[Outcome.RESTORED] else ""
    made = f"{outcomes[Outcome.RAN]} of them were made{restored} in {time.monotonic() - started:.0f} s"
    terminal.say(f"{len(results)} stages are up to date; {made}.")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.rebuilding.repro", description="Rebuild what changed, several stages at once."
    )
    add_arguments(parser)
    arguments = parser.parse_args()
    repro(arguments.targets, Rules(arguments.jobs, arguments.force, arguments.keep_going))


if __name__ == "__main__":
    main()
