"""Batches of a split that lies whole on the device: uint8 pictures stay uint8 until a batch is taken."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from stages.training.processes import Processes, alone

# Texts are sorted by length within so many batches: most of the gain in speed, and neighbours still change with every pass.
SORTED_TOGETHER = 16


# Of an input's part: the length of every row, [n], or None where all items are of one size.
Lengths = Callable[[np.ndarray], np.ndarray | None]


def same_length(rows: np.ndarray) -> np.ndarray | None:
    return None


class Batches:
    """Inputs and targets of one split on a device, taken by index; of several processes each takes its share of every batch."""

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        batch_size: int,
        device: torch.device,
        processes: Processes | None = None,
        lengths: Lengths = same_length,
    ):
        self.inputs, self.targets = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        self.batch_size, self.device, self.processes = batch_size, device, processes or alone()
        self.lengths = tensor_or_none(lengths(inputs))

    def __len__(self) -> int:
        """Batches in one pass."""
        return -(-len(self.inputs) // self.batch_size)

    def first(self, count: int) -> Tensor:
        """The first inputs, to look at."""
        return self.inputs[:count]

    def shuffled(self, generator: torch.Generator, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, from batch `start` on, in an order drawn from `generator`: on the CPU, so that every device sees the same one."""
        drawn = draw_batches(len(self.inputs), self.lengths, self.batch_size, generator)[start:]
        own = [share(whole, self.processes) for whole in drawn]
        longest = [None if self.lengths is None else int(self.lengths[places].max()) for places in own]
        # All places go to the device at once: there a copy waits for all that was asked for before, and no step needs to.
        on_device = torch.cat([torch.empty(0, dtype=torch.int64), *own]).to(self.device).split([len(places) for places in own])
        for places, length in zip(on_device, longest, strict=True):
            yield take(self.inputs[places], self.targets[places], length)

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in the order of the rows; each process takes whole batches."""
        for start in range(self.processes.rank * self.batch_size, len(self.inputs), self.processes.count * self.batch_size):
            rows = slice(start, start + self.batch_size)
            yield take(self.inputs[rows], self.targets[rows], None if self.lengths is None else int(self.lengths[rows].max()))


def tensor_or_none(values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(values)


def draw_batches(count: int, lengths: Tensor | None, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """The places of each batch's rows. Texts of like length come together, so that little of a batch is padding."""
    shuffled = torch.randperm(count, generator=generator)
    if lengths is None:
        return list(shuffled.split(batch_size))
    batches: list[Tensor] = []
    for places in shuffled.split(SORTED_TOGETHER * batch_size):
        batches += places[lengths[places].argsort(stable=True)].split(batch_size)
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def share(places: Tensor, processes: Processes) -> Tensor:
    """This process's part of a batch. A last batch of fewer rows than processes gives some of them a row that another has too."""
    return places[processes.rank :: processes.count] if len(places) > processes.rank else places[-1:]


def take(inputs: Tensor, targets: Tensor, longest: int | None) -> tuple[Tensor, Tensor]:
    """A batch; of texts, the `longest` of which is so long, without the padding that all rows share, which no result depends on."""
    if longest is None:
        return inputs, targets
    return inputs[:, : max(longest, 1)].long(), targets[:, : max(longest, 1)] if targets.ndim == 2 else targets
