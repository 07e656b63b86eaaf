"""The training loop: one engine for every model, on the CPU and on CUDA."""

import functools
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor, nn

from stages.modelling.devices import is_out_of_memory
from stages.modelling.model import Model
from stages.shell.arguments import fitting
from stages.shell.errors import UserError, reason
from stages.shell.refusals import refuse_another_size, refuse_augmentation, refuse_divergence
from stages.shell.resume import Keeper
from stages.training.augmentations import Augmentation, build_augmentations, is_batched
from stages.training.batches import AnyBatches
from stages.training.graphs import Recorder
from stages.training.losses import Loss, build_loss
from stages.training.processes import Processes
from stages.training.recipe import Row
from stages.training.run import Run

# Texts of each length are recorded apart, which takes a tenth of a second.
LONGEST_RECORDED = 32


def fit(run: Run, keeper: Keeper, watch: Callable[[int, Row], None]) -> Run:
    """Trains the run's model in place; `run.best` has the best epoch then.

    The run resumes from what `keeper` has of it, and is saved there. `watch` is called after every epoch with its
    number and its row, and at the start for the epochs that an earlier run has done. Of several processes each calls it.
    """
    recipe, key, meta = run.recipe, run.key, run.model.meta
    refuse_augmentation(recipe, meta.input.kind, key)
    augmentations = build_augmentations([choice.model_dump() for choice in recipe.augment], f"{key}.augment")
    loss_function = build_loss(recipe.loss.name, recipe.loss.arguments, meta.task, meta.num_outputs, f"{key}.loss")
    keeper.take_up(run)
    for epoch, row in enumerate(run.rows, 1):
        watch(epoch, row)

    step = Step(run, augmentations, loss_function)
    while not run.is_over:
        run.network.train()
        for inputs, targets in run.train.shuffled(run.order, run.step):
            # torch's types ask for a float where a tensor is as good.
            run.optimizer.step(step(inputs, targets))  # type: ignore[arg-type]
            run.end_step()
            keeper.pause(run)

        row = {"epoch": run.epoch, "lr": run.lr, **epoch_scores(run, loss_function, lambda: keeper.pause(run))}
        refuse_divergence(row, run.rows[0] if run.rows else row, recipe, key)
        run.end_epoch(row)
        watch(len(run.rows), row)
        keeper.end_epoch(run)
    return run


