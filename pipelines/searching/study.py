"""A search's memory: what was tried and what came of it, in a journal that outlives whatever ends the flow.

The journal is a text, a line of JSON for each thing that has happened, which Optuna appends and syncs; no pickle is involved.
"""

import fcntl
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pipelines.searching.space import SearchError, Space, draw

JOURNAL, LOCK = "journal.log", "lock"
ABOUT, VALUES, WHY = "about", "values", "why"  # what the journal keeps beside Optuna's own
AGAIN = "--fresh forgets it and its experiments, and begins anew"

# What reading a journal that is none can raise.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Attempt:
    """A trial that is to be made: its number, from 1, and the values of the keys that are searched over."""

    number: int
    values: dict[str, Any]
    trial: optuna.Trial


@dataclass(frozen=True)
class Ended:
    """A trial that was made: the figure that it reached, or why it has none."""

    number: int
    values: dict[str, Any]
    figure: float | None
    why: str


class Alone(JournalFileOpenLock):
    """No lock of its own: the study's is held already, and one that a killed run has left would be waited for."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the study in `folder`; the lock ends with the process at the latest. Raises SearchError while another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"another sweep is at work on the study {folder.name}: wait until it has ended.") from None
        yield


def forget(folder: Path) -> None:
    """Removes all of a study but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


class Study:
    """The study in `folder` of a search through `space`, begun or taken up. With another `about`, which its trials share, it cannot go on.

    Raises SearchError where the journal cannot be read, or is of something else.
    """

    def __init__(self, folder: Path, about: dict[str, Any], space: Space, direction: Literal["minimize", "maximize"], seed: int):
        self.folder, self.space, self.seed = folder, space, seed
        drop_torn_line(folder / JOURNAL)
        try:
            storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL), Alone(str(folder / JOURNAL))))
            self.optuna = optuna.create_study(storage=storage, study_name=folder.name, direction=direction, load_if_exists=True)
            begun = self.optuna.user_attrs.get(ABOUT)
            trials = self.trials()
        except UNREADABLE as error:
            raise SearchError(f"{folder / JOURNAL} is damaged ({error}): {AGAIN}.") from error
        if begun is None and not trials:
            self.optuna.set_user_attr(ABOUT, begun := about)
        self.refuse_another(begun or {}, about)

    def refuse_another(self, begun: dict[str, Any], about: dict[str, Any]) -> None:
        for what, now in about.items():
            if begun.get(what) != json.loads(json.dumps(now)):
                raise SearchError(
                    f"the study {self.folder.name} has another {what}: {shown(begun.get(what))}, and now {shown(now)}; "
                    f"--name gives this search a name of its own, {AGAIN}."
                )

    def trials(self) -> list[FrozenTrial]:
        """All, in the order in which they were begun."""
        return self.optuna.get_trials(deepcopy=False)

    def unfinished(self) -> list[Attempt]:
        """Those that an earlier run has begun and nobody has ended, with the values that they had."""
        running = [trial for trial in self.trials() if trial.state is TrialState.RUNNING]
        return [self._attempt(trial.number, partial(optuna.Trial, self.optuna, trial._trial_id)) for trial in running]

    def ask(self) -> Attempt:
        """A new trial. Its values follow from the seed, its number and what has ended before, in one run of the study or in several."""
        return self._attempt(len(self.trials()), self.optuna.ask)

    def _attempt(self, number: int, take: Callable[[], optuna.Trial]) -> Attempt:
        seed = random.Random(f"{self.seed} {number}").getrandbits(32)
        self.optuna.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return Attempt(number + 1, draw(self.space, trial := take()), trial)

    def tell(self, attempt: Attempt, figure: float) -> None:
        attempt.trial.set_user_attr(VALUES, attempt.values)
        self.optuna.tell(attempt.trial, figure)

    def tell_failure(self, attempt: Attempt, why: str) -> None:
        attempt.trial.set_user_attr(VALUES, attempt.values)
        attempt.trial.set_user_attr(WHY, why)
        self.optuna.tell(attempt.trial, state=TrialState.FAIL)

    def ended(self) -> list[Ended]:
        """Those that have a figure, the best first, then those that have failed."""
        sign = -1 if self.optuna.direction is StudyDirection.MAXIMIZE else 1
        ended = [
            Ended(trial.number + 1, trial.user_attrs.get(VALUES, trial.params), trial.value, trial.user_attrs.get(WHY, ""))
            for trial in self.trials()
            if trial.state.is_finished()
        ]
        return sorted(ended, key=lambda trial: (trial.figure is None, sign * (trial.figure or 0.0), trial.number))


def drop_torn_line(journal: Path) -> None:
    """Takes away the last line where a run was killed while it wrote it: the next would be appended to it."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(journal, len(whole))


def shown(value: Any) -> str:
    text = ", ".join(f"{key}={part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
