"""Loss and metric of a pass over a split, and which epoch is the best by them."""

import copy
import math
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from stages.training.processes import Processes
from stages.training.recipe import Recipe

Row = dict[str, float | None]


def add_score(sums: Tensor, task: ModuleType, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
    """Adds a batch with its mean `loss` to the sums [3] of loss, metric and items (or characters): on the device, so that no step waits."""
    per_item, count = task.score_per_item(logits.detach().float(), targets)
    for total, value in zip(sums, (loss.detach() * count, per_item.sum(), count), strict=True):
        total.add_(value)


def mean_score(sums: Tensor, processes: Processes) -> tuple[float, float]:
    """Mean loss and metric over all processes; waits for the device."""
    loss, metric, count = processes.sum(sums.clone()).tolist()
    return loss / count, metric / count


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
