"""Batches of a split that is larger than memory: read from its file as they are needed, a window ahead.

The rows are shuffled in two steps: blocks of neighbouring rows in an order of their own for each pass, and within a window of many
blocks every row. Rows of different windows never share a batch in one pass, and any two may in another. Of several
processes each reads every window and takes its share of it.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from stages.common.splits import SplitFile
from stages.training.batches import Lengths, draw_batches, same_length, share, take, tensor_or_none
from stages.training.processes import Processes, alone

BLOCK_BYTES = 1 << 20  # large enough to be read at full speed from wherever it lies
WINDOWS_IN_MEMORY = 4  # one in use, one that is read, and room for what both are made from


class StreamedBatches:
    """As Batches, of a split that stays in its file; `memory` is how many bytes the windows of all processes may take together."""

    def __init__(
        self,
        file: SplitFile,
        batch_size: int,
        device: torch.device,
        memory: int,
        processes: Processes | None = None,
        lengths: Lengths = same_length,
    ):
        self.file, self.batch_size, self.device, self.processes = file, batch_size, device, processes or alone()
        self.lengths = lengths
        row_bytes = max(file.num_bytes // max(file.count, 1), 1)
        # Whole batches make a block and whole blocks a window: only a pass's last batch can be a short one.
        self.block = batch_size * max(1, BLOCK_BYTES // (batch_size * row_bytes))
        self.window = self.block * max(1, memory // (self.processes.count * WINDOWS_IN_MEMORY * self.block * row_bytes))

    def __len__(self) -> int:
        """Batches in one pass."""
        return -(-self.file.count // self.batch_size)

    def first(self, count: int) -> Tensor:
        """The first inputs, to look at."""
        return torch.from_numpy(self.file.read("inputs", 0, count)).to(self.device)

    def shuffled(self, generator: torch.Generator, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass, from batch `start` on, in an order drawn from `generator`."""
        whole, rest = divmod(self.file.count, self.block)
        blocks = torch.randperm(whole, generator=generator).tolist() + [whole] * (rest > 0)
        per_window = self.window // self.block
        windows = [blocks[place : place + per_window] for place in range(0, len(blocks), per_window)]
        seeds = torch.randint(2**62, (len(windows),), generator=generator).tolist()
        skipped, start = divmod(start, self.window // self.batch_size)
        for (inputs, targets), seed in zip(self.read_ahead(windows[skipped:]), seeds[skipped:], strict=True):
            own = torch.Generator().manual_seed(seed)
            for batch in draw_batches(len(inputs), tensor_or_none(self.lengths(inputs)), self.batch_size, own)[start:]:
                places = share(batch, self.processes).numpy()
                yield self.on_device(inputs[places], targets[places])
            start = 0

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass in the order of the rows; each process takes whole batches."""
        blocks = list(range(-(-self.file.count // self.block)))
        number = 0
        for inputs, targets in self.read_ahead([[block] for block in blocks]):
            for start in range(0, len(inputs), self.batch_size):
                if number % self.processes.count == self.processes.rank:
                    yield self.on_device(inputs[start : start + self.batch_size], targets[start : start + self.batch_size])
                number += 1

    def read_ahead(self, windows: list[list[int]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows of each window, while the next one is being read."""
        with ThreadPoolExecutor(1, thread_name_prefix="reading ahead") as reader:
            coming = [reader.submit(self.read, window) for window in windows[:1]]
            for following in [*windows[1:], None]:
                if not coming:
                    return
                current = coming.pop().result()
                if following is not None:
                    coming.append(reader.submit(self.read, following))
                yield current
                del current

    def read(self, window: list[int]) -> tuple[np.ndarray, np.ndarray]:
        places = [(block * self.block, min((block + 1) * self.block, self.file.count)) for block in window]
        return self.file.read_all("inputs", places), self.file.read_all("targets", places)

    def on_device(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
        lengths = self.lengths(inputs)
        longest = None if lengths is None else int(lengths.max())
        return take(torch.from_numpy(inputs).to(self.device), torch.from_numpy(targets).to(self.device), longest)
