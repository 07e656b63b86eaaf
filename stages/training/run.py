"""All that changes while a network is trained, as one tree of tensors and plain values that can be saved and taken up again."""

import copy
import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.training.batches import AnyBatches
from stages.training.optimizers import GridSearch, build_optimizer
from stages.training.recipe import Recipe, Row
from stages.training.schedules import MovingRate

# Of several processes each draws its own noise.
SEEDS_APART = 1_000_003

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class Run:
    """What fit() trains, on what and how; what was done (`rows`, one a finished epoch, and `step` batches of the next), and what that made.

    Everything random follows from `seed`: the orders of train, drawn from `order`, and torch's own generators for the rest. `key` is the
    recipe's section of params.yaml, for errors' sentences. `graphs`: steps may be recorded as CUDA graphs.
    """

    def __init__(
        self,
        model: Model,
        recipe: Recipe,
        train: AnyBatches,
        val: AnyBatches | None,
        seed: int,
        key: str,
        bf16: bool = False,
        graphs: bool = True,
    ):
        self.model, self.recipe, self.train, self.val, self.key = model, recipe, train, val, key
        self.bf16, self.graphs, self.network, self.task = bf16, graphs, model.network, model.task
        self.device, self.processes = train.device, train.processes
        if model.input.part.CHANNELS_LAST and recipe.optimizer.name != "LBFGS":  # which sees all weights as one row
            self.network.to(memory_format=torch.channels_last)
        torch.manual_seed(seed + self.processes.rank * SEEDS_APART)
        self.order = torch.Generator().manual_seed(seed)
        self.weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, self.weights, f"{key}.optimizer")
        self.schedule = MovingRate(recipe, self.optimizer, len(train), f"{key}.schedule")
        self.average = Average(self.network, recipe.ema) if recipe.ema else None
        self.dropout = LateDropout(self.network, recipe.late_dropout, recipe.epochs, key)
        self.best, self.rows = Best(recipe, model.task), list[Row]()
        self.score = torch.zeros(3, dtype=torch.float64, device=self.device)  # sums over this epoch's batches
        self.start_epoch()

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

    @property
    def best_row(self) -> Row:
        return self.rows[self.best.epoch - 1]

    @property
    def chosen(self) -> dict[str, Any]:
        """What was chosen of the run, for those who read of it."""
        return {"best_epoch": self.best.epoch, "epochs": len(self.rows)}

    @property
    def summary(self) -> str:
        return f"epoch {self.best.epoch} of {len(self.rows)}"

    def start_epoch(self) -> None:
        self.step = 0
        self.dropout.start_epoch(self.epoch)
        self.score.zero_()
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
        self.best.see(row, self.kept)
        self.start_epoch()

    def state(self) -> dict[str, Any]:
        """What load() needs to go on from here: after a step, while the epoch that was trained is measured, or after the last.

        All processes must call it at the same place.
        """
        outcome = {"best": self.best.state(), "rows": self.rows}
        if self.is_over:
            return outcome
        on_cuda = self.device.type == "cuda"
        return outcome | {
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "average": None if self.average is None else self.average.state(),
            "step": self.step,
            "score": self.processes.gather(self.score.cpu()),
            "lr": self.lr,
            "order_at_start": self.order_at_start,
            "random": self.processes.gather(torch.get_rng_state()),
            "random_on_device": self.processes.gather(torch.cuda.get_rng_state(self.device)) if on_cuda else None,
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
        self.score.copy_(state["score"][self.processes.rank])
        torch.set_rng_state(state["random"][self.processes.rank])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_on_device"][self.processes.rank], self.device)


def lay_out_as_weights(optimizer: Optimizer) -> None:
    """Gives what an optimizer keeps for each weight the weight's own layout in memory (channels last, for a convolution of pictures).

    A saved state is contiguous, and torch's fused kernels walk weights and their state side by side without a look at the layout.
    """
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


class Best:
    """The best epoch so far, by val, or by train where there is no val; of two equal ones the earlier."""

    def __init__(self, recipe: Recipe, task: ModuleType):
        self.measure = "loss" if recipe.best_by == "loss" else task.SCORE
        self.sign = -1 if task.METRICS.get(self.measure) == "higher" else 1
        self.epoch, self.value = 0, math.inf
        self.weights: dict[str, Tensor] = {}

    def see(self, row: Row, network: nn.Module) -> None:
        """Keeps an epoch's weights if it is the best."""
        value = row[f"val_{self.measure}"]
        value = row[f"train_{self.measure}"] if value is None else value
        if value is not None and self.sign * value < self.value:  # NaN is not
            self.epoch, self.value = int(row["epoch"] or 0), self.sign * value
            self.weights = copy.deepcopy(network.state_dict())

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "value": self.value, "weights": self.weights}

    def load(self, state: dict[str, Any]) -> None:
        self.epoch, self.value, self.weights = state["epoch"], state["value"], dict(state["weights"])


class Average:
    """Exponential moving averages of a network's weights, and of its layers' own running figures, which they must change in place.

    The first update takes them as they are. From then on the decay grows to its full value, so that short runs forget their start too:
    min(decay, (1 + n) / (10 + n)) after n updates, as TensorFlow's ExponentialMovingAverage warms up.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network, self.decay, self.num_updates = copy.deepcopy(network), decay, 0
        for layer in self.network.modules():
            if isinstance(layer, nn.RNNBase):
                layer.flatten_parameters()  # a copy's weights lie apart, which CUDA's kernels would put together at every call
        # Listed once, for walking through the layers takes longer than a GPU needs for a step.
        self.own, self.current = (tensors_of(each, True) for each in (self.network, network))
        self.own_counts, self.counts = (tensors_of(each, False) for each in (self.network, network))

    @torch.no_grad()
    def update(self) -> None:
        n = self.num_updates
        self.num_updates += 1
        if n == 0:
            torch._foreach_copy_(self.own, self.current)
        else:
            torch._foreach_lerp_(self.own, self.current, 1 - min(self.decay, (1 + n) / (10 + n)))
        if self.counts:
            torch._foreach_copy_(self.own_counts, self.counts)

    def state(self) -> dict[str, Any]:
        return {"network": dict(self.network.state_dict()), "num_updates": self.num_updates}

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.num_updates = state["num_updates"]


def tensors_of(network: nn.Module, floating: bool) -> list[Tensor]:
    return [tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point() == floating]


class LateDropout:
    """Sets the rates of a network's dropout layers at the start of each epoch, and nothing else affects them.

    A network that may first learn without dropout is far sooner good, and as good in the end: Liu et al., Dropout Reduces Underfitting,
    2023, https://arxiv.org/abs/2303.01500. `late`: the share of all `epochs` without dropout, to the nearest epoch; null: none.
    """

    def __init__(self, network: nn.Module, late: float | None, epochs: int, key: str):
        self.rates = [(layer, layer.p) for layer in network.modules() if isinstance(layer, DROPOUTS)]
        if late is not None and not any(rate for _, rate in self.rates):
            raise UserError(f"params.yaml: {key}.late_dropout needs a network with dropout, but this one has none: set it to null.")
        self.begins_after = round((late or 0) * epochs)
        self.is_on = True

    def start_epoch(self, epoch: int) -> None:
        """`epoch` counts from 1."""
        self.is_on = epoch > self.begins_after
        for layer, rate in self.rates:
            layer.p = rate if self.is_on else 0.0
