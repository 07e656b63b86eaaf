"""Losses by name. Each takes logits as the network gives them and targets as the split holds them, which the task's file describes."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stages.common.shelves import take_task
from stages.shell.arguments import fitting, refuse_types
from stages.shell.errors import UserError

PADDED = -1

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=PADDED, **arguments)


def nll(logits: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    return functional.nll_loss(logits.log_softmax(-1).flatten(0, -2), targets.flatten(), ignore_index=PADDED, **arguments)


def bce(logits: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    # torch's refuses NaN with an error that names nothing: let it through to the loss, which says that the run diverged.
    loss = functional.binary_cross_entropy(logits.sigmoid().nan_to_num(0.5), indicators(logits, targets), **arguments)
    return loss + (logits * 0).sum()


def focal(logits: Tensor, targets: Tensor, **arguments: Any) -> Tensor:
    """Lin et al., 2017, https://arxiv.org/abs/1708.02002; with several classes, one against the rest for each."""
    from torchvision.ops import sigmoid_focal_loss

    return sigmoid_focal_loss(logits, indicators(logits, targets), **{"reduction": "mean", **arguments})


def of_indicators(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda logits, targets, **arguments: function(logits, indicators(logits, targets), **arguments)


def indicators(logits: Tensor, targets: Tensor) -> Tensor:
    """Targets as 0.0 and 1.0 in the shape of the logits: what has it already, a class label for one logit, else one-hot."""
    if targets.shape == logits.shape:
        return targets.to(logits.dtype)
    if logits.shape[1] == 1:
        return targets.to(logits.dtype).unsqueeze(1)
    return functional.one_hot(targets, logits.shape[1]).to(logits.dtype)


# By name; which of them fit a task, the task says (stages/tasks).
LOSSES: dict[str, Callable[..., Tensor]] = {
    "L1": functional.l1_loss,
    "MSE": functional.mse_loss,
    "SmoothL1": functional.smooth_l1_loss,
    "CrossEntropy": cross_entropy,
    "NLL": nll,
    "BCE": bce,
    "BCEWithLogits": of_indicators(functional.binary_cross_entropy_with_logits),
    "Focal": focal,
    "MultiLabelSoftMargin": of_indicators(functional.multilabel_soft_margin_loss),
}


def build_loss(name: str, arguments: dict[str, Any], task: str, num_outputs: int, key: str) -> Loss:
    """The loss `name` of params.yaml (at `key`) with its arguments; refused where it does not fit the task's targets."""
    part = take_task(task)
    if name not in LOSSES:
        raise UserError(f"params.yaml: {key}.name is {name!r}; for a {task} target expected one of {', '.join(part.LOSSES)}.")
    if name not in part.LOSSES:
        ones = ", ".join(part.LOSSES)
        raise UserError(f"params.yaml: {key}.name is {name}, which does not fit the dataset's {task} target; use one of {ones}.")
    function = LOSSES[name]
    refuse_types(function, arguments, key)
    if arguments.get("reduction", "mean") != "mean":
        raise UserError(f"params.yaml: {key}.reduction is {arguments['reduction']!r}; expected mean, so that batch size does not matter.")
    weight = arguments.get("weight")
    is_fitting = isinstance(weight, list) and len(weight) == num_outputs and all(type(one) in (int, float) and one > 0 for one in weight)
    if isinstance(weight, list) and not is_fitting:  # torch would take some of them, and spread them over the batch
        raise UserError(f"params.yaml: {key}.weight is {weight}; expected {num_outputs} numbers above 0, one for each output.")

    @functools.cache  # no step waits until they are on the device
    def tensors(device: torch.device) -> dict[str, Tensor]:
        # A list is a tensor that params.yaml cannot write: the classes' weights.
        lists = ((name, value) for name, value in arguments.items() if isinstance(value, list))
        return {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in lists}

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return function(logits.float(), targets, **{**arguments, **tensors(logits.device)})

    # Of two items: wrong arguments show on the first call, which is made before any work starts, and a loss for each item by item().
    shape, targets = part.example(num_outputs)
    with fitting(key, name):
        loss(torch.zeros(shape), torch.from_numpy(targets)).item()
    return loss
