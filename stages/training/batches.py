"""Batches of a split that lies whole on the device: uint8 pictures stay uint8 until a batch is taken."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


class Batches:
    """Inputs and targets of one split on a device, taken by index."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, batch_size: int, device: torch.device):
        self.inputs, self.targets = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches in one pass."""
        return -(-len(self.inputs) // self.batch_size)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in an order drawn from `generator`, which lives on the CPU so that every device sees the same order."""
        order = torch.randperm(len(self.inputs), generator=generator).to(self.inputs.device)
        for places in order.split(self.batch_size):
            yield self.take(self.inputs[places], self.targets[places])

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in zip(self.inputs.split(self.batch_size), self.targets.split(self.batch_size), strict=True):
            yield self.take(inputs, targets)

    def take(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Characters (the only int16) without the padding that every row of the batch shares, which no result depends on."""
        if inputs.dtype != torch.int16:
            return inputs, targets
        longest = max(int((inputs != 0).sum(dim=1).max()), 1)
        return inputs[:, :longest].long(), targets[:, :longest] if targets.ndim == 2 else targets
