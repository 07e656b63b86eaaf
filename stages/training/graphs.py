"""A step's computations as one CUDA graph: recorded once, and then started whole.

A small network's kernels take less time than Python takes to ask for them one by one. A graph repeats the same kernels on the same
memory, so it is for steps whose shapes stay, and which ask the CPU for nothing on their way.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from stages.modelling.devices import is_out_of_memory
from stages.shell.errors import UserError

# Libraries choose their kernels and take their workspaces in the first passes.
REHEARSALS = 3


# A graph with the memory that it reads and writes: inputs and targets of a batch, the loss, and each weight's gradient.
Recording = tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor, list[Tensor | None]]


class Recorder:
    """Does `work` (from a batch to its loss, gradients and score) by a recording, one for each shape of batch and each `kind` of step.

    `weights` are what gets gradients; `changed` is what `work` changes besides.
    """

    def __init__(self, work: Callable[[Tensor, Tensor], Tensor], weights: list[nn.Parameter], changed: list[Tensor]):
        self.work, self.weights, self.changed = work, weights, changed
        self.recordings: dict[tuple[torch.Size, torch.Size, bool], Recording] = {}
        self.pool: Any = None  # of memory, which all recordings share: no two of them run at once

    def __call__(self, inputs: Tensor, targets: Tensor, kind: bool) -> Tensor:
        alike = inputs.shape, targets.shape, kind
        if alike not in self.recordings:
            self.recordings[alike] = self.record(inputs.clone(), targets.clone())
        graph, own_inputs, own_targets, loss, gradients = self.recordings[alike]
        own_inputs.copy_(inputs)
        own_targets.copy_(targets)
        graph.replay()
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return loss

    def record(self, inputs: Tensor, targets: Tensor) -> Recording:
        """Rehearses without a trace (in `changed` and in torch's generators), and records."""
        before = [tensor.clone() for tensor in self.changed]
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.random.fork_rng([inputs.device]), torch.cuda.stream(beside):
            for _ in range(REHEARSALS):
                self.work(inputs, targets)
        torch.cuda.current_stream().wait_stream(beside)
        for tensor, kept in zip(self.changed, before, strict=True):
            tensor.copy_(kept)
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
        return graph, inputs, targets, loss.detach(), [weight.grad for weight in self.weights]
