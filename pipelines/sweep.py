"""Searches over keys of params.yaml for the values with which one model is best on val; every trial is a DVC experiment.

Command: python -m pipelines.sweep MODEL --range KEY=LOW..HIGH[:log] --choice KEY=VALUE,VALUE [--trials N] [--jobs N] [--metric NAME]
                                  [--seed N] [--name NAME] [--fresh]
Reads:   the repository in whose root it is run: HEAD and what has changed since in files that git knows; data from DVC's cache
Writes:  experiments (dvc exp show); the study's journal and what the trials said, under logs/sweep/<study>/; nothing in the workspace
"""

import argparse
import hashlib
import json
import queue
import re
import shlex
import shutil
import sys
from collections import deque
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from pipelines.dvc.errors import GraphError
from pipelines.dvc.lock_file import find
from pipelines.dvc.pipeline import Pipeline, Stage
from pipelines.running.build import num_gpus
from pipelines.running.commands import Commands
from pipelines.running.git import GitError
from pipelines.running.locks import BusyError
from pipelines.running.slots import SlotError, Slots, usual_jobs
from pipelines.searching.experiments import Base, base_of, experiments_of, file_of, remove, unknown_to_git
from pipelines.searching.space import SearchError, Space, as_given, as_space
from pipelines.searching.study import Attempt, Ended, Study, forget, only_one
from pipelines.searching.trial import NOT_THE_STAGE, Ticket, wait_for_all
from pipelines.serving.presence import announce
from pipelines.serving.server import run_for_command_line

LOGS = Path("logs") / "sweep"
CODE = Path(__file__).parents[1]
DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"loss": "minimize", "mae": "minimize", "accuracy": "maximize"}


class TrialFailed(Exception):
    """The stage has refused or ended badly, and would again. The message says why, in a sentence."""


class Hindered(Exception):
    """Something else was in the trial's way. The message says what, in a sentence."""


