"""The training loop: one engine for every model, on the CPU and on CUDA."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.modelling.model import Model
from stages.shell.refusals import refuse_augmentation, refuse_divergence
from stages.shell.resume import Keeper
from stages.training.augmentations import build_augmentations
from stages.training.losses import Loss, build_loss
from stages.training.processes import Processes
from stages.training.run import Run
from stages.training.scores import Row, Score
from stages.training.steps import AnyBatches, Step, Training

Watcher = Callable[[int, Row], None]


@dataclass
class Fitted:
    """The best epoch's weights, its number (from 1), and one row an epoch for the learning curve."""

    weights: dict[str, Tensor]
    best_epoch: int
    rows: list[Row]


def fit(training: Training, keeper: Keeper, watch: Watcher) -> Fitted:
    """Trains the model in place and returns the best epoch.

    The run resumes from what `keeper` has of it, and is saved there. `watch` is called after every epoch with its
    number and its row, and at the start for the epochs that an earlier run has done. Of several processes each calls it.
    """
    model, recipe, key = training.model, training.recipe, training.key
    device, network, meta = training.train.device, model.network, model.meta
    if model.input.part.CHANNELS_LAST and recipe.optimizer.name != "LBFGS":  # which sees all weights as one row
        network.to(memory_format=torch.channels_last)
    refuse_augmentation(recipe, meta.input.kind, key)
    augmentations = build_augmentations([choice.model_dump() for choice in recipe.augment], f"{key}.augment")
    loss_function = build_loss(recipe.loss.name, recipe.loss.arguments, meta.task, meta.num_outputs, f"{key}.loss")
    run = Run(model, recipe, len(training.train), device, training.seed, key, training.processes)
    keeper.take_up(run)
    for epoch, row in enumerate(run.rows, 1):
        watch(epoch, row)

    step = Step(training, run, augmentations, loss_function)
    while not run.is_over:
        network.train()
        for inputs, targets in training.train.shuffled(run.order, run.step):
            # torch's types ask for a float where a tensor is as good.
            run.optimizer.step(step(inputs, targets))  # type: ignore[arg-type]
            run.end_step()
            keeper.pause(run)

        keeper.change_pace()
        row = {"epoch": run.epoch, "lr": run.lr, **epoch_scores(training, run, loss_function, lambda: keeper.pause(run))}
        refuse_divergence(row, run.rows[0] if run.rows else row, recipe, key)
        run.end_epoch(row)
        watch(len(run.rows), row)
        keeper.end_epoch(run)

    return Fitted(run.best.weights, run.best.epoch, run.rows)


def epoch_scores(training: Training, run: Run, loss_function: Loss, pause: Callable[[], None]) -> Row:
    """Loss and metric of train and val. Without a val split train is measured again, with the weights that the epoch ended with."""
    metric, has_val = run.task.SCORE, training.val is not None
    run.processes.share_buffers(run.kept)
    watched = training.train if training.val is None else training.val
    scores = measure(training.model, run.kept, loss_function, watched, pause, run.processes)
    train_loss, train_metric = run.score.means(run.processes) if has_val else scores
    val_loss, val_metric = scores if has_val else (None, None)
    return {"train_loss": train_loss, "val_loss": val_loss, f"train_{metric}": train_metric, f"val_{metric}": val_metric}


@torch.no_grad()
def measure(
    model: Model, network: nn.Module, loss_function: Loss, batches: AnyBatches, pause: Callable[[], None], processes: Processes
) -> tuple[float, float]:
    """Mean loss and metric of a split, without augmentation, in evaluation mode; `pause` is called after every batch."""
    network.eval()
    score = Score.zero(model.task, batches.device)
    everybodys = len(batches) // processes.count  # the rest is not for every process, and all must pause together
    for number, (inputs, targets) in enumerate(batches.in_order()):
        logits = network(model.input(inputs))
        score.add(logits, targets, loss_function(logits, targets))
        if number < everybodys:
            pause()
    return score.means(processes)
