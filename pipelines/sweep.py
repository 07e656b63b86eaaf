"""Searches over keys of params.yaml for the values with which one model is best on val; every trial is a DVC experiment.

Command: python -m pipelines.sweep MODEL --range KEY=LOW..HIGH[:log] --choice KEY=VALUE,VALUE [--trials N] [--jobs N] [--metric NAME]
                                  [--seed N] [--name NAME] [--fresh]
Reads:   the repository in whose root it is run: HEAD and what has changed since in files that git knows; data from DVC's cache
Writes:  experiments (dvc exp show); the study's memory and the trials' output, under logs/sweep/<study>/; nothing in the workspace

Trial 0 is what all others are compared with: the present values. It is trained only where neither dvc.lock nor DVC's cache knows them.
"""

import argparse
import json
import shlex
import shutil
import sys
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed, State

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline
from pipelines.running.commands import Commands
from pipelines.running.git import GitError, git
from pipelines.running.locks import BusyError
from pipelines.running.slots import SlotError, Slots, num_gpus, usual_jobs
from pipelines.searching.experiments import experiments_of, file_of
from pipelines.searching.plan import Plan, as_plan, refuse_experiments_of_another, refuse_what_trials_lack
from pipelines.searching.space import SearchError, as_given, key_and_value, overrides
from pipelines.searching.study import Study, Trial, only_one
from pipelines.searching.trial import NOT_THE_STAGE
from pipelines.serving.presence import announce
from pipelines.serving.server import run_for_command_line

CODE = Path(__file__).parents[1]
REFUSED = "Refused"  # the state of a trial whose stage has ended badly, and would again


@flow(persist_result=False)
def sweep(
    model: str,
    space: dict[str, str | list[Any]] | None = None,
    trials: int = 20,
    jobs: int | None = None,
    metric: str | None = None,
    seed: int = 0,
    name: str | None = None,
    fresh: bool = False,
) -> State[None]:
    """Search for the values of params.yaml with which a model is best on its val split (on train, where the dataset has no val).

    Args:
        model: One of the models of params.yaml.
        space: What to try, by key: a range of numbers as text (0.0005..0.01, 1..8, 0.0005..0.01:log) or a list of values. Keys are
            those of the model's recipe (lr, optimizer.weight_decay), or whole ones (models.MODEL.architecture.hidden).
        trials: How many in all, those of earlier runs of the same study among them.
        jobs: Trials at a time. None: as many as there are cores for runtime.threads each.
        metric: loss, accuracy or mae. None: that by which the model's recipe chooses the best epoch (best_by).
        seed: Of the search.
        name: Of the study; its experiments are MODEL-NAME-001 and so on. None: made from space, metric and seed.
        fresh: Forget what the study has, its experiments too, and start from scratch.
    """
    log = get_run_logger()
    try:
        announce()
        for what, number in (("trials", trials), ("jobs", 1 if jobs is None else jobs)):
            if number < 1:
                raise SearchError(f"{what} is {number}; expected at least 1.")
        plan = as_plan(Pipeline(Path.cwd(), log.warning), model, space or {}, metric, seed, name)
        refuse_what_trials_lack(plan)
        with only_one(plan.folder) as lock:
            if fresh:
                for ref in experiments_of(plan.pipeline.root, plan.name).values():
                    git("update-ref", "-d", ref, folder=plan.pipeline.root)
                shutil.rmtree(plan.folder, ignore_errors=True)
            study = plan.study()
            refuse_experiments_of_another(plan, study)
            with Commands(plan.folder / "said") as commands:
                made = Sweep(plan, study, commands, lock, jobs or usual_jobs(plan.pipeline)).run(trials)
    except (BusyError, SearchError, GraphError, GitError, OSError) as error:
        return Failed(message=str(error))
    create_markdown_artifact(made.as_table(), key="sweep", description=f"Trials of {plan.name}, the best first")
    log.info("\n%s", made.as_table())
    return Failed(message=made.verdict()) if made.failures else Completed(message=made.verdict())


