"""All that changes while a network is trained, as one tree of tensors and plain values that can be saved and taken up again."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stages.modelling.model import Model
from stages.training.average import Average
from stages.training.dropout import LateDropout
from stages.training.optimizers import GridSearch, build_optimizer
from stages.training.processes import Processes
from stages.training.recipe import Recipe
from stages.training.schedules import MovingRate
from stages.training.scores import Best, Row, Score

# Of several processes each draws its own noise.
SEEDS_APART = 1_000_003


class Run:
    """A run of a recipe: what was done (`rows`, one a finished epoch, and `step` batches of the next) and what that has made.

    Everything random follows from `seed`: the orders of train, drawn from `order`, and torch's own generators for the rest. `key` is
    the section of params.yaml, for errors' sentences.
    """

    def __init__(self, model: Model, recipe: Recipe, steps_per_epoch: int, device: torch.device, seed: int, key: str, processes: Processes):
        self.recipe, self.network, self.task, self.device, self.processes = recipe, model.network, model.task, device, processes
        torch.manual_seed(seed + processes.rank * SEEDS_APART)
        self.order = torch.Generator().manual_seed(seed)
        self.weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, self.weights, f"{key}.optimizer")
        self.schedule = MovingRate(recipe, self.optimizer, steps_per_epoch, f"{key}.schedule")
        self.average = Average(self.network, recipe.ema) if recipe.ema else None
        self.dropout = LateDropout(self.network, recipe.late_dropout, recipe.epochs, key)
        self.best, self.rows, self.score = Best(recipe, model.task), list[Row](), Score.zero(model.task, device)
        self.start_epoch()

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def kept(self) -> nn.Module:
        """The network that is measured and kept."""
        return self.network if self.average is None else self.average.network

    @property
    def epoch(self) -> int:
        """The number of the epoch that is being trained, from 1."""
        return len(self.rows) + 1

    @property
    def place(self) -> str:
        if self.is_over:
            return f"after the last epoch, {len(self.rows)}"
        return f"at epoch {self.epoch} of {self.recipe.epochs}, step {self.step}"

    @property
    def is_over(self) -> bool:
        stale = self.recipe.patience is not None and len(self.rows) - self.best.epoch >= self.recipe.patience
        return len(self.rows) == self.recipe.epochs or (stale and bool(self.rows))

    def start_epoch(self) -> None:
        self.step = 0
        self.dropout.start_epoch(self.epoch)
        self.score.forget()
        self.lr, self.order_at_start = self.optimizer.param_groups[0]["lr"], self.order.get_state()

    def end_step(self) -> None:
        if self.average is not None:
            self.average.update()
        self.schedule.move("step")
        self.step += 1

    def end_epoch(self, row: Row) -> None:
        if isinstance(self.optimizer, GridSearch):
            row["weight"] = self.optimizer.value
        self.rows.append(row)
        self.schedule.move("epoch", row["train_loss"] if row["val_loss"] is None else row["val_loss"])
        if self.best.is_beaten_by(row):
            self.best.keep(row, self.kept)
        self.start_epoch()

    def state(self) -> dict[str, Any]:
        """What load() needs to go on from here: after a step, while the epoch that was trained is measured, or after the last.

        All processes must call it at the same place.
        """
        outcome = {"best": self.best.state(), "rows": self.rows}
        if self.is_over:
            return outcome
        return outcome | {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "average": None if self.average is None else self.average.state(),
            "step": self.step,
            "score": self.processes.gather(torch.stack(self.score.state()).cpu()),
            "lr": self.lr,
            "order_at_start": self.order_at_start,
            "random": self.processes.gather(torch.get_rng_state()),
            "random_on_device": self.processes.gather(torch.cuda.get_rng_state(self.device)) if self.on_cuda else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.best.load(state["best"])
        self.rows = state["rows"]
        if self.is_over:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.optimizer.defaults.get("fused"):
            lay_out_as_weights(self.optimizer)
        self.schedule.load(state["schedule"])
        if self.average is not None:
            self.average.load(state["average"])
        self.order.set_state(state["order_at_start"])
        self.start_epoch()
        self.step, self.lr = state["step"], state["lr"]
        self.score.load(state["score"][self.processes.rank])
        torch.set_rng_state(state["random"][self.processes.rank])
        if self.on_cuda:
            torch.cuda.set_rng_state(state["random_on_device"][self.processes.rank], self.device)


def lay_out_as_weights(optimizer: Optimizer) -> None:
    """Gives what an optimizer keeps for each weight the weight's own layout in memory (channels last, for a convolution of pictures).

    A saved state is contiguous, and torch's fused kernels walk weights and their state side by side without a look at the layout.
    """
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
