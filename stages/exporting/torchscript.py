"""The TorchScript form of a model, byte for byte the same wherever the repository lies.

TorchScript numbers its classes through the life of a process, so the bytes are those of the first model that a process exports.
"""

import io
import warnings
import zipfile

import torch
from torch import Tensor

from stages.modelling.model import Model

EPOCH = (1980, 1, 1, 0, 0, 0)


def to_torchscript(model: Model, example: Tensor) -> bytes:
    """The traced model; its inputs and outputs are those of the ONNX file, by position."""
    with warnings.catch_warnings():
        # The tracer warns that it is deprecated, and of every shape that it reads; parity is what decides.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, (example,), check_trace=False)
        file = io.BytesIO()
        torch.jit.save(traced, file)
    return without_source_paths(file.getvalue())


def without_source_paths(archive: bytes) -> bytes:
    """Rewrites the archive without its debug records, which hold the absolute paths of the Python files that were traced.

    Nor does it keep the serialization id, a hash of all records, those too; readers do without it.
    """
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if not entry.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(zipfile.ZipInfo(entry.filename, EPOCH), old.read(entry))
    return result.getvalue()
