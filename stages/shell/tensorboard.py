"""TensorBoard's view of a run: curves, a grid of inputs and the network's graph, under logs/tensorboard/<model>/<time>/.

It is for people to look at while training; no stage reads it, and DVC and git ignore the folder.
"""

import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.modelling.model import Model
from stages.shell.errors import reason, tell

LOGS = Path("logs") / "tensorboard"
NUM_SHOWN = 64


def while_it_can(write: Callable[..., None]) -> Callable[..., None]:
    """A method that writes, until that fails; the writer's thread hands an error of its own to one of the next calls."""

    def attempt(board: "TensorBoard", *arguments: Any) -> None:
        if board.is_off:
            return
        try:
            write(board, *arguments)
        except OSError as error:
            board.is_off = True
            what = f"{board.folder} cannot be written ({reason(error)})"
            tell(f"warning: {what}: the training continues, but TensorBoard will not show the rest of it.")

    return attempt


class TensorBoard:
    """Use it in a with statement. What cannot be written (to a full disk) is not shown, and is no reason to end the training."""

    def __init__(self, name: str):
        self.folder, self.is_off = LOGS / name / time.strftime("%Y%m%d-%H%M%S"), False
        self.excepthook = threading.excepthook

    def __enter__(self) -> "TensorBoard":
        threading.excepthook = self.keep_quiet
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        threading.excepthook = self.excepthook

    @while_it_can
    def _open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder))

    @while_it_can
    def _close(self) -> None:
        self.writer.close()

    def keep_quiet(self, failure: threading.ExceptHookArgs) -> None:
        """What stops the writer's thread is told by while_it_can(), so Python need not print it as well."""
        if type(failure.thread).__module__ != "tensorboard.summary.writer.event_file_writer":
            self.excepthook(failure)

    @while_it_can
    def start(self, model: Model, inputs: Tensor) -> None:
        """Shows inputs (the first NUM_SHOWN of train) and the graph."""
        shown = model.input.part.shown(inputs.cpu().numpy(), model.meta.input)
        if isinstance(shown, list):
            self.writer.add_text("inputs", "  \n".join(shown))
        else:
            self.writer.add_images("inputs", shown, dataformats="NHWC")
        # Two blank inputs to trace the network with: pictures of train may be larger than the network takes.
        shape = [size or inputs.shape[axis] for axis, size in enumerate(model.meta.input.shape, start=1)]
        blank = torch.from_numpy(model.input.part.as_batch(np.zeros((2, *shape), model.meta.input.dtype))).to(inputs.device)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every shape that it reads
            example = model.input(blank)
            # Traced here, for add_graph would also check the trace, which takes half a second more.
            self.writer.add_graph(torch.jit.trace(model.network, example, check_trace=False), example)

    @while_it_can
    def epoch(self, number: int, row: dict[str, float | None]) -> None:
        for name, value in row.items():
            if value is not None and name != "epoch":
                split, _, measure = name.partition("_")
                self.writer.add_scalar(f"{measure}/{split}" if split in ("train", "val") else name, value, number)
