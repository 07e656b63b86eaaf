"""The exported forms as functions from a batch to its outputs, each from the bytes of its file: by these they are proved and measured."""

import io
import warnings

import numpy as np
import torch

from stages.exporting.onnx_runtime import InferenceSession, SessionOptions
from stages.exporting.parity import Run
from stages.exporting.signature import Signature


def onnx_runner(content: bytes, signature: Signature, threads: int) -> Run:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run([output.name for output in signature.outputs], {signature.input.name: batch})


def torchscript_runner(content: bytes) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated and says so at every call
        script = torch.jit.load(io.BytesIO(content), map_location="cpu")

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in script(torch.from_numpy(batch))]

    return run


def torch_export_runner(content: bytes, length: int | None) -> Run:
    """A model.pt2. Texts are padded to the one `length` that it takes, and their outputs cut back to what they had.

    torch.export.load() unpickles what it does not know: give it files of your own alone.
    """
    program = torch.export.load(io.BytesIO(content)).module()

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        if length is None:
            return [output.numpy() for output in program(torch.from_numpy(batch))]
        given = batch.shape[1]
        probabilities, label = (output.numpy() for output in program(torch.from_numpy(padded(batch, length))))
        return [probabilities, label] if label.ndim == 1 else [probabilities[:, :given], label[:, :given]]

    return run


def padded(texts: np.ndarray, length: int) -> np.ndarray:
    """int64 [batch, length], padded with 0 at the end."""
    return np.pad(texts, ((0, 0), (0, length - texts.shape[1])))
