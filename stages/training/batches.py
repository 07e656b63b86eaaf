"""Batches of a split: one that lies whole on the device, or one that is larger than memory and read from its file, a window ahead."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from stages.common.splits import SplitFile
from stages.training.processes import Processes

# Texts are sorted by length within so many batches: most of the gain in speed, and neighbours still change with every pass.
SORTED_TOGETHER = 16
BLOCK_BYTES = 1 << 20  # large enough to be read at full speed from wherever it lies
WINDOWS_IN_MEMORY = 4  # one in use, one that is read, and room for what both are made from

# Of an input's part: the length of every row, [n], or None where all items are of one size.
Lengths = Callable[[np.ndarray], np.ndarray | None]
Pass = Iterator[tuple[Tensor, Tensor]]


class AnyBatches(ABC):
    """The `count` inputs and targets of one split; of several processes each takes its share of every batch."""

    def __init__(self, count: int, batch_size: int, device: torch.device, processes: Processes, lengths: Lengths):
        self.count, self.batch_size, self.device, self.processes, self.lengths_of = count, batch_size, device, processes, lengths

    def __len__(self) -> int:
        """Batches in one pass."""
        return -(-self.count // self.batch_size)

    @abstractmethod
    def shuffled(self, generator: torch.Generator, start: int = 0) -> Pass:
        """One pass, from batch `start` on, in an order drawn from `generator`: on the CPU, so that every device sees the same one."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Neighbouring rows as a batch."""

    def in_order(self) -> Pass:
        """One pass in the order of the rows; each process takes whole batches."""
        for start in range(self.processes.rank * self.batch_size, self.count, self.processes.count * self.batch_size):
            yield self.rows(start, start + self.batch_size)


class Batches(AnyBatches):
    """Of a split that lies whole on the device. uint8 pictures stay uint8 until a batch is taken."""

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        batch_size: int,
        device: torch.device,
        processes: Processes | None = None,
        lengths: Lengths = lambda _: None,
    ):
        super().__init__(len(inputs), batch_size, device, processes or Processes(), lengths)
        self.inputs, self.targets = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
        self.lengths = lengths(inputs)

    def shuffled(self, generator: torch.Generator, start: int = 0) -> Pass:
        drawn = draw_batches(self.count, self.lengths, self.batch_size, generator)[start:]
        own = [share(whole, self.processes) for whole in drawn]
        longest = [None if self.lengths is None else self.lengths[places.numpy()].max() for places in own]
        # All places go to the device at once: there a copy waits for all that was asked for before, and no step needs to.
        on_device = torch.cat([torch.empty(0, dtype=torch.int64), *own]).to(self.device).split([len(places) for places in own])
        for places, length in zip(on_device, longest, strict=True):
            yield take(self.inputs[places], self.targets[places], length)

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        longest = None if self.lengths is None else self.lengths[start:stop].max()
        return take(self.inputs[start:stop], self.targets[start:stop], longest)


class StreamedBatches(AnyBatches):
    """Of a split that stays in its file; `memory` is how many bytes the windows of all processes may take together.

    The rows are shuffled in two steps: blocks of neighbouring rows in an order of their own for each pass, and within a window of many
    blocks every row. Rows of different windows never share a batch in one pass, and any two may in another. Of several
    processes each reads every window and takes its share of it.
    """

    def __init__(self, file: SplitFile, batch_size: int, device: torch.device, memory: int, processes: Processes, lengths: Lengths):
        super().__init__(file.count, batch_size, device, processes, lengths)
        self.file, row_bytes = file, max(file.num_bytes // max(file.count, 1), 1)
        # Whole batches make a block and whole blocks a window: only a pass's last batch can be a short one.
        self.block = batch_size * max(1, BLOCK_BYTES // (batch_size * row_bytes))
        self.window = self.block * max(1, memory // (self.processes.count * WINDOWS_IN_MEMORY * self.block * row_bytes))

    def shuffled(self, generator: torch.Generator, start: int = 0) -> Pass:
        whole, rest = divmod(self.count, self.block)
        blocks = torch.randperm(whole, generator=generator).tolist() + [whole] * (rest > 0)
        per_window = self.window // self.block
        windows = [blocks[place : place + per_window] for place in range(0, len(blocks), per_window)]
        seeds = torch.randint(2**62, (len(windows),), generator=generator).tolist()
        skipped, start = divmod(start, self.window // self.batch_size)
        for (inputs, targets), seed in zip(self.read_ahead(windows[skipped:]), seeds[skipped:], strict=True):
            own = torch.Generator().manual_seed(seed)
            for batch in draw_batches(len(inputs), self.lengths_of(inputs), self.batch_size, own)[start:]:
                places = share(batch, self.processes).numpy()
                yield self.on_device(inputs[places], targets[places])
            start = 0

    def read_ahead(self, windows: list[list[int]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The rows of each window, while the next one is being read."""
        with ThreadPoolExecutor(1, thread_name_prefix="reading ahead") as reader:
            coming = [reader.submit(self.read, window) for window in windows[:1]]
            for following in range(1, len(windows) + 1):
                current = coming.pop().result()
                coming += [reader.submit(self.read, window) for window in windows[following : following + 1]]
                yield current
                del current

    def read(self, window: list[int]) -> tuple[np.ndarray, np.ndarray]:
        places = [(block * self.block, min((block + 1) * self.block, self.count)) for block in window]
        return self.file.read_all("inputs", places), self.file.read_all("targets", places)

    def rows(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self.on_device(self.file.read("inputs", start, stop), self.file.read("targets", start, stop))

    def on_device(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[Tensor, Tensor]:
        lengths = self.lengths_of(inputs)
        longest = None if lengths is None else lengths.max()
        return take(torch.from_numpy(inputs).to(self.device), torch.from_numpy(targets).to(self.device), longest)


def draw_batches(count: int, lengths: np.ndarray | None, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """The places of each batch's rows. Texts of like length come together, so that little of a batch is padding."""
    shuffled = torch.randperm(count, generator=generator)
    if lengths is None:
        return list(shuffled.split(batch_size))
    batches: list[Tensor] = []
    for places in shuffled.split(SORTED_TOGETHER * batch_size):
        batches += places[torch.from_numpy(lengths)[places].argsort(stable=True)].split(batch_size)
    return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]


def share(places: Tensor, processes: Processes) -> Tensor:
    """This process's part of a batch. A last batch of fewer rows than processes gives some of them a row that another has too."""
    return places[processes.rank :: processes.count] if len(places) > processes.rank else places[-1:]


def take(inputs: Tensor, targets: Tensor, longest: int | None) -> tuple[Tensor, Tensor]:
    """A batch; of texts, the `longest` of which is so long, without the padding that all rows share, which no result depends on."""
    if longest is None:
        return inputs, targets
    is_of_characters = targets.ndim == 2 and targets.dtype != torch.uint8  # those are several classes of a text
    return inputs[:, : max(longest, 1)].long(), targets[:, : max(longest, 1)] if is_of_characters else targets
