"""The running average of a network's weights, which is measured and kept in the place of the weights themselves."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving averages of a network's weights, and of its layers' own running figures.

    The first update takes them as they are. From then on the decay grows to its full value, so that short runs forget their start too:
    min(decay, (1 + n) / (10 + n)) after n updates, as TensorFlow's ExponentialMovingAverage warms up.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.network, self.decay, self.num_updates = copy.deepcopy(network), decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        pairs = list(zip(tensors(self.network), tensors(network), strict=True))
        moving = [(average, current) for average, current in pairs if average.is_floating_point() and self.num_updates]
        for average, current in pairs:
            if not (average.is_floating_point() and self.num_updates):  # counts, and everything in the first update
                average.copy_(current)
        n = self.num_updates
        if moving:
            # All at once: one by one, a GPU would wait longer for Python than it computes.
            averages, currents = zip(*moving, strict=True)
            torch._foreach_lerp_(averages, currents, 1 - min(self.decay, (1 + n) / (10 + n)))
        self.num_updates += 1

    def state(self) -> dict[str, Any]:
        return {"network": dict(self.network.state_dict()), "num_updates": self.num_updates}

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.num_updates = state["num_updates"]


def tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
