"""The training loop: one engine for every model, on the CPU and on CUDA."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler
from torch.optim.swa_utils import AveragedModel

from stages.common.errors import UserError
from stages.common.meta import InputKind, Task
from stages.common.params import Section
from stages.modelling.devices import is_out_of_memory
from stages.modelling.model import ImageInput, Model
from stages.training.augmentations import Augmentation, build_augmentations
from stages.training.batches import Batches
from stages.training.losses import PADDED, Loss, build_loss
from stages.training.optimizers import GridSearch, build_optimizer, build_schedule

# A run whose loss grows past this multiple of its first epoch's will not come back.
EXPLODED = 1e4


class Choice(Section):
    """A part by name with its own arguments beside it, for example {name: SGD, momentum: 0.5}."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Schedule(Choice):
    """A learning rate schedule, moved on after every `interval`."""

    interval: Literal["step", "epoch"]


class Recipe(Section):
    """`models.<name>.train`: how a network is trained.

    clip_norm: largest norm of the gradient (null: not clipped). ema: decay of the running average of the weights that is
    validated and kept (null: the weights themselves). best_by: the epoch with the lowest loss, or with the best metric
    (accuracy, or mean absolute error), of val is kept; of train where the dataset has no val. patience: stop after so many epochs without a
    better one (null: never).
    """

    loss: Choice
    optimizer: Choice
    lr: float = Field(gt=0, le=1e6)
    schedule: Schedule | None
    epochs: int = Field(ge=1, le=1_000_000_000)
    batch_size: int = Field(ge=1, le=1_000_000_000)
    augment: list[Choice]
    clip_norm: float | None = Field(gt=0)
    ema: float | None = Field(gt=0, lt=1)
    best_by: Literal["loss", "metric"]
    patience: int | None = Field(ge=1)


Row = dict[str, float | None]
Watcher = Callable[[int, Row], None]


@dataclass
class Fitted:
    """The best epoch's weights, its number (from 1), and one row an epoch for the learning curve."""

    weights: dict[str, Tensor]
    best_epoch: int
    rows: list[Row]


