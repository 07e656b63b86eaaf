"""One training in two processes, under a real torchrun: the same figures, the same bytes again, and an end whatever ends one of them."""

import contextlib
import csv
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stages.modelling.model import load_checkpoint
from stages.train import train
from stages.training.processes import LAUNCHER, MEETING, Processes
from tests.stages.shell.test_resume import TWO_CONVOLUTIONS, start, wait_for_a_state
from tests.toy import ROOT, Project

CHECKPOINT, CURVE = "checkpoint.safetensors", "plots/learning_curve.csv"
LONG = {"epochs": 3000, "ema": 0.9, "augment": [{"name": "RandomHorizontalFlip"}], "schedule": {"name": "OneCycleLR", "interval": "step"}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name, num_processes=2, **changes):
        own = Project(tmp_path, name, **changes)
        own.params["runtime"]["num_processes"] = num_processes
        own.write()
        return own

    return make


def trained(own):
    process = start(own)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.count("own: best epoch") == 1
    return own.contents()


def losses(contents):
    return [float(row["loss"]) for row in csv.DictReader(io.StringIO(contents[CURVE].decode()))]


def children(process):
    """The two trainings that torchrun has started, by rank."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
            environment = dict(part.partition("=")[::2] for part in Path(f"/proc/{pid}/environ").read_text().split("\0"))
            if "RANK" in environment:
                found[int(environment["RANK"])] = int(pid)
    return found


def wait_for_the_end_of(pids, seconds=10):
    deadline = time.monotonic() + seconds
    while alive := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, f"{alive} are still there"
        time.sleep(0.05)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(project):
    """Without anything random but the order the two differ by rounding alone; 24 rows in batches of 7 leave the last batch uneven."""
    own = project("words", batch_size=7, clip_norm=1.0, ema=0.9)
    two = trained(own)
    assert trained(forgotten(own)) == two, "the same bytes again"
    own.params["runtime"]["num_processes"] = 1
    forgotten(own).write()
    train("own")
    assert losses(two) == pytest.approx(losses(own.contents()), rel=0.02)
    assert load_checkpoint(own.folder / CHECKPOINT)[0].meta == own.data.meta


def forgotten(own):
    own.forget()
    return own


@pytest.mark.slow
@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_lbfgs_asks_all_processes_for_the_loss_equally_often(line_search, project):
    own = project("words", optimizer={"name": "LBFGS", "line_search_fn": line_search}, lr=0.03, epochs=5)
    assert len(losses(trained(own))) == 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numbers", "patients", "shapes", "spots", "codes"])
def test_every_kind_of_task_is_trained_in_two_processes(name, project):
    own = project(name)
    two = trained(own)
    own.params["runtime"]["num_processes"] = 1
    forgotten(own).write()
    train("own")
    assert losses(two) == pytest.approx(losses(own.contents()), rel=0.02)


def test_a_batch_of_one_is_trained_by_one_process(project, monkeypatch):
    own = project("codes", batch_size=1, epochs=1)
    monkeypatch.setattr("stages.train.launch", lambda *_: pytest.fail("other processes are started"))
    train("own")
    assert "checkpoint.safetensors" in {path.name for path in own.folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_a_signal_saves_the_run_of_all_processes_and_the_next_goes_on_to_the_same_bytes(count, project):
    """Of three the order of a sum shows in its last bits."""
    own = project("shapes", num_processes=count, architecture=TWO_CONVOLUTIONS, **LONG | {"epochs": 150})
    expected = trained(own)
    for path in expected:
        (own.folder / path).unlink()
    own.forget()
    process = start(own)
    wait_for_a_state(own, process)
    workers, asked = children(process), time.monotonic()
    assert set(workers) == set(range(count))
    process.terminate()
    _, errors = process.communicate()
    assert time.monotonic() - asked < 10 and process.returncode == 128 + signal.SIGTERM, errors
    assert "torch/distributed" not in errors and "death signal" not in errors
    wait_for_the_end_of(workers.values())
    assert own.contents() == {}
    assert trained(own) == expected


def addresses_that_listen(pid):
    """Hexadecimal addresses of the process's listening TCP sockets, as /proc gives them; 0100007F is 127.0.0.1."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(str(link.readlink()))
        except FileNotFoundError:
            continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                yield fields[1]


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_dead_process_ends_the_training_and_not_in_a_hang_and_nothing_listened_beyond_loopback(rank, project):
    own = project("shapes", **LONG)
    process = start(own)
    wait_for_a_state(own, process)
    workers, asked = children(process), time.monotonic()
    listening = [address for pid in (process.pid, *workers.values()) for address in addresses_that_listen(pid)]
    assert listening and all(address.startswith(("0100007F:", "00000000000000000000000001000000:")) for address in listening), listening
    os.kill(workers[rank], signal.SIGKILL)
    _, errors = process.communicate()
    assert time.monotonic() - asked < 30 and process.returncode == 1
    said = errors.splitlines()[-1]
    assert (
        said.startswith(f"error: Process {rank} of 2 was killed by SIGKILL, ") and "the next run resumes from the last saved state" in said
    )
    assert "Traceback" not in errors and "torch/distributed" not in errors
    wait_for_the_end_of(workers.values())
    assert own.contents() == {}


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [True, False])
def test_a_killed_launcher_leaves_no_process_behind(at_once, project):
    own = project("shapes", **LONG)
    process = start(own)
    if not at_once:
        wait_for_a_state(own, process)
    while not (workers := children(process)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    wait_for_the_end_of(workers.values(), seconds=30)
    assert own.contents() == {}


@pytest.mark.slow
def test_a_failure_in_the_second_process_is_shown(project):
    """The second process alone cannot save what it says: its output comes from torchrun's file."""
    own = project("shapes", **LONG)
    (own.root / "sitecustomize.py").write_text(
        "import os\nif os.environ.get('RANK') == '1':\n    raise SystemExit('the second has failed')\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{own.root}"}
    command = [sys.executable, "-m", "stages.train", "own"]
    finished = subprocess.run(command, cwd=own.root, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "the second has failed" in finished.stderr
    assert finished.stderr.splitlines()[-1].startswith("error: Process 1 of 2 ended with exit code 1, for the reason above")


@pytest.mark.slow
def test_a_mistake_in_params_is_one_sentence_before_the_failed_process_is_named(project):
    own = project("shapes", lr=50.0, optimizer={"name": "SGD"}, epochs=40, loss={"name": "CrossEntropy", "wieght": [1, 1, 1]})
    process = start(own)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors.count("error: params.yaml: the arguments of models.own.train.loss") == 1
    assert errors.count("error: Process ") == 1 and len(errors.splitlines()) == 2


def test_a_signal_to_any_process_stops_all(project):
    own = project("shapes", **LONG)
    process = start(own)
    wait_for_a_state(own, process)
    workers = children(process)
    os.kill(workers[1], signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert "error: Stopped by SIGTERM at epoch " in errors
    assert "torch/distributed" not in errors and "death signal" not in errors
    wait_for_the_end_of(workers.values())
    assert (own.root / "logs/resume/own/last").exists() and own.contents() == {}


JOINED = """
import pathlib, torch
from stages.training.processes import join

def of_gloo():
    names = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
    return sum("gloo" in name for name in names)

with join(torch.device("cpu")) as processes:
    assert processes.first_says(7) == 7
    print(of_gloo() > 0)
print(of_gloo())
"""


@pytest.mark.slow
def test_no_thread_of_gloo_outlives_the_training(tmp_path):
    """One that still holds what was last sent while the interpreter ends aborts the process, if seldom."""
    shared = {MEETING: str(tmp_path / "meeting"), LAUNCHER: str(os.getpid()), "WORLD_SIZE": "2"}
    environments = [os.environ | shared | {"GLOO_SOCKET_IFNAME": "lo", "RANK": str(rank)} for rank in range(2)]
    command = [sys.executable, "-c", JOINED]
    pair = [subprocess.Popen(command, cwd=ROOT, env=own, stdout=subprocess.PIPE, text=True) for own in environments]
    assert [process.communicate()[0].split() for process in pair] == [["True", "0"]] * 2


def test_an_uneven_batch_weighs_by_its_rows():
    """Three rows' mean gradient is 1 and one row's 5: the whole batch's is 2."""

    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)

    def all_reduce(row):  # what process 1 gives is known
        row += torch.tensor([5.0, 5.0, 9.0, 1.0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.distributed, "all_reduce", all_reduce)
        loss = Processes(0, 2).average([weight], torch.tensor(1.0), 3)
    assert weight.grad.tolist() == [2.0, 2.0] and loss == 3.0
