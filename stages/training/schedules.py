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

# A schedule that ends at 0 may miss it by this share of the rate.
ROUNDING = 1e-6


def schedule_names() -> list[str]:
    base = lr_scheduler.LRScheduler
    found = {name for name, kind in vars(lr_scheduler).items() if inspect.isclass(kind) and issubclass(kind, base) and name[0] != "_"}
    return sorted(found - NOT_BY_PARAMS)


class MovingRate:
    """The learning rate as recipe.schedule (of params.yaml at `key`) moves it, after every step or every epoch; null: it stays.

    What follows from other params is filled in where the schedule takes it and params leave it out: `max_lr` is train.lr,
    and `total_steps`, `T_max` and PolynomialLR's `total_iters` are the number of intervals (steps or epochs) of the run.
    """

    def __init__(self, recipe: Recipe, optimizer: Optimizer, steps_per_epoch: int, key: str):
        self.chosen, self.key, self.lr = recipe.schedule, key, recipe.lr
        if self.chosen is None:
            return
        name, arguments, interval = self.chosen.name, self.chosen.arguments, self.chosen.interval
        if name not in schedule_names():
            names = f"{', '.join(schedule_names())} (to warm up and then follow a cosine, take OneCycleLR)"
            raise UserError(f"params.yaml: {key}.name is {name!r}; expected one of {names}.")
        if name == "ReduceLROnPlateau" and interval != "epoch":
            raise UserError(f"params.yaml: {key}.interval must be epoch for ReduceLROnPlateau, because it needs the loss of an epoch.")
        self.num_moves = recipe.epochs * (steps_per_epoch if interval == "step" else 1)
        refuse_cycle(self.chosen, self.num_moves, key)
        kind = getattr(lr_scheduler, name)
        derived = {"max_lr": recipe.lr, "T_max": self.num_moves}
        if "epochs" not in arguments:
            derived["total_steps"] = self.num_moves
        if name == "PolynomialLR":
            derived["total_iters"] = self.num_moves
        accepted = inspect.signature(kind).parameters
        refuse_types(kind, arguments, key)
        with fitting(key, name), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "scheduler before optimizer": the first step is the constructor's own
            filled = {argument: value for argument, value in derived.items() if argument in accepted} | arguments
            self.schedule: lr_scheduler.LRScheduler = kind(optimizer, **filled)
        if isinstance(self.schedule, lr_scheduler.OneCycleLR) and self.schedule.total_steps < self.num_moves:
            ends = f"ends after {self.schedule.total_steps} of {self.num_moves} {interval}s"
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
