"""A training in several processes (`runtime.num_processes`) of one machine, under torchrun.

Each process has the whole data and takes its share of every batch; gradients are averaged over all before each step, by gloo on the
CPU and by NCCL on CUDA, so that a step is that of the whole batch. Batch normalisation sees the share alone; its running figures
are those of process 0, which also keeps, saves and shows the run. The processes meet through files and talk over loopback.

torch's DistributedDataParallel is not used: it sums in an order that it changes after its first steps, which a run that was
taken up would repeat, and its bytes would be others than those of a run that went through.
"""

import contextlib
import ctypes
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.shell.errors import SAID, Stopped, UserError, heeded_signals

MEETING = "REPRISE_MEETING"  # in the environment of torchrun's processes: the file through which they find each other
LAUNCHER = "REPRISE_LAUNCHER"  # the process that runs torchrun
PR_SET_PDEATHSIG = 1


class Processes:
    """The processes of one training, seen from one of them: `rank` of `count`. Several are made by join()."""

    def __init__(self, rank: int = 0, count: int = 1):
        self.rank, self.count = rank, count

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def average(self, weights: list[nn.Parameter], loss: Tensor, num_rows: int) -> Tensor:
        """Averages the weights' gradients over the rows of all processes, in place, and the loss, which it returns: the same bits for each.

        `num_rows` is how many this process's gradients and loss are the mean of: a batch need not divide by the processes.
        """
        if self.count == 1:
            return loss
        for weight in weights:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        parts = [*(gradient.flatten() for gradient in gradients), loss.detach().view(1), torch.ones_like(loss).view(1)]
        row = torch.cat([part.to(gradients[0].dtype) for part in parts]).mul_(num_rows)
        self._together(torch.distributed.all_reduce, row)
        row /= row[-1].clone()
        for gradient, part in zip(gradients, row[:-2].split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
        return row[-2]

    def sum(self, values: Tensor) -> Tensor:
        """The sum of every process's values, in place."""
        self._together(torch.distributed.all_reduce, values)
        return values

    def largest(self, *numbers: int) -> list[int]:
        """The largest of what all processes have given, for each number."""
        if self.count == 1:
            return list(numbers)
        values = torch.tensor(numbers)
        self._together(torch.distributed.all_reduce, values, torch.distributed.ReduceOp.MAX)
        return values.tolist()

    def first_says(self, number: int) -> int:
        """The number that process 0 has given. It goes from CPU to CPU, so that no GPU is waited for."""
        said = torch.tensor(number)
        self._together(torch.distributed.broadcast, said, 0)
        return int(said)

    def gather(self, values: Tensor) -> list[Tensor]:
        """Every process's values (on the CPU), by rank."""
        if self.count == 1:
            return [values]
        gathered = [torch.empty_like(values) for _ in range(self.count)]
        self._together(torch.distributed.all_gather, gathered, values)
        return gathered

    def share_buffers(self, network: nn.Module) -> None:
        """Gives every process the running figures of process 0."""
        self.share(network.buffers())

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Gives every process what process 0 has in these, in place."""
        for tensor in tensors:
            self._together(torch.distributed.broadcast, tensor, 0)

    def _together(self, collective: Callable[..., object], *arguments: Any) -> None:
        """What all do at once, if there are several: an error there is that another has died, which launch() says more of."""
        if self.count == 1:
            return
        try:
            collective(*arguments)
        except RuntimeError as error:
            raise UserError(f"Process {self.rank} of {self.count} lost contact with another one.") from error


def is_launched() -> bool:
    """Whether this process is one of those that launch() has started."""
    return MEETING in os.environ


def own_rank() -> int:
    return int(os.environ["RANK"]) if is_launched() else 0


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """In it this process is one of those that launch() has started, which end with launch(), however it ends; or it is alone."""
    if not is_launched():
        yield Processes()
        return
    if sys.platform == "linux":  # elsewhere torchrun alone ends them, unless it is killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[LAUNCHER]):  # it was killed before that
        sys.exit(1)
    rank, count = own_rank(), int(os.environ["WORLD_SIZE"])
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store = torch.distributed.FileStore(os.environ[MEETING], count)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=count)
    try:
        yield Processes(rank, count)
    finally:
        # gloo's threads let go of what was last sent a moment after it has come, and need the interpreter for that: one that has
        # begun to end by then ends them, and they abort the process.
        torch.distributed.destroy_process_group()


def launch(module: str, arguments: list[str], count: int) -> None:
    """Runs `python -m MODULE ARGUMENTS` in `count` processes under torchrun and returns when all have ended well.

    Output of process 0 is shown as it comes, and that of another where it fails first. Raises UserError where a process fails, and
    Stopped where a signal has ended them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    logging.disable(logging.ERROR)  # torchrun's loggers have levels of their own; what goes wrong is said by us
    with tempfile.TemporaryDirectory(prefix="reprise-") as folder:
        # torchrun's own store is a file as well: its TCP store would listen on every address of the machine.
        interface = "lo" if sys.platform == "linux" else "lo0"
        os.environ |= {
            MEETING: f"{folder}/meeting",
            SAID: f"{folder}/said",
            LAUNCHER: str(os.getpid()),
            "GLOO_SOCKET_IFNAME": interface,
            "NCCL_SOCKET_IFNAME": interface,
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "TORCHELASTIC_SIGNALS_TO_HANDLE": ",".join(number.name for number in heeded_signals()),
        }
        options = ["--nnodes=1", f"--nproc-per-node={count}", "--max-restarts=0"]
        options += ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder}/rendezvous", "--rdzv-conf=store_type=file"]
        quiet = ",".join(f"{rank}:3" for rank in range(1, count))
        try:
            torchrun([*options, f"--log-dir={folder}/logs", f"--redirects={quiet}", "--module", module, *arguments])
        except SignalException as stop:
            raise Stopped(stop.sigval, f"in its {count} processes") from stop
        except ChildFailedError as error:
            raise what_ended_them(error.failures, Path(folder), count) from error


def what_ended_them(failures: dict[int, Any], folder: Path, count: int) -> Stopped | UserError:
    """The signal or the failure that came first, from torchrun's ProcessFailures by rank; shows what that process said."""
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    aftermath = (-signal.SIGTERM, 128 + signal.SIGTERM)  # as torchrun stops the others where one fails
    rank = min(codes, key=lambda rank: (codes[rank] in aftermath, codes[rank] > 0, failures[rank].timestamp))
    number = -codes[rank] if codes[rank] < 0 else codes[rank] - 128
    if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # to one of them, which has stopped all
        return Stopped(number, f"in its {count} processes")
    # What a process other than 0 wrote into torchrun's file, but for a mistake that process 0 has found and shown as well.
    shown = (folder / "said").read_text(encoding="utf-8") if (folder / "said").exists() else ""
    for path in sorted((folder / "logs").rglob(f"{rank}/stderr.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        sys.stderr.writelines(f"{line}\n" for line in lines if line != shown)
    how = f"was killed by {signal.Signals(number).name}" if codes[rank] < 0 else f"ended with exit code {codes[rank]}"
    reason = "for the reason above if it could give one"
    return UserError(f"Process {rank} of {count} {how}, {reason}; the next run resumes from the last saved state, if there is one.")
