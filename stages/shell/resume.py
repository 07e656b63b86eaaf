"""Keeps the state of a run on the disk while it trains, so that a run that dies resumes where it was, to the very same weights.

A state is a file of tensors and JSON (safetensors, no pickle) that ends with its SHA-256. It is written beside and renamed. It names
what its run was made of (params, data, code, libraries, device): a state of anything else, or a damaged one, is set aside with a
warning. The states lie under logs/resume/, outside DVC's outputs, which DVC may delete before it runs a stage.
"""

import contextlib
import hashlib
import itertools
import json
import os
import platform
import re
import signal
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from stages.common.files import alone_with, write_files
from stages.modelling.devices import is_out_of_memory
from stages.shell.errors import Stopped, UserError, heeded_signals, reason, tell
from stages.training.processes import Processes

# As a safetensors file names them.
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
STATES = Path("logs") / "resume"
CODE = Path(__file__).parents[1]

# Variables by which libraries are told to choose other kernels.
SWITCHES = ("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_", "DNNL_", "CUBLAS_", "ATEN_CPU_CAPABILITY")

# Those that compute.
LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")

# Saving takes at most this share of the time: epochs that are too short for it are not all saved.
LARGEST_SHARE = 0.05

# What reading a file that is none of ours can raise.
UNREADABLE = (OSError, SafetensorError, LookupError, TypeError, ValueError, RecursionError)


class Run(Protocol):
    """What can be saved and taken up; `place` is where it is, for people."""

    @property
    def is_over(self) -> bool: ...

    @property
    def place(self) -> str: ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...


class StartOver(Exception):
    """A state looked right and did not fit; it has been set aside, and what it was loaded into must be made anew."""


class Keeper:
    """Saves a run and takes it up again. Use it in a with statement: in it a signal that asks the process to end saves the run first.

    `folder` is the run's own, under STATES; no other process may use it meanwhile, which a UserError says. `made_of` has a
    short hash of everything that the run's result depends on, by name. Of several processes, only the first needs it.
    """

    def __init__(self, folder: Path, made_of: dict[str, str], save_minutes: float, processes: Processes | None = None, name: str = ""):
        self.name = name or folder.name  # for people
        self.folder, self.made_of, self.every, self.processes = folder, made_of, 60 * save_minutes, processes or Processes()
        self.last = folder / "last"
        self.was_over, self.asked, self.handlers = False, 0, dict[int, Any]()
        self.lock, self.said = contextlib.ExitStack(), ""
        self.saved_at, self.cost = time.monotonic(), 0.0

    def __enter__(self) -> "Keeper":
        refusal = f"Another process is training {self.name} here: wait until it has ended, or stop it, and run the stage again."
        if self.processes.is_first:
            with contextlib.suppress(OSError):  # then nothing can be saved either, and saving will say so
                self.folder.mkdir(parents=True, exist_ok=True)
                self.lock.enter_context(alone_with(self.folder, refusal))
        self.handlers = {int(number): signal.signal(number, self._ask) for number in heeded_signals()}
        return self

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        """The run ends itself at its next pause; asked twice, as the signal would have ended it."""
        if self.asked and self.processes.count == 1:  # torchrun may pass on more than one
            signal.signal(number, self.handlers[number])
            signal.raise_signal(number)
        self.asked = number

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.lock.close()
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        if self.asked and error is None:  # too late for another pause: it ends as it would have without us
            signal.raise_signal(self.asked)

    def take_up(self, run: Run) -> None:
        """Loads the last state if it is whole and of this very run. Of several processes the first has read it, the others read it here."""
        state = self._read() if self.processes.is_first else None
        if not self.processes.first_says(state is not None):
            return
        try:
            run.load(from_bytes(self.last.read_bytes())["state"] if state is None else state)
        except (*UNREADABLE, RuntimeError, AttributeError) as error:
            if is_out_of_memory(error):
                raise
            if self.processes.is_first:
                self._set_aside(f"does not fit its run ({type(error).__name__}: {error})", "damaged")
            raise StartOver from error
        self.was_over = run.is_over
        if self.processes.is_first:
            tell(f"{self.name}: resuming {run.place} ({self.last})")

    def pause(self, run: Run) -> None:
        """To be called wherever the run could be left: saves it if it is time, and ends it if a signal has asked for it."""
        asked, is_due = self.processes.largest(self.asked, int(time.monotonic() - self.saved_at >= self.every))
        is_saved = self._save(run) if asked or is_due else False
        if asked:
            raise Stopped(asked, f"{run.place}: the next run {'resumes there' if is_saved else self._outlook()}")

    def end_epoch(self, run: Run) -> None:
        """To be called between epochs, and after the last."""
        is_worth_it = self.cost <= LARGEST_SHARE * (time.monotonic() - self.saved_at)
        if self.processes.first_says(run.is_over or is_worth_it):
            self._save(run)

    def forget(self) -> None:
        self.last.unlink(missing_ok=True)

    def _save(self, run: Run) -> bool:
        """Whether it could be: a state that cannot be saved is no reason to end the run, which may well end before anything kills it."""
        started, state = time.monotonic(), run.state()
        try:
            if self.processes.is_first:
                write_files({self.last: as_pieces({"made_of": self.made_of, "is_over": run.is_over, "state": state})})
            return True
        except (OSError, UserError, MemoryError) as error:
            what = f"the state of {self.name} cannot be saved ({reason(error)})"
            problem = f"warning: {what}: a run that is stopped now {self._outlook()}."
            if problem != self.said:  # it may be the same at every epoch
                tell(problem)
            self.said = problem
            return False
        finally:
            self.saved_at = time.monotonic()
            self.cost = self.saved_at - started

    def _outlook(self) -> str:
        """What becomes of a run that ends without having been saved now."""
        return "resumes from the last saved state" if self.last.exists() else "starts from scratch"

    def _read(self) -> dict[str, Any] | None:
        try:
            if self.last.exists() and not self.last.is_file():  # a named pipe would be waited for
                raise ValueError("it is not a file")
            saved = from_bytes(self.last.read_bytes())
            made_of, is_over, state = dict(saved["made_of"]), bool(saved["is_over"]), dict(saved["state"])
        except (FileNotFoundError, NotADirectoryError):  # the second where the folder could not be made
            return None
        except UNREADABLE as error:
            self._set_aside(f"is damaged ({reason(error)})", "damaged")
            return None
        others = [name for name in self.made_of.keys() | made_of.keys() if self.made_of.get(name) != made_of.get(name)]
        if others and not is_over:  # the state of a run that came to its end gives way without a word
            self._set_aside(f"is of another run (different {', '.join(sorted(map(str, others)))})", "other")
        return None if others else state

    def _set_aside(self, why: str, suffix: str) -> None:
        aside = self.last.with_name(f"last.{suffix}")
        self.last.replace(aside)
        tell(f"warning: {self.last} {' '.join(why.split())}: renamed to {aside.name} and not used.")


