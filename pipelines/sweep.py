"""Searches over keys of params.yaml for the values with which one model is best on val; every trial is a DVC experiment.

Command: python -m pipelines.sweep MODEL --range KEY=LOW..HIGH[:log] --choice KEY=VALUE,VALUE [--trials N] [--jobs N] [--metric NAME]
                                  [--seed N] [--name NAME] [--fresh]
Reads:   the repository in whose root it is run: HEAD and what has changed since in files that git knows; data from DVC's cache
Writes:  experiments (dvc exp show); the study's memory and the trials' output, under logs/sweep/<study>/; nothing in the workspace

Trial 0 is what all others are compared with: the present values. It is trained only where neither dvc.lock nor DVC's cache knows them.
"""

import argparse
import hashlib
import json
import re
import shlex
import shutil
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import TerminationSignal
from prefect.futures import PrefectFuture, as_completed
from prefect.states import Completed, Failed, State

from pipelines.dvc.checked import facts_of
from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline
from pipelines.running.commands import Commands
from pipelines.running.git import GitError, git
from pipelines.running.limit import count_of_server
from pipelines.running.locks import BusyError
from pipelines.running.slots import SlotError, Slots, num_gpus, usual_jobs
from pipelines.searching.space import SearchError, as_given, as_space, as_text, key_and_value, overrides, recipe_of
from pipelines.searching.study import Study, Trial, only_one
from pipelines.searching.trial import NOT_THE_STAGE, base_of, experiments_of
from pipelines.serving.markdown import as_markdown
from pipelines.serving.presence import announce
from pipelines.serving.server import run_for_command_line, stopped

CODE, LOGS = Path(__file__).parents[1], Path("logs") / "sweep"
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
        for what, number in (("trials", trials), ("jobs", jobs)):
            if number is not None and number < 1:
                raise SearchError(f"{what} is {number}; expected at least 1.")
        made = Sweep(Pipeline(Path.cwd(), log.warning), model, space or {}, metric, seed, name)
        made.refuse_what_trials_lack()
        with only_one(made.folder) as lock:
            made.open_study(fresh)
            with Commands(made.folder / "said") as commands:
                made.run(commands, lock, trials, jobs or usual_jobs(made.pipeline))
    except (BusyError, SearchError, GraphError, GitError, OSError) as error:
        return Failed(message=str(error))
    except (KeyboardInterrupt, TerminationSignal) as error:
        return stopped(error)
    create_markdown_artifact(made.as_table(), key="sweep", description=f"Trials of {made.name}, the best first")
    log.info("\n%s", made.as_table())
    return (Failed if made.failures() else Completed)(message=made.verdict())


class TrialFailed(SearchError):
    """The stage has refused or ended badly, and would again. The message says why, in a sentence."""


