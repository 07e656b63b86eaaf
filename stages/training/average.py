"""The running average of a network's weights, which is measured and kept in the place of the weights themselves."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


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
        own, current = ([*module.parameters(), *module.buffers()] for module in (self.network, network))
        self.pairs = list(zip(own, current, strict=True))
        self.numbers, self.counts = ([pair for pair in self.pairs if pair[0].is_floating_point() == kind] for kind in (True, False))

    @torch.no_grad()
    def update(self) -> None:
        n = self.num_updates
        self.num_updates += 1
        if n == 0:
            copy_all(self.pairs)
            return
        own, current = zip(*self.numbers, strict=True)
        torch._foreach_lerp_(own, current, 1 - min(self.decay, (1 + n) / (10 + n)))
        copy_all(self.counts)

    def state(self) -> dict[str, Any]:
        return {"network": dict(self.network.state_dict()), "num_updates": self.num_updates}

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.num_updates = state["num_updates"]


def copy_all(pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Copies the second of each pair into the first."""
    if pairs:
        own, current = zip(*pairs, strict=True)
        torch._foreach_copy_(own, current)
