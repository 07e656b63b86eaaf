"""Checks the whole of params.yaml before any other stage starts, so that a typo costs a second and not an hour.

Command: python -m stages.check params.yaml
Reads:   params.yaml and the shelves
Writes:  data/checked.json, always the same bytes: what depends on it is rebuilt only for its own reasons
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from stages.common.errors import UserError, run_stage
from stages.common.files import write_json
from stages.common.params import PARAMS_FILE, Runtime, Section, check_section, check_source, read_params
from stages.common.shelves import part_names, take_part
from stages.evaluate import Evaluate
from stages.export import Export
from stages.training.augmentations import build_augmentations
from stages.training.loop import Recipe, schedule_for, step_epoch
from stages.training.losses import build_loss
from stages.training.optimizers import GridSearch, build_optimizer

CHECKED = Path("data") / "checked.json"

STEPS_PER_EPOCH = 10  # of the rehearsal; the real number is known only when the data is there
MAX_STEPS = 1000


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
    if path != str(PARAMS_FILE):
        raise UserError(f"{path} is not the file that the stages read: give {PARAMS_FILE}, and run the command in the repository's root.")
    root = check_section(Root, read_params(), "")
    check_names(root)
    check_source(root.source)
    check_section(Runtime, root.runtime, "runtime")
    check_section(Evaluate, root.evaluate, "evaluate")
    check_section(Export, root.export, "export")
    tasks = {name: check_dataset(name, values) for name, values in root.datasets.items()}
    for name, values in root.models.items():
        check_model(name, values, tasks)
    write_json(CHECKED, {"checked": path})


def check_names(root: Root) -> None:
    """A name becomes a folder, a part of a command and of a key with dots between: nothing in it may mean more than itself."""
    for section, names in (("datasets", root.datasets), ("models", root.models)):
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise UserError(
                    f"params.yaml: {section} has the name {name!r}; expected letters, digits, _ and -, a letter or digit first."
                )


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
    """Builds every named part once and rehearses steps on a single weight, so that wrong arguments show now."""
    build_loss(recipe.loss.name, recipe.loss.arguments, task, 1 if task in ("binary", "regression") else 3, f"{key}.loss")
    weight = torch.nn.Parameter(torch.zeros(1, 1))
    weight.grad = torch.zeros(1, 1)
    with naming(f"{key}.optimizer"):
        optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, [weight], f"{key}.optimizer")
        optimizer.step(no_loss)
    if isinstance(optimizer, GridSearch) and recipe.schedule is not None:
        raise UserError(f"params.yaml: {key}.schedule must be null for GridSearch, whose lr is the step of its grid.")
    with naming(f"{key}.schedule"):
        rehearse_schedule(recipe, optimizer, f"{key}.schedule")
    with naming(f"{key}.augment"):
        rehearse_augmentations(recipe, f"{key}.augment")


def no_loss() -> float:
    """Stands for forward and backward in a rehearsal."""
    return 0.0


def rehearse_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, key: str) -> None:
    schedule = schedule_for(recipe, optimizer, STEPS_PER_EPOCH, key)
    if schedule is None or recipe.schedule is None:
        return
    by_step = recipe.schedule.interval == "step"
    optimizer.step(no_loss)  # once more, since a schedule wants one behind it before it moves on
    for _ in range(min(recipe.epochs * (STEPS_PER_EPOCH if by_step else 1), MAX_STEPS)):
        if by_step:
            schedule.step()
        else:
            step_epoch(schedule, {"val_loss": 1.0})


def rehearse_augmentations(recipe: Recipe, key: str) -> None:
    """Draws each once; what only does not fit the size of this picture is left for training, which has the right ones."""
    picture = torch.zeros(1, 3, 64, 64)
    for augment in build_augmentations([choice.model_dump() for choice in recipe.augment], key):
        with contextlib.suppress(ValueError, RuntimeError):
            augment(picture)


@contextlib.contextmanager
def naming(key: str) -> Iterator[None]:
    """Turns what torch raises of wrong arguments, which may be anything, into a sentence that names the key."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"params.yaml: the arguments of {key} do not fit ({type(error).__name__}: {error}).") from error


if __name__ == "__main__":
    run_stage(check, usage="python -m stages.check params.yaml")