def ingredients(params: dict[str, Any], data: Iterable[Path], parts: Iterable[str], device: torch.device) -> dict[str, str]:
    """A short hash of everything that decides a run's result, by name, in the words of a warning about it.

    `parts` are those that the run takes from the shelves, such as architectures/cnn. The files of the shell decide nothing.
    """
    code = [CODE / "train.py", *(CODE / f"{part}.py" for part in parts)]
    code += [path for folder in ("training", "modelling", "common") for path in sorted((CODE / folder).glob("*.py"))]
    processor = processor_name() if device.type == "cpu" else torch.cuda.get_device_name(device)
    switches = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(SWITCHES)]
    return {
        "params": short_hash(json.dumps(params, sort_keys=True, default=str).encode()),
        "data": short_hash(*(file_hash(path) for path in data)),
        "code": short_hash(*(file_hash(path) for path in code)),
        "libraries": ", ".join([f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in LIBRARIES)]),
        "device": ", ".join([device.type, processor, platform.machine(), *switches]),
    }


def processor_name() -> str:
    """Its model and instruction set, by which the libraries choose their kernels."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", info.read_text(encoding="utf-8"), flags=re.MULTILINE) if info.exists() else None
    return f"{model[1].strip() if model else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def file_hash(path: Path) -> bytes:
    if not path.exists():  # a dataset without val
        return b""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def short_hash(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]


def as_pieces(tree: Any) -> Iterator[bytes | memoryview]:
    """A tree of dicts, lists, tuples, plain values and tensors as a safetensors file, piece by piece, with a SHA-256 at the end.

    No more than one tensor is copied at a time.
    """
    tensors: list[Tensor] = []
    description = json.dumps(pack(tree, tensors)).encode()
    header, end = dict[str, Any](), 0
    for name, dtype, shape, size in [
        *((str(place), DTYPES[tensor.dtype], list(tensor.shape), tensor.nbytes) for place, tensor in enumerate(tensors)),
        ("tree", DTYPES[torch.uint8], [len(description)], len(description)),
    ]:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text, digest = json.dumps(header).encode(), hashlib.sha256()
    contents: Iterator[Any] = (tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data for tensor in tensors)
    for piece in itertools.chain([len(text).to_bytes(8, "little"), text], contents, [description]):
        digest.update(piece)
        yield piece
    yield digest.digest()


def from_bytes(content: bytes) -> Any:
    """The tree that as_pieces() was given. Raises ValueError, LookupError, TypeError or SafetensorError for anything else."""
    if hashlib.sha256(memoryview(content)[:-32]).digest() != content[-32:]:
        raise ValueError("its SHA-256 is not that of its content")
    tensors = load(content[:-32])
    return unpack(json.loads(tensors.pop("tree").numpy().tobytes()), tensors)


def pack(value: Any, tensors: list[Tensor]) -> Any:
    """`value` as JSON, its tensors moved to `tensors`; JSON has neither tuples nor keys that are numbers."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, dict):
        return {"dict": [[key, pack(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [pack(part, tensors) for part in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be saved")


def unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content].clone()  # in memory of its own, which torch aligns as the kernels like it
    if kind == "dict":
        return {key: unpack(part, tensors) for key, part in content}
    return {"tuple": tuple, "list": list}[kind](unpack(part, tensors) for part in content)