class TrialFailed(SearchError):
    """The stage has refused or ended badly, and would again. The message says why, in a sentence."""


class Sweep:
    """The study's trials, as many at once as there are `jobs`. The open file `lock` is held by each as long as anything of it lives."""

    def __init__(self, plan: Plan, study: Study, commands: Commands, lock: int, jobs: int):
        self.plan, self.study, self.commands, self.lock, self.jobs = plan, study, commands, lock, jobs
        self.root, self.log, self.work = plan.pipeline.root, get_run_logger(), plan.folder / "work"
        self.slots = Slots.of(plan.pipeline)
        self.gpus = max(num_gpus(stage) for stage in plan.pipeline.plan([plan.target]))

    def run(self, trials: int) -> "Made":
        """Makes `trials` of them in all, first those that were begun before. No folders stay but those of trials that were hindered."""
        if self.plan.pipeline.is_up_to_date(self.plan.target):
            self.study.tell(self.study.trials[0], read_figure((self.root / self.training).read_text(encoding="utf-8"), self.plan.metric))
        begun, running, hindered = deque(self.study.unfinished()), dict[PrefectFuture[Any], Trial](), dict[int, str]()
        self.clear(but={trial.number for trial in begun})
        while True:
            while len(running) < self.jobs and (begun or len(self.study.trials) <= trials):
                trial = begun.popleft() if begun else self.study.ask()
                running[self.start(trial)] = trial
            if not running:
                break
            future = next(as_completed(list(running)))
            future.wait()  # else its state is asked of the server
            trial, state = running.pop(future), future.state
            if state.is_completed() or state.name == REFUSED:
                figure = state.result() if state.is_completed() else None
                self.study.tell(trial, figure, "" if state.is_completed() else str(state.message))
            else:
                hindered[trial.number] = str(state.message)
        self.clear(but=set(hindered))
        return Made(self.plan, self.study, hindered)

    @property
    def training(self) -> str:
        return f"models/{self.plan.model}/training.json"

    def start(self, trial: Trial) -> PrefectFuture[Any]:
        """Hands the trial to Prefect, as a task of its number, whose result is the figure."""
        values = {self.plan.short(key): value for key, value in self.study.values(trial).items()} or "the present values"
        self.log.info("trial %d: %s", trial.number, json.dumps(values))

        @task(name="trial", task_run_name=f"trial {trial.number}", cache_policy=NO_CACHE, persist_result=False)
        def run_trial() -> State[float]:
            try:
                figure = self.figure_of(trial)
            except TrialFailed as error:
                return Failed(name=REFUSED, message=str(error).rstrip("."))
            except (GitError, SlotError, OSError) as error:
                return Failed(message=str(error).rstrip("."))
            return Completed(message=f"{self.plan.metric} {figure:g}", data=figure)

        return run_trial.submit(return_state=False)

    def figure_of(self, trial: Trial) -> float:
        """Runs in a thread of its own. An experiment that is there already was made by a run that died before it could note it."""
        name = self.plan.experiment(trial)
        if name not in experiments_of(self.root, self.plan.name):
            self.make(trial, name)
        return read_figure(file_of(self.root, experiments_of(self.root, self.plan.name)[name], self.training), self.plan.metric)

    def make(self, trial: Trial, name: str) -> None:
        plan, number = self.plan, f"{trial.number:03d}"
        values = overrides(self.study.values(trial), plan.model, plan.pipeline.params())
        told = {"root": str(self.root), "folder": str(self.work / number), "commit": plan.commit, "tree": plan.tree, "name": name}
        arguments = json.dumps(told | {"target": plan.target, "values": values})
        command = f"exec python -m pipelines.searching.trial {shlex.quote(arguments)}"
        with self.slots.held(self.gpus, lambda: not self.commands.is_over) as slot:
            tell = partial(self.log.info, "trial %d: %s", trial.number)
            ended = self.commands.run(number, command, CODE, slot.environment, tell, [*slot.files, self.lock])
        if ended.code == NOT_THE_STAGE:
            raise OSError(ended.said)
        if ended.code:
            raise TrialFailed(str(ended))

    def clear(self, but: set[int]) -> None:
        """Removes the folders of trials that are over."""
        for path in self.work.glob("*"):
            if int(path.stem) not in but:
                shutil.rmtree(path)
        if self.work.exists() and not any(self.work.iterdir()):
            self.work.rmdir()


