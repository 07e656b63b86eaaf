"""Loss and metric of a pass over a split, and which epoch is the best by them."""

import copy
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from stages.training.processes import Processes
from stages.training.recipe import Recipe

Row = dict[str, float | None]


@dataclass
class Score:
    """Sums over the items (or the characters) seen so far, on the device, so that no step waits for it."""

    task: ModuleType
    loss: Tensor
    metric: Tensor
    count: Tensor

    @classmethod
    def zero(cls, task: ModuleType, device: torch.device) -> "Score":
        return cls(task, *(torch.zeros((), dtype=torch.float64, device=device) for _ in range(3)))

    def add(self, logits: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Adds a batch with its mean `loss`."""
        per_item, count = self.task.score_per_item(logits.detach().float(), targets)
        self.loss += loss.detach() * count
        self.metric += per_item.sum()
        self.count += count

    def means(self, processes: Processes) -> tuple[float, float]:
        """Mean loss and metric over all processes; waits for the device."""
        loss, metric, count = processes.sum(torch.stack(self.state())).tolist()
        return loss / count, metric / count

    def forget(self) -> None:
        """Back to nothing seen; in place, for a recorded step adds to these very tensors."""
        for own in self.state():
            own.zero_()

    def state(self) -> list[Tensor]:
        return [self.loss, self.metric, self.count]

    def load(self, state: Tensor) -> None:
        for own, saved in zip(self.state(), state, strict=True):
            own.copy_(saved)


def watched(row: Row, measure: str) -> float | None:
    """The value of val, or of train where there is no val."""
    value = row[f"val_{measure}"]
    return row[f"train_{measure}"] if value is None else value


class Best:
    """The best epoch so far; of two equal ones the earlier."""

    def __init__(self, recipe: Recipe, task: ModuleType):
        self.measure = "loss" if recipe.best_by == "loss" else task.SCORE
        self.sign = -1 if task.METRICS.get(self.measure) == "higher" else 1
        self.epoch, self.value = 0, math.inf
        self.weights: dict[str, Tensor] = {}

    def is_beaten_by(self, row: Row) -> bool:
        return self._value(row) < self.value

    def keep(self, row: Row, network: nn.Module) -> None:
        self.epoch, self.value = int(row["epoch"] or 0), self._value(row)
        self.weights = copy.deepcopy(network.state_dict())

    def state(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "value": self.value, "weights": self.weights}

    def load(self, state: dict[str, Any]) -> None:
        self.epoch, self.value, self.weights = state["epoch"], state["value"], dict(state["weights"])

    def _value(self, row: Row) -> float:
        value = watched(row, self.measure)
        return math.inf if value is None or math.isnan(value) else self.sign * value
