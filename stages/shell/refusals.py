"""What a training refuses, in sentences that name the key of params.yaml. Each either raises UserError or does nothing."""

import json
import math
import tempfile
from pathlib import Path
from types import ModuleType
from typing import get_args

from torch import Tensor, nn

from stages.common.files import naming
from stages.common.shelves import part_names, take_input, take_part, take_task
from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.training.recipe import AnyRecipe, FittedRecipe, Recipe, Row, Schedule

# A run whose loss grows past this multiple of its first epoch's will not come back.
EXPLODED = 1e4


def refuse_divergence(row: Row, first: Row, recipe: Recipe, key: str) -> None:
    start = first["train_loss"]
    assert start is not None
    losses = [loss for loss in (row["train_loss"], row["val_loss"]) if loss is not None]
    if all(math.isfinite(loss) and loss <= EXPLODED * max(abs(start), 1.0) for loss in losses):
        return
    grown = "became NaN" if any(map(math.isnan, losses)) else f"has grown to {max(losses):.3g}"
    clip = f"set {key}.clip_norm (for example 1.0)" if recipe.clip_norm is None else f"{key}.clip_norm (now {recipe.clip_norm:g})"
    raise UserError(f"The loss {grown} in epoch {row['epoch']}: lower {key}.lr (now {recipe.lr:g}) or {clip}.")


def refuse_stopped(dataset: str) -> None:
    """A dataset that the stage audit has severe findings of, which params.yaml does not accept."""
    folder = Path("data") / dataset / "audit"
    try:
        names = json.loads((folder / "verdict.json").read_bytes())["stopped_by"]
    except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{folder / 'verdict.json'} is missing or damaged: run python -m stages.audit {dataset} (or dvc repro) first."
        ) from error
    if names:
        what, accept = f"{', '.join(names)} in {folder / 'findings.json'}", f"datasets.{dataset}.accept: [{', '.join(names)}]"
        raise UserError(
            f"The audit of {dataset} stops the training by {what}: fix the data as {folder / 'report.html'} says, or accept it "
            f"in params.yaml ({accept})."
        )


def refuse_unwritable(folder: Path) -> None:
    """Makes a file without a name in it, or where it will lie: what cannot be written is said before the first epoch."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with naming(there):
        tempfile.TemporaryFile(dir=there).close()


def refuse_augmentation(recipe: Recipe, kind: str, key: str) -> None:
    if recipe.augment and not take_input(kind).IS_AUGMENTED:
        raise UserError(f"params.yaml: {key}.augment works only on pictures, but the dataset has {kind}: set it to [].")


def refuse_cycle(schedule: Schedule, num_moves: int, key: str) -> None:
    """Refuses the two shares of a one-cycle schedule at which torch divides by zero, one of them in the run's last step."""
    share = schedule.arguments.get("pct_start", 0.3)
    if schedule.name == "OneCycleLR" and isinstance(share, int | float) and (share >= 1 or math.isclose(share * num_moves, 1)):
        length = f"{num_moves} {schedule.interval}s"
        raise UserError(
            f"params.yaml: {key}.pct_start is {share:g}; of {length} more than one must be left to rise, and one to fall: "
            "train for more epochs, lower batch_size, or raise pct_start."
        )


def refuse_another_size(images: Tensor, inputs: Tensor, model: Model, key: str) -> None:
    """Augmented pictures must be as large as they were, or as the ones that the model will get."""
    made = [images.shape[2], images.shape[3], images.shape[1]]
    if made not in (list(inputs.shape[1:]), model.meta.input.shape):
        given, wanted = ("x".join(map(str, shape)) for shape in (made, model.meta.input.shape))
        raise UserError(f"params.yaml: {key} makes pictures of {given} (height, width, channels); the network gets {wanted}.")


def refuse_incomplete(part: ModuleType) -> None:
    """A family of networks whose file lacks something is named by the file, not by params.yaml."""
    name = part.__name__.rpartition(".")[2]
    file = f"stages/architectures/{name}.py"
    if missing := [thing for thing in ("INPUTS", "PER", "Params", "build") if not hasattr(part, thing)]:
        raise UserError(f"{file} lacks {', '.join(missing)}: compare it with stages/architectures/mlp.py.")
    if get_args(part.Params.model_fields["name"].annotation) != (name,):
        raise UserError(f'{file}: the field `name` of its Params must be Literal["{name}"], the file\'s name.')


def refuse_misfit(part: ModuleType, kind: str, task: str, dataset: str, key: str) -> None:
    """An architecture takes some kinds of input and answers once an item, or once a character; the dataset must have the same."""
    name = part.__name__.rpartition(".")[2]
    if kind not in part.INPUTS:
        raise UserError(
            f"params.yaml: {key}.architecture.name is {name}, which takes {' or '.join(part.INPUTS)}, "
            f"but the dataset {dataset} has {kind}: choose another architecture or dataset."
        )
    if take_task(task).PER != part.PER:
        raise UserError(
            f"params.yaml: {key}.architecture.name is {name}, which answers once per {part.PER}, "
            f"but the dataset {dataset} is a {task} task: choose another architecture or dataset."
        )


def refuse_unfitted(part: ModuleType, recipe: AnyRecipe, key: str) -> None:
    """A head is fitted on features, which few families of networks have: they say so by SPARSE."""
    fit, given = (recipe.fit, "fit") if isinstance(recipe, FittedRecipe) else (recipe.fit_first, "fit_first")
    if fit is None:
        return
    name = part.__name__.rpartition(".")[2]
    if not hasattr(part, "SPARSE"):
        fitted = [name for name in part_names("architectures") if hasattr(take_part("architectures", name, key), "SPARSE")]
        raise UserError(
            f"params.yaml: {key}.train has {given}, but {key}.architecture.name is {name}, which has no features to fit a head on: "
            f"choose {' or '.join(fitted)}, or a recipe without {given}."
        )
    if part.SPARSE and fit.standardise:
        raise UserError(f"params.yaml: {key}.train.{given}.standardise must be false for {name}, whose features are mostly 0.")


def refuse_other_heads(network: nn.Module, part: ModuleType) -> None:
    """What is fitted is one linear layer, which the network calls its head."""
    if not isinstance(getattr(network, "head", None), nn.Linear) or not hasattr(network, "features"):
        name = part.__name__.rpartition(".")[2]
        raise UserError(
            f"This network of {name} does not end in a linear layer, so a head cannot be fitted: choose another model or recipe."
        )
