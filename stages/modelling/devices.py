"""The device, threads, seed and determinism that `runtime` in params.yaml asks for. Import it before torch computes anything."""

import os

# cuBLAS computes the same sums in the same order only with a fixed workspace, and must be told before CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from stages.common.errors import UserError
from stages.common.params import Runtime


def prepare_torch(runtime: Runtime) -> torch.device:
    """Set torch's seed and threads, and its deterministic kernels; returns the device."""
    torch.manual_seed(runtime.seed)
    torch.set_num_threads(runtime.threads)
    device = choose_device(runtime)
    # On CUDA some layers have no deterministic kernel: there torch warns and goes on. torch.use_deterministic_algorithms
    # would do the same and import all of torch's inductor, for a second and a half.
    torch.set_deterministic_debug_mode("warn" if device.type == "cuda" else "error")
    return device


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error) or "not enough memory" in str(error)


def choose_device(runtime: Runtime) -> torch.device:
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("params.yaml: runtime.device is cuda, and torch finds no CUDA device here: set it to auto or cpu.")
    return torch.device("cuda" if runtime.device != "cpu" and torch.cuda.is_available() else "cpu")