def read_figure(content: str, metric: str) -> float:
    """The best epoch's, on val; on train where the dataset has no val."""
    figures = json.loads(content)
    for split in ("val", "train"):
        if isinstance(figure := figures.get(f"{split}_{metric}"), int | float):
            return float(figure)
    raise TrialFailed(f"training.json has no {metric}, but {', '.join(figures)}")


# What has come of them


@dataclass(frozen=True)
class Made:
    """What the study has come to. `hindered` are trials that something else than their stage was in the way of, with the reason."""

    plan: Plan
    study: Study
    hindered: dict[int, str]

    @property
    def failures(self) -> list[str]:
        failed = {trial.number: trial.why for trial in self.study.trials if trial.why}
        again = {number: f"{why}; the same command tries it again" for number, why in self.hindered.items()}
        return [f"trial {number} ({why})" for number, why in sorted((failed | again).items())]

    def verdict(self) -> str:
        """One sentence."""
        present, ended, failures = self.study.trials[0], self.study.best_first(), self.failures
        num = len(ended) + len(self.hindered) + bool(present.why)
        said = f"{len(failures)} of {num} trials failed: {', '.join(failures)}; " if failures else f"{num} trial{'s' * (num > 1)}: "
        if not ended or ended[0].figure is None:
            return f"{said}none has a figure."
        name, figure, than = self.plan.experiment(ended[0]), ended[0].figure, ""
        if present.figure is not None:
            is_better = self.study.sign * (present.figure - figure) > 0
            than = f"; the present values have {present.figure:g}{'' if is_better else ', so none is better than they are'}"
        return f"{said}the best is {name} with {self.plan.metric} {figure:g} (dvc exp apply {name}){than}."

    def as_table(self) -> str:
        """Markdown that is as narrow as it can be: the present values first, then a line a trial, the best first."""
        params = self.plan.pipeline.params()
        present = {key: key_and_value(key, self.plan.model, params)[1] for key in self.plan.space}
        rows = [["trial", self.plan.metric, *map(self.plan.short, self.plan.space), "experiment"]]
        for trial in [self.study.trials[0], *self.study.best_first()]:
            values = [json.dumps(value, default=str) for value in (present | self.study.values(trial)).values()]
            name = self.plan.experiment(trial) if trial.number else "the present values"
            figure = "failed" if trial.figure is None else f"{trial.figure:g}"
            rows.append([str(trial.number), figure, *values, trial.why or name])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
        lines.insert(1, ["-" * width for width in widths])
        return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", self.verdict()])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.sweep", description="Search for the values of params.yaml with which a model is best on val."
    )
    parser.add_argument("model", metavar="MODEL", help="one of the models of params.yaml")
    parser.add_argument("--range", action="append", default=[], metavar="KEY=LOW..HIGH[:log]", help="for example lr=0.0005..0.01:log")
    parser.add_argument("--choice", action="append", default=[], metavar="KEY=VALUE,VALUE", help="for example clip_norm=null,1.0")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="in all, those of earlier runs among them; default: 20")
    parser.add_argument("--jobs", type=int, metavar="N", help="trials at a time; default: as many as there are cores for")
    parser.add_argument("--metric", metavar="NAME", help="loss, accuracy or mae; default: as the model's best_by says")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the search; default: 0")
    parser.add_argument("--name", metavar="NAME", help="of the study; default: made from what is searched for")
    parser.add_argument("--fresh", action="store_true", help="forget what the study has, its experiments too, and start from scratch")
    arguments = vars(parser.parse_args())
    try:
        arguments["space"] = as_given(arguments.pop("range"), arguments.pop("choice"))
    except SearchError as error:
        sys.exit(f"error: {error}")
    run_for_command_line(sweep, arguments)


if __name__ == "__main__":
    main()