class Sweep:
    """The search, in the study `name`, upon what git has now, for the values in `space` with which `model` has the best `metric`.

    Its methods raise SearchError for what stands in its way.
    """

    def __init__(self, pipeline: Pipeline, model: str, space: dict[str, str | list[Any]], metric: str | None, seed: int, name: str | None):
        self.pipeline, self.root, self.model, self.seed = pipeline, pipeline.root, model, seed
        self.params, self.hindered = pipeline.params(), dict[int, str]()  # why something else than its stage was in a trial's way
        if model not in self.params["models"]:
            raise SearchError(f"params.yaml has no model {model}; known there: {', '.join(self.params['models'])}.")
        if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise SearchError(f"the name is {name!r}; expected letters, digits, _ and -, a letter or digit first.")
        self.space = as_space(space, model, self.params)
        self.metric, self.is_error = as_metric(metric, model, self.params, self.root)
        texts = {key: as_text(part) for key, part in self.space.items()}
        name = name or hashlib.sha256(json.dumps([texts, self.metric, seed], sort_keys=True).encode()).hexdigest()[:6]
        self.name, self.target, self.training = f"{model}-{name}", f"train@{model}", f"models/{model}/training.json"
        self.commit, self.tree = base_of(self.root)
        self.folder = self.root / LOGS / self.name

    def refuse_what_trials_lack(self) -> None:
        """Every trial begins with what git and DVC's cache have."""
        stages = self.pipeline.plan([self.target])
        read = {key for stage in stages for key in self.pipeline.keys_read_by(stage.name)}
        if idle := [key for key in self.space if not any(f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.") for one in read)]:
            raise SearchError(f"{idle[0]} changes nothing of {self.target}: search over keys that it reads.")
        code = {str(path) for stage in stages for path in self.pipeline.code_of(stage.name)}
        if unknown := git("ls-files", "--others", "--exclude-standard", "--", *code, folder=self.root).splitlines():
            raise SearchError(f"git does not know {', '.join(unknown)}, so no trial would have it: git add it, or move it away.")
        if stale := [stage.name for stage in stages[:-1] if stage.command and not self.pipeline.is_up_to_date(stage.name)]:
            names = ", ".join(stale)
            raise SearchError(f"{names} must be up to date, or every trial would make it again: dvc repro {' '.join(stale)} first.")

    def open_study(self, fresh: bool) -> None:
        if fresh:
            for ref in experiments_of(self.root, self.name).values():
                git("update-ref", "-d", ref, folder=self.root)
            shutil.rmtree(self.folder, ignore_errors=True)
        about = {
            "space": ", ".join(f"{self.short(key)}={as_text(part)}" for key, part in self.space.items()),
            "metric": self.metric,
            "seed": self.seed,
            "state of the files": f"commit {self.commit[:10]}, tree {self.tree[:10]}",
        }
        self.study = Study(self.folder, about, self.space, "minimize" if self.is_error else "maximize", self.seed)
        # A trial of this very study that was running is looked for among the experiments: there must be no other's.
        if self.study.is_new and (names := sorted(experiments_of(self.root, self.name))):
            unknown = f"there are experiments {names[0]} to {names[-1]}, and {self.folder.relative_to(self.root)} knows nothing of them"
            raise SearchError(f"{unknown}: --name gives this search a name of its own, --fresh removes them.")

    def run(self, commands: Commands, lock: int, trials: int, jobs: int) -> None:
        """Makes `trials` of them in all, first those that were begun before. No folders stay but those of trials that were hindered.

        The open file `lock` is held by each trial as long as anything of it lives.
        """
        self.commands, self.lock, self.slots, self.log = commands, lock, Slots.of(self.pipeline, count_of_server()), get_run_logger()
        self.gpus = max(num_gpus(stage) for stage in self.pipeline.plan([self.target]))
        if self.pipeline.is_up_to_date(self.target):
            self.study.tell(self.study.trials[0], read_figure((self.root / self.training).read_text(encoding="utf-8"), self.metric))
        begun, running = deque(self.study.unfinished()), dict[PrefectFuture[Any], Trial]()
        self.clear(but={trial.number for trial in begun})
        while True:
            while len(running) < jobs and (begun or len(self.study.trials) <= trials):
                trial = begun.popleft() if begun else self.study.ask()
                running[self.start(trial)] = trial
            if not running:
                break
            future = next(as_completed(list(running)))
            future.wait()  # else its state is asked of the server
            trial, state = running.pop(future), future.state
            if state.is_completed():
                self.study.tell(trial, state.result())
            elif state.name == REFUSED:
                self.study.tell(trial, None, str(state.message))
            else:
                self.hindered[trial.number] = str(state.message)
        self.clear(but=set(self.hindered))

    def start(self, trial: Trial) -> PrefectFuture[Any]:
        """Hands the trial to Prefect, as a task of its number, whose result is the figure."""
        values = {self.short(key): value for key, value in self.study.values(trial).items()} or "the present values"
        self.log.info("trial %d: %s", trial.number, json.dumps(values))

        @task(name="trial", task_run_name=f"trial {trial.number}", cache_policy=NO_CACHE, persist_result=False)
        def run_trial() -> State[float]:
            name = self.experiment(trial)
            try:
                # An experiment that is there already was made by a run that died before it could note it.
                if name not in experiments_of(self.root, self.name):
                    self.make(trial, name)
                ref = experiments_of(self.root, self.name)[name]
                figure = read_figure(git("show", f"{ref}:{self.training}", folder=self.root), self.metric)
            except TrialFailed as error:
                return Failed(name=REFUSED, message=str(error).rstrip("."))
            except (GitError, SlotError, OSError) as error:
                return Failed(message=str(error).rstrip("."))
            return Completed(message=f"{self.metric} {figure:g}", data=figure)

        return run_trial.submit(return_state=False)

    def make(self, trial: Trial, name: str) -> None:
        """Runs in a thread of its own."""
        number, values = f"{trial.number:03d}", overrides(self.study.values(trial), self.model, self.params)
        folder = self.folder / "work" / number
        arguments = [str(self.root), str(folder), self.commit, self.tree, self.target, name, json.dumps(values)]
        command = f"exec {shlex.join(['python', '-m', 'pipelines.searching.trial', *arguments])}"
        with self.slots.held(self.gpus, lambda: not self.commands.is_over) as slot:
            tell = partial(self.log.info, "trial %d: %s", trial.number)
            ended = self.commands.run(number, command, CODE, slot.environment, tell, [*slot.files, self.lock])
        if ended.code == NOT_THE_STAGE:
            raise OSError(ended.said)
        if ended.code:
            raise TrialFailed(str(ended))

    def clear(self, but: set[int]) -> None:
        """Removes the folders of trials that are over."""
        for path in (self.folder / "work").glob("*"):
            if int(path.stem) not in but:
                shutil.rmtree(path)
        if not but:
            shutil.rmtree(self.folder / "work", ignore_errors=True)

    def experiment(self, trial: Trial) -> str:
        return f"{self.name}-{trial.number:03d}"

    def short(self, key: str) -> str:
        return key.removeprefix(f"models.{self.model}.train.")

    # What has come of it

    def failures(self) -> list[str]:
        failed = {trial.number: trial.why for trial in self.study.trials if trial.why}
        again = {number: f"{why}; the same command tries it again" for number, why in self.hindered.items()}
        return [f"trial {number} ({why})" for number, why in sorted((failed | again).items())]

    def verdict(self) -> str:
        """One sentence."""
        present, ended, failures = self.study.trials[0], self.study.best_first(), self.failures()
        num = len(ended) + len(self.hindered) + bool(present.why)
        said = f"{len(failures)} of {num} trials failed: {', '.join(failures)}; " if failures else f"{num} trial{'s' * (num > 1)}: "
        if not ended or ended[0].figure is None:
            return f"{said}none has a figure."
        name, figure, than = self.experiment(ended[0]), ended[0].figure, ""
        if present.figure is not None:
            is_better = self.study.sign * (present.figure - figure) > 0
            than = f"; the present values have {present.figure:g}{'' if is_better else ', so none is better than they are'}"
        return f"{said}the best is {name} with {self.metric} {figure:g} (dvc exp apply {name}){than}."

    def as_table(self) -> str:
        """Markdown: the present values first, then a line a trial, the best first."""
        present = {key: key_and_value(key, self.model, self.params)[1] for key in self.space}
        rows = [["trial", self.metric, *map(self.short, self.space), "experiment"], ["---"] * (len(self.space) + 3)]
        for trial in [self.study.trials[0], *self.study.best_first()]:
            values = [json.dumps(value, default=str) for value in (present | self.study.values(trial)).values()]
            name = self.experiment(trial) if trial.number else "the present values"
            figure = "failed" if trial.figure is None else f"{trial.figure:g}"
            rows.append([str(trial.number), figure, *map(as_markdown, values), as_markdown(trial.why or name)])
        return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", as_markdown(self.verdict())])


def as_metric(metric: str | None, model: str, params: Any, root: Path) -> tuple[str, bool]:
    """The figure of training.json, without its split, and whether smaller is better: the given one, or that by which the recipe chooses."""
    facts = facts_of(root, params["models"][model]["dataset"])  # OSError where the stage check has not run
    metric = metric or ("loss" if recipe_of(params, model).get("best_by") == "loss" else facts.score)
    if metric not in ("loss", facts.score):
        raise SearchError(f"the metric is {metric!r}; expected loss or {facts.score}, which is what the training of {model} measures.")
    return metric, metric == "loss" or facts.is_error(metric)


def read_figure(content: str, metric: str) -> float:
    """The best epoch's, on val; on train where the dataset has no val."""
    figures = json.loads(content)
    for split in ("val", "train"):
        if isinstance(figure := figures.get(f"{split}_{metric}"), int | float):
            return float(figure)
    raise TrialFailed(f"training.json has no {metric}, but {', '.join(figures)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.sweep", description="Search for the values with which a model is best.")
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