@dataclass(frozen=True)
class Plan:
    """What is searched for: in the study `name`, upon `base`, the values in `space` with which `model` has the best `metric`."""

    root: Path
    model: str
    name: str
    base: Base
    space: Space
    metric: str
    seed: int

    @property
    def folder(self) -> Path:
        return self.root / LOGS / self.name

    def experiment(self, number: int) -> str:
        return f"{self.name}-{number:03d}"

    def short(self, key: str) -> str:
        return key.removeprefix(f"models.{self.model}.train.")

    def about(self) -> dict[str, Any]:
        """What all trials of the study have in common."""
        return {
            "space": {self.short(key): str(part) for key, part in self.space.items()},
            "metric": self.metric,
            "seed": self.seed,
            "state of the files": f"commit {self.base.commit[:10]}, tree {self.base.tree[:10]}",
        }


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
            those of models.MODEL.train (lr, optimizer.weight_decay), or whole ones (models.MODEL.architecture.hidden).
        trials: How many in all, those of earlier runs of the same study among them.
        jobs: Trials at a time. None: as many as there are cores for runtime.threads each.
        metric: loss, accuracy or mae. None: that by which the model's recipe chooses the best epoch (best_by).
        seed: Of the search.
        name: Of the study; its experiments are MODEL-NAME-001 and so on. None: made from space, metric and seed.
        fresh: Forget what the study has, its experiments too, and begin anew.
    """
    try:
        announce()
        made = search(model, space or {}, trials, jobs, metric, seed, name, fresh)
    except (BusyError, SearchError, GraphError, GitError, OSError) as error:
        return Failed(message=str(error))
    return Failed(message=made.verdict()) if made.failures else Completed(message=made.verdict())


@dataclass(frozen=True)
class Made:
    """What the study has come to: trials that have ended, the best first, and those that were hindered, with the reason."""

    plan: Plan
    ended: list[Ended]
    hindered: dict[int, str]

    @property
    def failures(self) -> list[str]:
        failed = {trial.number: trial.why for trial in self.ended if trial.figure is None}
        again = {number: f"{why}; the same command tries it again" for number, why in self.hindered.items()}
        return [f"trial {number} ({why})" for number, why in sorted((failed | again).items())]

    @property
    def best(self) -> Ended | None:
        return next((trial for trial in self.ended if trial.figure is not None), None)

    def verdict(self) -> str:
        """One sentence."""
        best = f"the best is {self.how_to_apply()}" if self.best else "none has a figure"
        if not self.failures:
            return f"{len(self.ended)} trial{'s' if len(self.ended) > 1 else ''}: {best}."
        return f"{len(self.failures)} of {len(self.ended) + len(self.hindered)} trials failed: {', '.join(self.failures)}; {best}."

    def how_to_apply(self) -> str:
        assert self.best is not None
        name = self.plan.experiment(self.best.number)
        return f"{name} with {self.plan.metric} {self.best.figure:g} (dvc exp apply {name})"

    def as_table(self) -> str:
        """Markdown: a line a trial, the best first."""
        keys = list(self.plan.space)
        head = ["trial", self.plan.metric, *map(self.plan.short, keys), "experiment"]
        rows = [[str(trial.number), *self.row(trial, keys)] for trial in self.ended]
        lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
        return "\n".join([*lines, "", self.verdict()])

    def row(self, trial: Ended, keys: list[str]) -> list[str]:
        values = [json.dumps(trial.values.get(key)) for key in keys]
        if trial.figure is None:
            return ["failed", *values, trial.why]
        return [f"{trial.figure:g}", *values, self.plan.experiment(trial.number)]


def search(
    model: str,
    space: dict[str, str | list[Any]],
    trials: int,
    jobs: int | None,
    metric: str | None,
    seed: int,
    name: str | None,
    fresh: bool,
) -> Made:
    """What has come of it, which is noted as an artifact too. Raises SearchError, GraphError and GitError."""
    log = get_run_logger()
    refuse_too_few(trials, jobs)
    pipeline = Pipeline(Path.cwd(), log.warning)
    plan = as_plan(pipeline, model, space, metric, seed, name)
    refuse_what_trials_lack(pipeline, plan)
    jobs = jobs or usual_jobs(pipeline)
    with only_one(plan.folder):
        if fresh:
            wait_for_all(plan.folder / "work")
            remove(plan.root, list(experiments_of(plan.root, plan.name).values()))
            forget(plan.folder)
        study = Study(plan.folder, plan.about(), plan.space, DIRECTIONS[plan.metric], seed)
        refuse_experiments_of_another(plan, study)
        log.info("study %s: %d of %d trials are made", plan.name, len(study.ended()), trials)
        with Commands(plan.folder / "said") as commands:
            made = Sweep(plan, study, commands, Places(jobs, Slots.of(pipeline), gpus_of(pipeline, model)), trials).run()
    create_markdown_artifact(made.as_table(), key="sweep", description=f"Trials of {plan.name}, the best first")
    log.info("%s", made.as_table())
    return made


def refuse_too_few(trials: int, jobs: int | None) -> None:
    for name, number in (("trials", trials), ("jobs", 1 if jobs is None else jobs)):
        if number < 1:
            raise SearchError(f"{name} is {number}; expected at least 1.")


def as_plan(pipeline: Pipeline, model: str, space: dict[str, str | list[Any]], metric: str | None, seed: int, name: str | None) -> Plan:
    params = pipeline.params()
    models = find(params, "models")
    if not isinstance(models, dict) or model not in models:
        known = ", ".join(models) if isinstance(models, dict) else "none"
        raise SearchError(f"params.yaml has no model {model}; known there: {known}.")
    if not isinstance(find(params, f"models.{model}.train"), dict):
        raise SearchError(f"params.yaml has no models.{model}.train, which says how {model} is trained.")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise SearchError(f"the name is {name!r}; expected letters, digits, _ and -, a letter or digit first.")
    chosen, measured = as_space(space, model, params), as_metric(metric, model, params)
    searched = json.dumps([{key: str(part) for key, part in chosen.items()}, measured, seed], sort_keys=True)
    name = name or hashlib.sha256(searched.encode()).hexdigest()[:6]
    return Plan(pipeline.root, model, f"{model}-{name}", base_of(pipeline.root), chosen, measured, seed)


def as_metric(metric: str | None, model: str, params: Any) -> str:
    """The figure of training.json, without its split. A regression, which is what is plotted as a scatter, has mae for accuracy."""
    known = ["loss", "mae" if find(params, f"models.{model}.plot") == "scatter" else "accuracy"]
    if metric is None:
        return known[find(params, f"models.{model}.train.best_by") == "metric"]
    if metric not in known:
        raise SearchError(f"the metric is {metric!r}; expected {' or '.join(known)}, which is what the training of {model} measures.")
    return metric


def refuse_what_trials_lack(pipeline: Pipeline, plan: Plan) -> None:
    """Every trial begins with what git and DVC's cache have."""
    stages = pipeline.plan([f"train@{plan.model}"])
    read = {key for stage in stages for key in pipeline.keys_read_by(stage.name)}
    if idle := [key for key in plan.space if not any(f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.") for one in read)]:
        raise SearchError(f"{idle[0]} changes nothing of train@{plan.model}: search over keys that it reads.")
    if unknown := unknown_to_git(plan.root, {path for stage in stages for path in pipeline.code_of(stage.name)}):
        raise SearchError(f"git does not know {', '.join(unknown)}, so no trial would have it: git add it, or move it away.")
    if stale := [stage.name for stage in stages[:-1] if is_stale(pipeline, stage)]:
        raise SearchError(f"{', '.join(stale)} must be up to date, or every trial would make it again: dvc repro {' '.join(stale)} first.")


def is_stale(pipeline: Pipeline, stage: Stage) -> bool:
    return stage.command is not None and not pipeline.is_up_to_date(stage.name)


def gpus_of(pipeline: Pipeline, model: str) -> int:
    return max(num_gpus(stage) for stage in pipeline.plan([f"train@{model}"]))


def refuse_experiments_of_another(plan: Plan, study: Study) -> None:
    """A trial of this very study that was running is looked for among the experiments: there must be no other's."""
    if not study.trials() and (names := sorted(experiments_of(plan.root, plan.name))):
        raise SearchError(
            f"there are experiments {names[0]} to {names[-1]}, and {plan.folder.relative_to(plan.root)} has no journal of them: "
            "--name gives this search a name of its own, --fresh removes them."
        )


@dataclass(frozen=True)
class Places:
    """How many trials may be made at once, and of how many GPUs each makes use."""

    jobs: int
    slots: Slots
    gpus: int


class Sweep:
    """The study's trials as far as `trials` of them in all, as many at once as there are places; first those that were begun before."""

    def __init__(self, plan: Plan, study: Study, commands: Commands, places: Places, trials: int):
        self.plan, self.study, self.commands, self.places, self.trials = plan, study, commands, places, trials
        self.log, self.work = get_run_logger(), plan.folder / "work"
        self.begun = deque(study.unfinished())
        self.running, self.hindered = dict[int, Attempt](), dict[int, str]()
        self.outcomes = dict[int, float | TrialFailed | Hindered]()
        self.ended: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(self) -> Made:
        """What has come of it. In the end there are no folders but those of trials that were hindered."""
        self.work.mkdir(exist_ok=True)
        self.clear(set(self.folders()) - {attempt.number for attempt in self.begun})
        while True:
            while len(self.running) < self.places.jobs and (attempt := self.next()):
                self.start(attempt)
            if not self.running:
                break
            self.settle(self.ended.get())
        if not self.folders():
            self.work.rmdir()
        return Made(self.plan, self.study.ended(), self.hindered)

    def next(self) -> Attempt | None:
        if self.begun:
            return self.begun.popleft()
        return self.study.ask() if len(self.study.trials()) < self.trials else None

    def start(self, attempt: Attempt) -> None:
        """Hands the trial to Prefect, as a task of its number."""
        number = attempt.number
        self.running[number] = attempt
        self.log.info("trial %d of %d: %s", number, self.trials, self.described(attempt.values))

        @task(name="trial", task_run_name=f"trial {number}", cache_policy=NO_CACHE, persist_result=False)
        def run_trial() -> State[None]:
            try:
                self.outcomes[number] = figure = self.figure_of(attempt)
            except (TrialFailed, Hindered) as error:
                self.outcomes[number] = error
                return Failed(message=str(error))
            return Completed(message=f"{self.plan.metric} {figure:g}")

        run_trial.submit(return_state=False).add_done_callback(lambda _: self.ended.put(number))

    def figure_of(self, attempt: Attempt) -> float:
        """Runs in a thread of its own. An experiment that is there already was made by a run that died before it could note it."""
        name = self.plan.experiment(attempt.number)
        try:
            if name not in experiments_of(self.plan.root, self.plan.name):
                self.make(attempt, name)
            ref = experiments_of(self.plan.root, self.plan.name)[name]
            return read_figure(file_of(self.plan.root, ref, f"models/{self.plan.model}/training.json"), self.plan.metric)
        except (GitError, SlotError, OSError) as error:
            raise Hindered(str(error)) from error

    def make(self, attempt: Attempt, name: str) -> None:
        ticket = self.work / f"{attempt.number:03d}.json"
        Ticket(str(self.plan.root), self.plan.base, f"train@{self.plan.model}", attempt.values, name).write(ticket)
        command = f"exec python -m pipelines.searching.trial {shlex.quote(str(ticket))}"
        with self.places.slots.held(self.places.gpus, lambda: not self.commands.is_over) as slot:
            tell = partial(self.log.info, "trial %d: %s", attempt.number)
            ended = self.commands.run(ticket.stem, command, CODE, slot.environment, tell, slot.files)
        if ended.code == NOT_THE_STAGE:
            raise Hindered(ended.said)
        if ended.code:
            raise TrialFailed(str(ended))

    def settle(self, number: int) -> None:
        """Notes in the study how a trial has ended. One that was hindered stays begun, and its folder too."""
        attempt, outcome = self.running.pop(number), self.outcomes.pop(number, Hindered("see Prefect's log"))
        if isinstance(outcome, Hindered):
            self.hindered[number] = str(outcome).rstrip(".")
            return
        if isinstance(outcome, TrialFailed):
            self.study.tell_failure(attempt, str(outcome).rstrip("."))
        else:
            self.study.tell(attempt, outcome)
            self.log.info("trial %d: %s %g with %s", number, self.plan.metric, outcome, self.described(attempt.values))
        self.clear({number})

    def folders(self) -> dict[int, list[Path]]:
        """What lies in the work folder, by the trial that it belongs to: its folder, its ticket and its index."""
        paths: dict[int, list[Path]] = {}
        for path in self.work.iterdir():
            paths.setdefault(int(path.name.partition(".")[0]), []).append(path)
        return paths

    def clear(self, over: set[int]) -> None:
        """Removes what belongs to trials that are over."""
        for path in (path for number, paths in self.folders().items() if number in over for path in paths):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def described(self, values: dict[str, Any]) -> str:
        return ", ".join(f"{self.plan.short(key)} {json.dumps(value)}" for key, value in values.items())


def read_figure(content: str, metric: str) -> float:
    """The best epoch's, on val; on train where the dataset has no val."""
    figures = json.loads(content)
    for split in ("val", "train"):
        if isinstance(figure := figures.get(f"{split}_{metric}"), int | float):
            return float(figure)
    raise TrialFailed(f"training.json has no {metric}, but {', '.join(figures)}")


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
    parser.add_argument("--fresh", action="store_true", help="forget what the study has, its experiments too, and begin anew")
    arguments = vars(parser.parse_args())
    try:
        arguments["space"] = as_given(arguments.pop("range"), arguments.pop("choice"))
    except SearchError as error:
        sys.exit(f"error: {error}")
    run_for_command_line(sweep, arguments)


if __name__ == "__main__":
    main()
