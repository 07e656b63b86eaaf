"""What a sweep searches for, and what stands in its way before any trial begins."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.dvc.checked import facts_of
from pipelines.dvc.lock_file import find
from pipelines.dvc.pipeline import Pipeline
from pipelines.searching.experiments import base_of, experiments_of, unknown_to_git
from pipelines.searching.space import SearchError, Space, as_space, as_text, recipe_of
from pipelines.searching.study import Study, Trial

LOGS = Path("logs") / "sweep"


@dataclass(frozen=True)
class Plan:
    """What is searched for: in the study `name`, upon a tree, the values in `space` with which `model` has the best `metric`."""

    pipeline: Pipeline
    model: str
    name: str
    commit: str
    tree: str
    space: Space
    metric: str
    direction: Literal["minimize", "maximize"]
    seed: int

    @property
    def folder(self) -> Path:
        return self.pipeline.root / LOGS / self.name

    @property
    def target(self) -> str:
        return f"train@{self.model}"

    def experiment(self, trial: Trial) -> str:
        return f"{self.name}-{trial.number:03d}"

    def short(self, key: str) -> str:
        return key.removeprefix(f"models.{self.model}.train.")

    def study(self) -> Study:
        about = {
            "space": {self.short(key): as_text(part) for key, part in self.space.items()},
            "metric": self.metric,
            "seed": self.seed,
            "state of the files": f"commit {self.commit[:10]}, tree {self.tree[:10]}",
        }
        return Study(self.folder, about, self.space, self.direction, self.seed)


def as_plan(pipeline: Pipeline, model: str, space: dict[str, str | list[Any]], metric: str | None, seed: int, name: str | None) -> Plan:
    params = pipeline.params()
    models = find(params, "models")
    if not isinstance(models, dict) or model not in models:
        known = ", ".join(models) if isinstance(models, dict) else "none"
        raise SearchError(f"params.yaml has no model {model}; known there: {known}.")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise SearchError(f"the name is {name!r}; expected letters, digits, _ and -, a letter or digit first.")
    chosen = as_space(space, model, params)
    measured, direction = as_metric(metric, model, params, pipeline.root)
    searched = json.dumps([{key: as_text(part) for key, part in chosen.items()}, measured, seed], sort_keys=True)
    name = name or hashlib.sha256(searched.encode()).hexdigest()[:6]
    return Plan(pipeline, model, f"{model}-{name}", *base_of(pipeline.root), chosen, measured, direction, seed)


def as_metric(metric: str | None, model: str, params: Any, root: Path) -> tuple[str, Literal["minimize", "maximize"]]:
    """The figure of training.json, without its split, and which way it is better: the given one, or that by which the recipe chooses."""
    try:
        facts = facts_of(root, find(params, f"models.{model}.dataset"))
    except (OSError, ValueError, LookupError) as error:
        raise SearchError(f"what the training of {model} measures is not known ({reason(error)}): dvc repro check first.") from error
    metric = metric or ("loss" if recipe_of(params, model).get("best_by") == "loss" else facts.score)
    if metric not in ("loss", facts.score):
        raise SearchError(f"the metric is {metric!r}; expected loss or {facts.score}, which is what the training of {model} measures.")
    return metric, "minimize" if metric == "loss" or facts.is_error(metric) else "maximize"


def reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def refuse_what_trials_lack(plan: Plan) -> None:
    """Every trial begins with what git and DVC's cache have."""
    pipeline = plan.pipeline
    stages = pipeline.plan([plan.target])
    read = {key for stage in stages for key in pipeline.keys_read_by(stage.name)}
    if idle := [key for key in plan.space if not any(f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.") for one in read)]:
        raise SearchError(f"{idle[0]} changes nothing of {plan.target}: search over keys that it reads.")
    if unknown := unknown_to_git(pipeline.root, {path for stage in stages for path in pipeline.code_of(stage.name)}):
        raise SearchError(f"git does not know {', '.join(unknown)}, so no trial would have it: git add it, or move it away.")
    if stale := [stage.name for stage in stages[:-1] if stage.command and not pipeline.is_up_to_date(stage.name)]:
        raise SearchError(f"{', '.join(stale)} must be up to date, or every trial would make it again: dvc repro {' '.join(stale)} first.")


def refuse_experiments_of_another(plan: Plan, study: Study) -> None:
    """A trial of this very study that was running is looked for among the experiments: there must be no other's."""
    if study.is_new and (names := sorted(experiments_of(plan.pipeline.root, plan.name))):
        raise SearchError(
            f"there are experiments {names[0]} to {names[-1]}, and {plan.folder.relative_to(plan.pipeline.root)} knows nothing of them: "
            "--name gives this search a name of its own, --fresh removes them."
        )
