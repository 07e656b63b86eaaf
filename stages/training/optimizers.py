"""Optimizers (torch.optim, and an exhaustive search) and learning rate schedules (torch.optim.lr_scheduler) by name."""

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler

from stages.common.errors import UserError
from stages.training.arguments import fitting, refuse_text

# Takes sparse gradients only, which no architecture here has.
NOT_FOR_DENSE = {"SparseAdam"}
# These need Python functions or other schedulers as arguments, which params.yaml cannot hold.
NOT_BY_PARAMS = {"LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}


class GridSearch(Optimizer):
    """Exhaustive search over one weight: step k puts `start + k * lr` into it, whatever the gradient says.

    With `best epoch kept` and one step an epoch this is the first lesson's search for w; `value` is what was tried last.
    """

    def __init__(self, params: Iterable[Parameter], lr: float, start: float):
        super().__init__(params, {"lr": lr, "start": start})
        weights = [weight for group in self.param_groups for weight in group["params"]]
        if sum(weight.numel() for weight in weights) != 1:
            raise ValueError("GridSearch searches one weight; give it an architecture with one (linear without bias, one feature)")
        self.weight, self.num_steps, self.value = weights[0], 0, start

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]  # the loop always gives a closure
        with torch.enable_grad():
            loss = closure()
        group = self.param_groups[0]
        self.value = group["start"] + self.num_steps * group["lr"]
        self.weight.fill_(self.value)
        self.num_steps += 1
        return loss


def optimizer_names() -> list[str]:
    found = [
        name for name, kind in vars(torch.optim).items() if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
    ]
    return sorted({*found, "GridSearch"} - NOT_FOR_DENSE)


def build_optimizer(name: str, arguments: dict[str, Any], lr: float, weights: Iterable[Parameter], key: str) -> Optimizer:
    """The optimizer `name` of params.yaml (at `key`) over `weights`; lists stand for tuples (betas: [0.9, 0.999])."""
    if name not in optimizer_names():
        raise UserError(f"params.yaml: {key}.name is {name!r}; expected one of {', '.join(optimizer_names())}.")
    kind: Callable[..., Optimizer] = GridSearch if name == "GridSearch" else getattr(torch.optim, name)
    plain = {argument: tuple(value) if isinstance(value, list) else value for argument, value in arguments.items()}
    refuse_text(kind, arguments, key)
    with fitting(key, name):
        return kind(weights, lr=lr, **plain)


def schedule_names() -> list[str]:
    kinds = vars(lr_scheduler).items()
    base = lr_scheduler.LRScheduler
    return sorted(
        name
        for name, kind in kinds
        if inspect.isclass(kind) and issubclass(kind, base) and not name.startswith("_") and name not in NOT_BY_PARAMS
    )


def build_schedule(
    name: str, arguments: dict[str, Any], optimizer: Optimizer, lr: float, num_intervals: int, key: str
) -> lr_scheduler.LRScheduler:
    """The schedule `name` of params.yaml (at `key`).

    What follows from other params is filled in where the schedule takes it and params leave it out: `max_lr` is train.lr,
    and `total_steps`, `T_max` and PolynomialLR's `total_iters` are the number of intervals (steps or epochs) of the run.
    """
    if name not in schedule_names():
        raise UserError(f"params.yaml: {key}.name is {name!r}; expected one of {', '.join(schedule_names())}.")
    kind = getattr(lr_scheduler, name)
    accepted = inspect.signature(kind).parameters
    derived = {"max_lr": lr, "T_max": num_intervals}
    if "epochs" not in arguments:
        derived["total_steps"] = num_intervals
    if name == "PolynomialLR":
        derived["total_iters"] = num_intervals
    filled = {argument: value for argument, value in derived.items() if argument in accepted} | arguments
    refuse_text(kind, arguments, key)
    with fitting(key, name), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "scheduler before optimizer": the first step is the constructor's own
        return kind(optimizer, **filled)
