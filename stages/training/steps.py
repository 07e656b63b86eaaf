"""What a step of a training computes of a batch before the optimizer moves: augment, forward, loss, backward, clip, score."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stages.modelling.devices import is_out_of_memory
from stages.modelling.model import Model
from stages.shell.errors import UserError, reason
from stages.shell.refusals import refuse_another_size
from stages.training.augmentations import Augmentation, is_batched
from stages.training.batches import Batches
from stages.training.graphs import Recorder
from stages.training.losses import Loss
from stages.training.processes import Processes, alone
from stages.training.recipe import Recipe
from stages.training.run import Run
from stages.training.streams import StreamedBatches

# Texts of each length are recorded apart, which takes a tenth of a second.
LONGEST_RECORDED = 32

AnyBatches = Batches | StreamedBatches


@dataclass(frozen=True)
class Training:
    """What fit() trains, on what and how; `key` is the recipe's section of params.yaml, for errors' sentences.

    `graphs`: steps may be recorded as CUDA graphs, for the architecture's forward pass asks the CPU for nothing.
    """

    model: Model
    recipe: Recipe
    train: AnyBatches
    val: AnyBatches | None
    seed: int
    key: str
    bf16: bool = False
    processes: Processes = field(default_factory=alone)
    graphs: bool = True


class Step:
    """Made once for a run; given a batch, it returns the function that the optimizer calls."""

    def __init__(self, training: Training, run: Run, augmentations: list[Augmentation], loss_function: Loss):
        self.training, self.run, self.augmentations, self.loss_function = training, run, augmentations, loss_function
        self.recorder = Recorder(self.whole, training.model.network, run.weights, run.score.state())

    def __call__(self, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
        """From a batch, as the split has it, to what computes its gradients and returns its loss.

        Every optimizer calls that once, but for LBFGS, which measures the loss of the same augmented batch as often as it needs.
        """
        is_usual = len(inputs) == self.training.recipe.batch_size and (inputs.dtype != torch.int64 or inputs.shape[1] <= LONGEST_RECORDED)
        if self.is_recorded and is_usual:
            return functools.partial(self.recorder, inputs, targets, self.run.dropout.is_on)
        return functools.partial(self.forward_and_back, self.prepare(inputs), targets)

    @functools.cached_property
    def is_recorded(self) -> bool:
        """Whether full batches are, which needs all draws to be the device's own.

        It depends only on the configuration, so a resumed run computes as if it had never been stopped.
        """
        training = self.training
        return (
            training.graphs
            and training.train.device.type == "cuda"
            and training.processes.count == 1
            and training.recipe.optimizer.name != "LBFGS"
            and all(map(is_batched, self.augmentations))
        )

    def whole(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.forward_and_back(self.prepare(inputs), targets)

    def prepare(self, inputs: Tensor) -> Tensor:
        return prepare(self.training.model, inputs, self.augmentations, f"{self.training.key}.augment")

    def forward_and_back(self, seen: Tensor, targets: Tensor) -> Tensor:
        """The weights' gradients, averaged over all processes and clipped; returns everybody's mean loss."""
        training, run = self.training, self.run
        with torch.autocast(seen.device.type, dtype=torch.bfloat16, enabled=training.bf16):
            logits = forward(training.model.network, seen, training.key)
        loss = self.loss_function(logits, targets)  # in float32 always
        run.optimizer.zero_grad()
        loss.backward()
        everybodys = run.processes.average(run.weights, loss, len(targets))
        if training.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(run.weights, training.recipe.clip_norm)
        run.score.add(logits, targets, loss)
        return everybodys


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


def prepare(model: Model, inputs: Tensor, augmentations: list[Augmentation], key: str) -> Tensor:
    """What the network sees of a batch in training: augmented between scaling to 0..1 and normalising; `key` names the augmentations."""
    if not augmentations:
        return model.input(inputs)
    images = model.input.part.scale(inputs)
    for place, augment in enumerate(augmentations):
        try:
            images = augment(images)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            size = "x".join(map(str, images.shape[1:]))
            what = f"params.yaml: {key}[{place}] fails on pictures of {size} (channels, height, width)"
            raise UserError(f"{what}: {reason(error)}.") from error
    refuse_another_size(images, inputs, model, key)
    normalized: Tensor = model.input.part.normalize(images, model.input.constants)
    return normalized