@dataclass
class Score:
    """Sums over the items (or the characters) seen so far, on the device, so that no step waits for it."""

    task: Task
    loss: Tensor
    metric: Tensor
    count: Tensor

    @classmethod
    def zero(cls, task: Task, device: torch.device) -> "Score":
        return cls(task, *(torch.zeros((), dtype=torch.float64, device=device) for _ in range(3)))

    def add(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch with its mean `loss`."""
        per_item = metric_per_item(self.task, logits.detach().float(), targets)
        self.loss += loss.detach() * len(per_item)
        self.metric += per_item.sum()
        self.count += len(per_item)

    def means(self) -> tuple[float, float]:
        """Mean loss and metric; waits for the device."""
        loss, metric = (torch.stack([self.loss, self.metric]) / self.count).tolist()
        return loss, metric


def metric_name(task: Task) -> str:
    return "mae" if task == "regression" else "accuracy"


def metric_per_item(task: Task, logits: Tensor, targets: Tensor) -> Tensor:
    """Absolute error, or 1.0 where the class is right, of every item (of every character that is not padding)."""
    if task == "regression":
        return (logits - targets).abs().flatten()
    if task == "binary":
        return ((logits[:, 0] > 0) == (targets == 1)).float()
    right = (logits.argmax(-1) == targets).float()
    return right[targets != PADDED] if task == "sequence" else right


def fit(model: Model, recipe: Recipe, train: Batches, val: Batches | None, seed: int, bf16: bool, key: str, watch: Watcher) -> Fitted:
    """Train `model` in place and return the best epoch; `key` is the section of params.yaml, for errors' sentences.

    `watch` is called after every epoch with its number and its row. Everything random follows from `seed`.
    """
    device, network, meta = train.inputs.device, model.network, model.meta
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    loss_function = build_loss(recipe.loss.name, recipe.loss.arguments, model.task, meta.num_outputs, f"{key}.loss")
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, weights, f"{key}.optimizer")
    schedule = MovingRate(recipe, optimizer, len(train), f"{key}.schedule")
    refuse_augmentation(recipe, meta.input.kind, key)
    augmentations = build_augmentations([choice.model_dump() for choice in recipe.augment], f"{key}.augment")
    average = AveragedModel(network, multi_avg_fn=exponential_average(recipe.ema), use_buffers=True) if recipe.ema else None
    kept = network if average is None else average.module
    best, rows = Best(recipe, model.task), []

    for epoch in range(1, recipe.epochs + 1):
        network.train()
        score, lr = Score.zero(model.task, device), optimizer.param_groups[0]["lr"]
        for inputs, targets in train.shuffled(order):
            seen = prepare(model, inputs, augmentations, f"{key}.augment")

            def forward_and_back(seen: Tensor = seen, targets: Tensor = targets, score: Score = score) -> Tensor:
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                    logits = forward(network, seen, key)
                    loss = loss_function(logits, targets)
                optimizer.zero_grad()
                loss.backward()
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(weights, recipe.clip_norm)
                score.add(logits, targets, loss)
                return loss

            # Every optimizer calls it once, but for LBFGS, which measures the loss as often as it needs.
            optimizer.step(forward_and_back)  # type: ignore[arg-type]  # a tensor is as good as the float that torch's types ask for
            if average is not None:
                average.update_parameters(network)
            schedule.move("step")

        row = {"epoch": epoch, "lr": lr, **epoch_scores(model, kept, loss_function, score, train, val)}
        if isinstance(optimizer, GridSearch):
            row["weight"] = optimizer.value
        rows.append(row)
        refuse_divergence(row, rows[0], recipe, key)
        schedule.move("epoch", watched(row, "loss"))
        watch(epoch, row)
        if best.is_beaten_by(row):
            best.keep(row, kept)
        elif recipe.patience is not None and epoch - best.epoch >= recipe.patience:
            break

    return Fitted(best.weights, best.epoch, rows)


def forward(network: nn.Module, inputs: Tensor, key: str) -> Tensor:
    """The logits of a batch in training; what only some batches show (a single item, augmented pictures of another size) is named."""
    try:
        return network(inputs)
    except (RuntimeError, ValueError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        shape = "x".join(map(str, inputs.shape))
        what = f"The network cannot be trained on a batch of {shape} ({error})"
        raise UserError(f"{what}: change {key}.batch_size or {key}.augment, or the architecture's sizes.") from error


Tensors = tuple[Tensor, ...] | list[Tensor]


def exponential_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Moves averages towards the current weights; the decay grows to its full value, so that short runs forget their start too.

    The warm-up min(decay, (1 + n) / (10 + n)) is that of TensorFlow's ExponentialMovingAverage.
    """

    @torch.no_grad()
    def update(averages: Tensors, current: Tensors, num_updates: Tensor | int) -> None:
        n = int(num_updates)
        share = 1 - min(decay, (1 + n) / (10 + n))
        for average, weight in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(weight, share)
            else:
                average.copy_(weight)

    return update


class MovingRate:
    """The learning rate as recipe.schedule moves it, after every step or every epoch; it stays where it is for null."""

    def __init__(self, recipe: Recipe, optimizer: Optimizer, steps_per_epoch: int, key: str):
        self.chosen = recipe.schedule
        if self.chosen is None:
            return
        if self.chosen.name == "ReduceLROnPlateau" and self.chosen.interval != "epoch":
            raise UserError(f"params.yaml: {key}.interval must be epoch for ReduceLROnPlateau, which waits for the loss of an epoch.")
        num_moves = recipe.epochs * (steps_per_epoch if self.chosen.interval == "step" else 1)
        refuse_cycle(self.chosen, num_moves, key)
        self.schedule = build_schedule(self.chosen.name, self.chosen.arguments, optimizer, recipe.lr, num_moves, key)
        if isinstance(self.schedule, lr_scheduler.OneCycleLR) and self.schedule.total_steps < num_moves:
            ends = f"ends after {self.schedule.total_steps} of {num_moves} {self.chosen.interval}s"
            raise UserError(f"params.yaml: {key} {ends}: leave total_steps (or epochs and steps_per_epoch) out.")

    def move(self, after: Literal["step", "epoch"], loss: float | None = None) -> None:
        """Moves on, if `after` is the schedule's interval; `loss` is the epoch's, for a schedule that watches it."""
        if self.chosen is None or self.chosen.interval != after:
            return
        if isinstance(self.schedule, lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(loss or 0.0)
        else:
            self.schedule.step()


def refuse_cycle(schedule: Schedule, num_moves: int, key: str) -> None:
    """Refuses the two shares of a one-cycle schedule at which torch divides by zero, one of them in the run's last step."""
    share = schedule.arguments.get("pct_start", 0.3)
    if schedule.name == "OneCycleLR" and isinstance(share, int | float) and (share >= 1 or math.isclose(share * num_moves, 1)):
        length = f"{num_moves} {schedule.interval}s"
        raise UserError(f"params.yaml: {key}.pct_start is {share:g}, and of {length} it must leave more than one to rise, and one to fall.")


def refuse_augmentation(recipe: Recipe, kind: InputKind, key: str) -> None:
    if recipe.augment and kind != "image":
        raise UserError(f"params.yaml: {key}.augment works on pictures, and the dataset has {kind}; make it an empty list.")


def prepare(model: Model, inputs: Tensor, augmentations: list[Augmentation], key: str) -> Tensor:
    """What the network sees of a batch in training: augmented between scaling to 0..1 and normalising; `key` names the augmentations."""
    if not augmentations:
        return model.input(inputs)
    assert isinstance(model.input, ImageInput)
    images = model.input.scale(inputs)
    for place, augment in enumerate(augmentations):
        try:
            images = augment(images)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            size = "x".join(map(str, images.shape[1:]))
            raise UserError(f"params.yaml: {key}[{place}] fails on pictures of {size} (channels, height, width): {error}.") from error
    refuse_another_size(images, inputs, model, key)
    return model.input.normalize(images)


def refuse_another_size(images: Tensor, inputs: Tensor, model: Model, key: str) -> None:
    """Augmented pictures must be as large as they were, or as the ones that the model will get."""
    made = [images.shape[2], images.shape[3], images.shape[1]]
    if made not in (list(inputs.shape[1:]), model.meta.input.shape):
        given, wanted = ("x".join(map(str, shape)) for shape in (made, model.meta.input.shape))
        raise UserError(f"params.yaml: {key} makes pictures of {given} (height, width, channels); the network gets {wanted}.")


def epoch_scores(model: Model, kept: nn.Module, loss_function: Loss, score: Score, train: Batches, val: Batches | None) -> Row:
    """Loss and metric of train and val. Without a val split train is measured again, with the weights that the epoch ended with."""
    metric = metric_name(model.task)
    train_loss, train_metric = score.means() if val is not None else measure(model, kept, loss_function, train)
    val_loss, val_metric = measure(model, kept, loss_function, val) if val is not None else (None, None)
    return {"train_loss": train_loss, "val_loss": val_loss, f"train_{metric}": train_metric, f"val_{metric}": val_metric}


@torch.no_grad()
def measure(model: Model, network: nn.Module, loss_function: Loss, batches: Batches) -> tuple[float, float]:
    """Mean loss and metric of a split, without augmentation, in evaluation mode."""
    network.eval()
    score = Score.zero(model.task, batches.inputs.device)
    for inputs, targets in batches.in_order():
        logits = network(model.input(inputs))
        score.add(logits, targets, loss_function(logits, targets))
    return score.means()


def refuse_divergence(row: Row, first: Row, recipe: Recipe, key: str) -> None:
    start = first["train_loss"]
    assert start is not None
    losses = [loss for loss in (row["train_loss"], row["val_loss"]) if loss is not None]
    if all(math.isfinite(loss) and loss <= EXPLODED * max(abs(start), 1.0) for loss in losses):
        return
    grown = "is not a number any more" if any(map(math.isnan, losses)) else f"has grown to {max(losses):.3g}"
    raise UserError(
        f"The loss {grown} in epoch {row['epoch']}: lower {key}.lr (now {recipe.lr:g}) or set {key}.clip_norm (for example 1.0)."
    )


def watched(row: Row, measure: str) -> float | None:
    """The value of val, or of train where there is no val."""
    value = row[f"val_{measure}"]
    return row[f"train_{measure}"] if value is None else value


class Best:
    """The best epoch so far; of two equal ones the earlier."""

    def __init__(self, recipe: Recipe, task: Task):
        self.measure = "loss" if recipe.best_by == "loss" else metric_name(task)
        self.sign = -1 if self.measure == "accuracy" else 1
        self.epoch, self.value = 0, math.inf
        self.weights: dict[str, Tensor] = {}

    def is_beaten_by(self, row: Row) -> bool:
        return self._value(row) < self.value

    def keep(self, row: Row, network: nn.Module) -> None:
        self.epoch, self.value = int(row["epoch"] or 0), self._value(row)
        self.weights = copy.deepcopy(network.state_dict())

    def _value(self, row: Row) -> float:
        value = watched(row, self.measure)
        return math.inf if value is None or math.isnan(value) else self.sign * value
