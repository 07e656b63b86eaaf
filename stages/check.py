"""Checks the whole of params.yaml before any other stage starts, so that a typo costs a second and not an hour.

Command: python -m stages.check params.yaml
Reads:   params.yaml and the shelves
Writes:  data/checked.json, always the same bytes: what depends on it is rebuilt only for its own reasons
"""

from pathlib import Path
from typing import Any, Literal

import torch

from stages.common.errors import UserError, run_stage
from stages.common.files import write_json
from stages.common.params import Runtime, Section, check_section, check_source, read_params
from stages.common.shelves import part_names, take_part
from stages.evaluate import Evaluate
from stages.export import Export
from stages.training.augmentations import build_augmentations
from stages.training.loop import Recipe, schedule_for
from stages.training.losses import build_loss
from stages.training.optimizers import GridSearch, build_optimizer

CHECKED = Path("data") / "checked.json"


class Root(Section):
    """The sections of params.yaml."""

    source: str
    runtime: dict[str, Any]
    datasets: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    evaluate: dict[str, Any]
    export: dict[str, Any]


class DatasetEntry(Section):
    """`datasets.<name>`: kind names a file of stages/datasets; the other two are checked against its models."""

    kind: str
    download: dict[str, Any]
    preprocess: dict[str, Any]


class ModelEntry(Section):
    """`models.<name>`: architecture.name names a file of stages/architectures; plot is the DVC template of actual against predicted."""

    dataset: str
    plot: Literal["confusion", "confusion_normalized", "scatter"]
    architecture: dict[str, Any]
    train: dict[str, Any]


def check(path: str) -> None:
    root = check_section(Root, read_params(), "")
    check_source(root.source)
    check_section(Runtime, root.runtime, "runtime")
    check_section(Evaluate, root.evaluate, "evaluate")
    check_section(Export, root.export, "export")
    tasks = {name: check_dataset(name, values) for name, values in root.datasets.items()}
    for name, values in root.models.items():
        check_model(name, values, tasks)
    write_json(CHECKED, {"checked": path})


def check_dataset(name: str, values: dict[str, Any]) -> Any:
    """Refuses a mistake in one dataset's entry; returns the kind of its task."""
    entry = check_section(DatasetEntry, values, f"datasets.{name}")
    part = take_part("datasets", entry.kind, f"datasets.{name}.kind")
    check_section(part.Download, entry.download, f"datasets.{name}.download")
    return check_section(part.Preprocess, entry.preprocess, f"datasets.{name}.preprocess").task


def check_model(name: str, values: dict[str, Any], tasks: dict[str, Any]) -> None:
    """Refuses a mistake in one model's entry, an unknown dataset or part, and parts that do not fit each other."""
    key = f"models.{name}"
    entry = check_section(ModelEntry, values, key)
    if entry.dataset not in tasks:
        raise UserError(f"params.yaml: {key}.dataset is {entry.dataset!r}; expected one of {', '.join(tasks)}.")
    if (entry.plot == "scatter") != (tasks[entry.dataset] == "regression"):
        raise UserError(f"params.yaml: {key}.plot is {entry.plot}; expected scatter for a regression, confusion for classes.")
    if "name" not in entry.architecture:
        raise UserError(f"params.yaml: {key}.architecture.name is missing; expected one of {', '.join(part_names('architectures'))}.")
    part = take_part("architectures", entry.architecture["name"], f"{key}.architecture.name")
    check_section(part.Params, entry.architecture, f"{key}.architecture")
    check_recipe(check_section(Recipe, entry.train, f"{key}.train"), tasks[entry.dataset], f"{key}.train")


def check_recipe(recipe: Recipe, task: Any, key: str) -> None:
    """Builds every named part once, on a single weight, so that wrong arguments show now."""
    build_loss(recipe.loss.name, recipe.loss.arguments, task, 1 if task in ("binary", "regression") else 3, f"{key}.loss")
    weight = torch.nn.Parameter(torch.zeros(1, 1))
    optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, [weight], f"{key}.optimizer")
    if isinstance(optimizer, GridSearch) and recipe.schedule is not None:
        raise UserError(f"params.yaml: {key}.schedule must be null for GridSearch, whose lr is the step of its grid.")
    schedule_for(recipe, optimizer, 10, f"{key}.schedule")
    build_augmentations([choice.model_dump() for choice in recipe.augment], f"{key}.augment")


if __name__ == "__main__":
    run_stage(check, usage="python -m stages.check params.yaml")
