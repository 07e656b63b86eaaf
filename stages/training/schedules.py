"""Learning rate schedules (torch.optim.lr_scheduler) by name."""

import inspect
import warnings
from typing import Any, Literal

from torch.optim import Optimizer, lr_scheduler

from stages.shell.arguments import fitting, refuse_types
from stages.shell.errors import UserError
from stages.shell.refusals import refuse_cycle
from stages.training.recipe import Recipe

# These need Python functions or other schedulers as arguments, which params.yaml cannot hold.
NOT_BY_PARAMS = {"LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}

WARM_UP = " (to warm up and then follow a cosine, take OneCycleLR)"

# A schedule that ends at 0 may miss it by this share of the rate.
ROUNDING = 1e-6


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
        raise UserError(f"params.yaml: {key}.name is {name!r}; expected one of {', '.join(schedule_names())}{WARM_UP}.")
    kind = getattr(lr_scheduler, name)
    accepted = inspect.signature(kind).parameters
    derived = {"max_lr": lr, "T_max": num_intervals}
    if "epochs" not in arguments:
        derived["total_steps"] = num_intervals
    if name == "PolynomialLR":
        derived["total_iters"] = num_intervals
    filled = {argument: value for argument, value in derived.items() if argument in accepted} | arguments
    refuse_types(kind, arguments, key)
    with fitting(key, name), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "scheduler before optimizer": the first step is the constructor's own
        return kind(optimizer, **filled)


class MovingRate:
    """The learning rate as recipe.schedule moves it, after every step or every epoch; it stays where it is for null."""

    def __init__(self, recipe: Recipe, optimizer: Optimizer, steps_per_epoch: int, key: str):
        self.chosen = recipe.schedule
        if self.chosen is None:
            return
        if self.chosen.name == "ReduceLROnPlateau" and self.chosen.interval != "epoch":
            raise UserError(f"params.yaml: {key}.interval must be epoch for ReduceLROnPlateau, because it needs the loss of an epoch.")
        self.key, self.lr = key, recipe.lr
        self.num_moves = recipe.epochs * (steps_per_epoch if self.chosen.interval == "step" else 1)
        refuse_cycle(self.chosen, self.num_moves, key)
        self.schedule = build_schedule(self.chosen.name, self.chosen.arguments, optimizer, recipe.lr, self.num_moves, key)
        if isinstance(self.schedule, lr_scheduler.OneCycleLR) and self.schedule.total_steps < self.num_moves:
            ends = f"ends after {self.schedule.total_steps} of {self.num_moves} {self.chosen.interval}s"
            raise UserError(f"params.yaml: {key} {ends}: remove total_steps (or epochs and steps_per_epoch).")

    def move(self, after: Literal["step", "epoch"], loss: float | None = None) -> None:
        """Moves on, if `after` is the schedule's interval; `loss` is the epoch's, for a schedule that watches it."""
        if self.chosen is None or self.chosen.interval != after:
            return
        with fitting(self.key, self.chosen.name):
            if isinstance(self.schedule, lr_scheduler.ReduceLROnPlateau):
                self.schedule.step(loss or 0.0)
            else:
                self.schedule.step()
        for group in self.schedule.optimizer.param_groups:
            if group["lr"] < -ROUNDING * self.lr:
                raise UserError(f"params.yaml: {self.key} makes the learning rate {group['lr']:.3g}, less than 0: change its arguments.")

    def rehearse(self, most: int) -> None:
        """Makes its first moves, `most` of them, and its last two."""
        if self.chosen is None:
            return
        for _ in range(min(self.num_moves, most)):
            self.move(self.chosen.interval, 1.0)
        if self.num_moves > most + 2:
            self.schedule.last_epoch = self.num_moves - 2
            for _ in range(2):
                self.move(self.chosen.interval, 1.0)

    def state(self) -> dict[str, Any] | None:
        return None if self.chosen is None else self.schedule.state_dict()

    def load(self, state: dict[str, Any] | None) -> None:
        if self.chosen is not None and state is not None:
            self.schedule.load_state_dict(state)
            # The optimizer's steps before the first move may have been another process's.
            warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`")
