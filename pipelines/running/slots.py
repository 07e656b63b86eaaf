"""How much runs at once: on the cores, and on the GPUs, each for one stage at a time, whichever flow runs it.

Who has a GPU holds a lock on a file of its name. The stage's process holds it as well, so it lasts as long as that does, even where the
flow is killed. Where a Prefect server is configured, its global concurrency limit `gpu` counts too: the operator may lower it while
flows run, and it may span machines.
"""

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.dvc.errors import GraphError
from pipelines.dvc.pipeline import Pipeline, Stage
from pipelines.running.locks import locked

LIMIT = "gpu"  # of the server; pipelines/deployments.py creates it
LOOK_S = 1  # between two looks at a limit that is reached
VARIABLE = "CUDA_VISIBLE_DEVICES"


# So many devices are counted as taken within it; it waits until they may be, while they are wanted.
Count = Callable[[int, Callable[[], bool]], contextlib.AbstractContextManager[None]]


class SlotError(Exception):
    """The message is one sentence."""


@dataclass
class Slot:
    """Some devices. `files` are open and locked until close(), and as long as a process has them that inherited them."""

    devices: list[str] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see these devices alone."""
        return {VARIABLE: ",".join(self.devices)} if self.devices else {}

    def close(self) -> None:
        while self.files:
            os.close(self.files.pop())


def num_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_jobs(pipeline: Pipeline) -> int:
    """As many stages as there are cores for what each may use."""
    threads, processes = (pipeline.setting(f"runtime.{key}", 1) for key in ("threads", "num_processes"))
    return max(1, num_cores() // max(1, threads * processes))


def num_gpus(stage: Stage) -> int:
    """Of which the stage makes use, by its `meta` in dvc.yaml."""
    wanted = stage.meta.get("gpus", 0)
    if not isinstance(wanted, int) or wanted < 0:
        raise GraphError(f"dvc.yaml: meta.gpus of {stage.name} is {wanted!r}; expected a number of GPUs, such as 1.")
    return wanted


class Slots:
    """The devices for stages that compute on `device` (runtime.device); with `count`, a server counts them (pipelines/running/limit.py)."""

    def __init__(self, device: str, count: Count | None = None):
        self.devices, self.count = [] if device == "cpu" else visible_gpus(), count

    def take(self, number: int) -> Slot | None:
        """So many devices, or all there are; None while others have them."""
        wanted, slot = min(number, len(self.devices)), Slot()
        for device in self.devices:
            if len(slot.devices) < wanted and (file := locked(file_of(device))) is not None:
                slot.devices.append(device)
                slot.files.append(file)
        if len(slot.devices) == wanted:
            return slot
        slot.close()
        return None

    @classmethod
    def of(cls, pipeline: Pipeline, count: Count | None = None) -> "Slots":
        return cls(pipeline.setting("runtime.device", "auto"), count)

    @contextlib.contextmanager
    def held(self, number: int, is_wanted: Callable[[], bool]) -> Iterator[Slot]:
        """Within it so many devices are taken, as soon as they are free, or none if they are not wanted any more. Raises SlotError."""
        while (slot := self.take(number)) is None and is_wanted():
            time.sleep(LOOK_S)
        slot = slot or Slot()
        try:
            with self.counted(slot, is_wanted):
                yield slot
        finally:
            slot.close()

    @contextlib.contextmanager
    def counted(self, slot: Slot, is_wanted: Callable[[], bool]) -> Iterator[None]:
        """Within it the server counts the devices as taken; waits until it may, or they are not wanted any more.

        Raises SlotError where the server has no such limit. Where the server goes away meanwhile, the stage continues: its GPU is locked on
        this machine.
        """
        with self.count(len(slot.devices), is_wanted) if self.count and slot.devices else contextlib.nullcontext():
            yield


def file_of(device: str) -> Path:
    """In a folder for all checkouts of this user on this machine, and nobody else's."""
    folder = Path(tempfile.gettempdir()) / f"reprise-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise SlotError(f"{folder} belongs to somebody else: delete it, or set TMPDIR to a folder of yours.")
    return folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock"


def visible_gpus() -> list[str]:
    """The devices that a process started here would see, by their UUIDs where the driver tells them; no torch is asked."""
    found = gpus_of_machine()
    if VARIABLE not in os.environ:
        return found
    named = [name.strip() for name in os.environ[VARIABLE].split(",")]
    visible: list[str] = []
    for name in named:
        if not name or name == "-1":  # CUDA sees none from there on
            break
        visible.append(found[int(name)] if name.isdigit() and int(name) < len(found) else name)
    return visible


def gpus_of_machine() -> list[str]:
    """UUIDs of the GPUs; of one that is cut into MIG devices, theirs."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # no driver, no GPU
        return []
    whole = re.findall(r"^GPU.*?\(UUID: ([\w-]+)\)((?:\n\s+.*)*)", listed, re.MULTILINE)
    return [uuid for gpu, parts in whole for uuid in (re.findall(r"\(UUID: ([\w/-]+)\)", parts) or [gpu])]
