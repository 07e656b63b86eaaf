"""TensorBoard's view of a run: curves, a grid of inputs and the network's graph, under logs/tensorboard/<model>/<time>/.

It is for people to look at while training; no stage reads it, and DVC and git ignore the folder.
"""

import threading
import time
import warnings
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from stages.modelling.model import Model

LOGS = Path("logs") / "tensorboard"
NUM_SHOWN = 64


class TensorBoard:
    """Use it in a with statement; what cannot be written (a full disk) is raised by the next call."""

    def __init__(self, name: str):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(LOGS / name / time.strftime("%Y%m%d-%H%M%S")))
        self.excepthook = threading.excepthook

    def __enter__(self) -> "TensorBoard":
        threading.excepthook = self.keep_quiet
        return self

    def keep_quiet(self, failure: threading.ExceptHookArgs) -> None:
        """The writer's thread hands its error to the next call, so Python need not print it as well."""
        if type(failure.thread).__module__ != "tensorboard.summary.writer.event_file_writer":
            self.excepthook(failure)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.writer.close()
        finally:
            threading.excepthook = self.excepthook

    def start(self, model: Model, inputs: Tensor) -> None:
        """Shows inputs (the first NUM_SHOWN of train) and the graph."""
        if model.meta.input.kind == "image":
            self.writer.add_images("inputs", inputs, dataformats="NHWC")
        elif model.meta.input.kind == "characters":
            lines = ["".join(chr(code) for code in row if code) for row in inputs.tolist()]
            self.writer.add_text("inputs", "  \n".join(lines))
        else:
            self.writer.add_text("inputs", "  \n".join(str(row) for row in inputs.tolist()))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that it reads
            example = model.input(example_of(model, inputs))
            # Traced here, for add_graph would also check the trace, which takes half a second more.
            self.writer.add_graph(torch.jit.trace(model.network, example, check_trace=False), example)

    def epoch(self, number: int, row: dict[str, float | None]) -> None:
        for name, value in row.items():
            if value is not None and name != "epoch":
                split, _, measure = name.rpartition("_")
                self.writer.add_scalar(f"{measure}/{split}" if split else name, value, number)


def example_of(model: Model, inputs: Tensor) -> Tensor:
    """Two inputs to trace the network with. Pictures of train may be larger than the network takes: blank ones of its size will do."""
    if model.meta.input.kind == "image":
        return torch.zeros(2, *(size or 1 for size in model.meta.input.shape), dtype=inputs.dtype, device=inputs.device)
    return inputs[:2].long() if inputs.dtype == torch.int16 else inputs[:2]
