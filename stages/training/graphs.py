"""A step's computations as one CUDA graph: recorded once, and then started whole.

A small network's kernels take less time than Python takes to ask for them one by one. A graph repeats the same kernels on the same
memory, so it is for steps whose shapes stay, and which ask the CPU for nothing on their way.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stages.modelling.devices import is_out_of_memory
from stages.shell.errors import UserError

# Libraries choose their kernels and take their workspaces in the first passes.
REHEARSALS = 3

Work = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Recording:
    """A graph with the memory that it reads and writes: a batch, the loss, and each weight's gradient."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    targets: Tensor
    loss: Tensor
    gradients: list[Tensor | None]


class Recorder:
    """Does `work` (from a batch to its loss, gradients and score) by a recording, one for each shape of batch and each `kind` of step.

    `weights` are what gets gradients; `score` and the network's buffers are what `work` changes besides.
    """

    def __init__(self, work: Work, network: nn.Module, weights: list[nn.Parameter], score: list[Tensor]):
        self.work, self.weights, self.changed = work, weights, [*network.buffers(), *score]
        self.recordings: dict[tuple[torch.Size, torch.Size, bool], Recording] = {}
        self.pool: Any = None  # of memory, which all recordings share: no two of them run at once

    def __call__(self, inputs: Tensor, targets: Tensor, kind: bool) -> Tensor:
        alike = inputs.shape, targets.shape, kind
        if alike not in self.recordings:
            self.recordings[alike] = self.record(inputs.clone(), targets.clone())
        recording = self.recordings[alike]
        recording.inputs.copy_(inputs)
        recording.targets.copy_(targets)
        recording.graph.replay()
        for weight, gradient in zip(self.weights, recording.gradients, strict=True):
            weight.grad = gradient
        return recording.loss

    def record(self, inputs: Tensor, targets: Tensor) -> Recording:
        with leaving_no_trace(self.changed, inputs.device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(REHEARSALS):
                    self.work(inputs, targets)
            torch.cuda.current_stream().wait_stream(beside)
        for weight in self.weights:
            weight.grad = None  # so that the recorded pass makes its own
        graph, self.pool = torch.cuda.CUDAGraph(), self.pool or torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self.pool):
                loss = self.work(inputs, targets)
        except (RuntimeError, UserError) as error:
            first = error.__context__ or error  # which makes the recording's own end fail as well
            if is_out_of_memory(first):
                raise
            what = f"The network's step cannot be captured as a CUDA graph ({str(first).splitlines()[0]})"
            raise UserError(f"{what}: write CUDA_GRAPHS = False into its file in stages/architectures.") from error
        return Recording(graph, inputs, targets, loss.detach(), [weight.grad for weight in self.weights])


@contextlib.contextmanager
def leaving_no_trace(changed: list[Tensor], device: torch.device) -> Iterator[None]:
    """Afterwards `changed` and torch's generators are as they were."""
    kept, random, on_device = [tensor.clone() for tensor in changed], torch.get_rng_state(), torch.cuda.get_rng_state(device)
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip(changed, kept, strict=True):
                tensor.copy_(before)
        torch.set_rng_state(random)
        torch.cuda.set_rng_state(on_device, device)
