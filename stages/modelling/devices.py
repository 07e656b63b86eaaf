"""The device, threads, seed and determinism that `runtime` in params.yaml asks for. Import it before torch computes anything."""

import ctypes
import os

# cuBLAS computes the same sums in the same order only with a fixed workspace, and must be told before CUDA starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from stages.common.params import Runtime
from stages.shell.errors import UserError


def prepare_torch(runtime: Runtime, rank: int = 0) -> torch.device:
    """Set torch's seed and threads, and its deterministic kernels; returns the device of the process number `rank` of a training."""
    torch.manual_seed(runtime.seed)
    torch.set_num_threads(runtime.threads)
    device = choose_device(runtime, rank)
    if device.type == "cpu":
        keep_freed_memory()
    # On CUDA some layers have no deterministic kernel: there torch only warns. torch.use_deterministic_algorithms
    # would do the same and import all of torch's inductor, for a second and a half.
    torch.set_deterministic_debug_mode("warn" if device.type == "cuda" else "error")
    # It would also fill each new tensor with NaN before it is written, for a sixth of a small network's time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    return device


def keep_freed_memory() -> None:
    """Tells glibc to use freed memory again, where it would give large pieces back to the system at once and ask for them anew.

    The system fills each new page with zeros, at every step of a training for every tensor of it: a third of a small network's time.
    """
    mmap_max, trim_threshold, never, allocator = -4, -1, -1, ctypes.CDLL(None)  # malloc.h
    if hasattr(allocator, "mallopt"):  # other C libraries have other ways
        allocator.mallopt(mmap_max, 0)
        allocator.mallopt(trim_threshold, never)


def is_out_of_memory(error: BaseException) -> bool:
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in said or "not enough memory" in said


def choose_device(runtime: Runtime, rank: int) -> torch.device:
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise UserError("params.yaml: runtime.device is cuda, but torch finds no CUDA device here: set it to auto or cpu.")
    if runtime.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", rank)  # each process has a GPU of its own
    if device.index >= torch.cuda.device_count():
        found = f"torch finds {torch.cuda.device_count()} CUDA devices"
        raise UserError(f"params.yaml: runtime.num_processes is {runtime.num_processes}, but {found}: lower it.")
    torch.cuda.set_device(device)
    return device