class Step:
    """What a step computes of a batch before the optimizer moves."""

    def __init__(self, run: Run, augmentations: list[Augmentation], loss_function: Loss):
        self.run, self.augmentations, self.loss_function = run, augmentations, loss_function
        self.is_recorded = may_record(run, augmentations)
        self.recorder = Recorder(self.whole, run.weights, [*run.network.buffers(), run.score])

    def __call__(self, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
        """From a batch, as the split has it, to what the optimizer calls: it computes the gradients and returns the loss.

        Every optimizer calls it once, but for LBFGS, which measures the loss of the same augmented batch as often as it needs.
        """
        is_usual = len(inputs) == self.run.recipe.batch_size and (inputs.dtype != torch.int64 or inputs.shape[1] <= LONGEST_RECORDED)
        if self.is_recorded and is_usual:
            return functools.partial(self.recorder, inputs, targets, self.run.dropout.is_on)
        return functools.partial(self.forward_and_back, self.prepare(inputs), targets)

    def whole(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.forward_and_back(self.prepare(inputs), targets)

    def prepare(self, inputs: Tensor) -> Tensor:
        """What the network sees of a batch: augmented between scaling to 0..1 and normalising."""
        model, key = self.run.model, f"{self.run.key}.augment"
        if not self.augmentations:
            return model.input(inputs)
        images = model.input.part.scale(inputs)
        for place, augment in enumerate(self.augmentations):
            with fitting(f"{key}[{place}]", self.run.recipe.augment[place].name):
                images = augment(images)
        refuse_another_size(images, inputs, model, key)
        normalized: Tensor = model.input.part.normalize(images, model.input.constants)
        return normalized

    def forward_and_back(self, seen: Tensor, targets: Tensor) -> Tensor:
        """The weights' gradients, averaged over all processes and clipped; returns everybody's mean loss."""
        run = self.run
        with torch.autocast(seen.device.type, dtype=torch.bfloat16, enabled=run.bf16):
            logits = forward(run.network, seen, run.key)
        members = len(logits) // len(targets)  # answers an item, of networks that are several in one
        targets = targets if members == 1 else targets.repeat_interleave(members, dim=0)
        loss = self.loss_function(logits, run.model.standardised(targets))  # in float32 always
        run.optimizer.zero_grad()
        loss.backward()
        everybodys = run.processes.average(run.weights, loss, len(targets))
        if run.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(run.weights, run.recipe.clip_norm)
        add_score(run.score, run.task, run.model.in_units(logits), targets, loss)
        return everybodys


def may_record(run: Run, augmentations: list[Augmentation]) -> bool:
    """Whether full batches are recorded as CUDA graphs, which needs all draws to be the device's own.

    It depends only on the configuration, so a resumed run computes as if it had never been stopped.
    """
    return (
        run.graphs
        and run.device.type == "cuda"
        and run.processes.count == 1
        and run.recipe.optimizer.name != "LBFGS"
        and all(map(is_batched, augmentations))
    )


def forward(network: nn.Module, inputs: Tensor, key: str) -> Tensor:
    """The logits of a batch in training; what only some batches show (a single item, augmented pictures of another size) is named."""
    try:
        return network(inputs)
    except (RuntimeError, ValueError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        shape = "x".join(map(str, inputs.shape))
        what = f"The network cannot be trained on a batch of {shape} ({reason(error)})"
        raise UserError(f"{what}: change {key}.batch_size or {key}.augment, or the architecture's sizes.") from error


def epoch_scores(run: Run, loss_function: Loss, pause: Callable[[], None]) -> Row:
    """Loss and metric of train and val. Without a val split train is measured again, with the weights that the epoch ended with."""
    metric, has_val = run.task.SCORE, run.val is not None
    run.processes.share_buffers(run.kept)
    scores = measure(run.model, run.kept, loss_function, run.train if run.val is None else run.val, pause)
    train_loss, train_metric = mean_score(run.score, run.processes) if has_val else scores
    val_loss, val_metric = scores if has_val else (None, None)
    return {"train_loss": train_loss, "val_loss": val_loss, f"train_{metric}": train_metric, f"val_{metric}": val_metric}


@torch.no_grad()
def measure(model: Model, network: nn.Module, loss_function: Loss, batches: AnyBatches, pause: Callable[[], None]) -> tuple[float, float]:
    """Mean loss and metric of a split, without augmentation, in evaluation mode; `pause` is called after every batch."""
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=batches.device)
    everybodys = len(batches) // batches.processes.count  # the rest is not for every process, and all must pause together
    for number, (inputs, targets) in enumerate(batches.in_order()):
        logits = network(model.input(inputs))
        add_score(sums, model.task, model.in_units(logits), targets, loss_function(logits, model.standardised(targets)))
        if number < everybodys:
            pause()
    return mean_score(sums, batches.processes)


def add_score(sums: Tensor, task: ModuleType, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
    """Adds a batch with its mean `loss` to the sums [3] of loss, metric and items (or characters): on the device, so that no step waits."""
    per_item, count = task.score_per_item(logits.detach().float(), targets)
    for total, value in zip(sums, (loss.detach() * count, per_item.sum(), count), strict=True):
        total.add_(value)


def mean_score(sums: Tensor, processes: Processes) -> tuple[float, float]:
    """Mean loss and metric over all processes; waits for the device."""
    loss, metric, count = processes.sum(sums.clone()).tolist()
    return loss / count, metric / count
