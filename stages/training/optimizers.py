"""Optimizers by name: torch.optim's, and an exhaustive search."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from stages.shell.arguments import fitting, refuse_types
from stages.shell.errors import UserError


class GridSearch(Optimizer):
    """Exhaustive search over one weight: step k puts `start + k * lr` into it, whatever the gradient says.

    With the best epoch kept and one step an epoch this is the first lesson's search for w; `value` is what was tried last.
    """

    def __init__(self, params: Iterable[Parameter], lr: float, start: float):
        # The steps are counted in the group, for what stands there is saved with the optimizer's state.
        super().__init__(params, {"lr": lr, "start": start, "num_steps": 0})
        if [weight.numel() for weight in self.param_groups[0]["params"]] != [1]:
            raise ValueError("GridSearch searches one weight; give it an architecture with one (linear without bias, one feature)")

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]  # the loop always gives a closure
        with torch.enable_grad():
            loss = closure()
        self.param_groups[0]["num_steps"] += 1
        self.param_groups[0]["params"][0].fill_(self.value)
        return loss

    @property
    def value(self) -> float:
        group = self.param_groups[0]
        return float(group["start"] + (group["num_steps"] - 1) * group["lr"])


def optimizer_names() -> list[str]:
    kinds = (kind for kind in vars(torch.optim).values() if inspect.isclass(kind) and issubclass(kind, Optimizer))
    # SparseAdam takes sparse gradients only, which no architecture here has.
    return sorted({kind.__name__ for kind in kinds} - {"Optimizer", "SparseAdam"} | {"GridSearch"})


def build_optimizer(name: str, arguments: dict[str, Any], lr: float, weights: Iterable[Parameter], key: str) -> Optimizer:
    """The optimizer `name` of params.yaml (at `key`) over `weights`; lists stand for tuples (betas: [0.9, 0.999]).

    Where torch has one kernel for the whole step it is used, unless params say otherwise: it takes a third of the time.
    """
    if name not in optimizer_names():
        raise UserError(f"params.yaml: {key}.name is {name!r}; expected one of {', '.join(optimizer_names())}.")
    kind: type[Optimizer] = GridSearch if name == "GridSearch" else getattr(torch.optim, name)
    if "lr" in arguments:
        raise UserError(f"params.yaml: {key}.lr is {arguments['lr']!r}: remove it and set {key.rpartition('.')[0]}.lr.")
    refuse_types(kind, arguments, key)
    plain = {argument: tuple(value) if isinstance(value, list) else value for argument, value in arguments.items()}
    if "fused" in inspect.signature(kind).parameters and not arguments.keys() & {"fused", "foreach", "differentiable"}:
        plain["fused"] = True
    build: Callable[..., Optimizer] = not_compiled(kind)
    with fitting(key, name):
        return build(weights, lr=lr, **plain)


def not_compiled(kind: type[Optimizer]) -> type[Optimizer]:
    """The same optimizer for a process that compiles nothing: torch's own methods, without what torch has put around them.

    That imports the compiler, torch._dynamo, to tell it not to look inside, which takes seconds of every training. Of what stands around
    `step` only no_grad is needed.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})
