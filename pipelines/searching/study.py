"""A search's memory: what was tried and what came of it, in a file that is replaced whole at each step, so that any end of the flow leaves
it as it was or as it is. What to try next is Optuna's to say, by what has come of the trials until then.
"""

import dataclasses
import fcntl
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState, create_trial

from pipelines.dvc.lock_file import replace
from pipelines.searching.space import SearchError, Space, value_of

AGAIN = "--fresh forgets it and its experiments, and starts from scratch"

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass
class Trial:
    """Trial 0 is of the present values. A trial has ended with the figure that it reached, or failed with the reason `why`."""

    number: int
    drawn: dict[str, Any] = field(default_factory=dict)  # by Optuna, for the keys of the space
    figure: float | None = None
    why: str = ""

    @property
    def state(self) -> TrialState:
        return TrialState.COMPLETE if self.figure is not None else TrialState.FAIL if self.why else TrialState.RUNNING


@contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Holds the study in `folder`, once the trials of a killed run have ended: each holds the open file that this gives.

    Raises SearchError while another sweep has the study.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a") as lock, folder.with_name(f"{folder.name}.trials.lock").open("a") as trials:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SearchError(f"another sweep is at work on the study {folder.name}: wait until it has ended.") from None
        fcntl.flock(trials, fcntl.LOCK_EX)
        yield trials.fileno()


class Study:
    """The study in `folder` of a search through `space`, new or resumed. `about` is what its trials have in common.

    Raises SearchError where the file cannot be read, or is of a study of something else.
    """

    def __init__(self, folder: Path, about: dict[str, Any], space: Space, direction: Literal["minimize", "maximize"], seed: int):
        self.path, self.about, self.space, self.seed = folder / "study.json", about, space, seed
        folder.mkdir(exist_ok=True)
        self.is_new, self.sign = not self.path.exists(), -1 if direction == "maximize" else 1
        self.optuna, self.trials = optuna.create_study(direction=direction), [Trial(0)]
        if self.is_new:
            return
        try:
            noted = json.loads(self.path.read_text(encoding="utf-8"))
            for what, now in about.items():
                if (before := noted["about"][what]) != now:
                    change = f"the study {folder.name} has another {what}: {before}, and now {now}"
                    raise SearchError(f"{change}; --name gives this search a name of its own, {AGAIN}.")
            self.trials = [Trial(**trial) for trial in noted["trials"]]
            for trial in self.trials[1:]:
                made = create_trial(state=trial.state, value=trial.figure, params=trial.drawn, distributions=dict(space))
                self.optuna.add_trial(made)
        except (ValueError, LookupError, TypeError) as error:
            raise SearchError(f"{self.path} is damaged ({error}): {AGAIN}.") from error

    def unfinished(self) -> list[Trial]:
        """Trial 0 and those that an earlier run has begun, as far as they have not ended."""
        return [trial for trial in self.trials if trial.state is TrialState.RUNNING]

    def ask(self) -> Trial:
        """A new trial. Its values follow from the seed, its number and what has ended before, in one run of the study or in several."""
        seed = random.Random(f"{self.seed} {len(self.trials) - 1}").getrandbits(32)
        self.optuna.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self.trials.append(Trial(len(self.trials), self.optuna.ask(dict(self.space)).params))
        self.note()
        return self.trials[-1]

    def tell(self, trial: Trial, figure: float | None, why: str = "") -> None:
        """Notes the figure of a trial, or why it has none."""
        trial.figure, trial.why = figure, why
        if trial.number:
            self.optuna.tell(trial.number - 1, figure, state=trial.state)
        self.note()

    def note(self) -> None:
        content = {"about": self.about, "trials": [dataclasses.asdict(trial) for trial in self.trials]}
        replace(self.path, json.dumps(content, indent=1).encode(), self.path.parent)

    def values(self, trial: Trial) -> dict[str, Any]:
        """What params.yaml has in this trial, where that is not the present value."""
        return {key: value_of(self.space[key], drawn) for key, drawn in trial.drawn.items()}

    def best_first(self) -> list[Trial]:
        """Those that have ended but for trial 0, the best first, and then those that have failed."""
        ended = [trial for trial in self.trials[1:] if trial.state.is_finished()]
        return sorted(ended, key=lambda trial: (trial.figure is None, self.sign * (trial.figure or 0.0), trial.number))
