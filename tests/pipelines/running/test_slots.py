"""pipelines/running/slots.py, with a driver that only lists GPUs, and a real Prefect server."""

import contextlib
import contextvars
import os
import threading

import pytest
from httpx import ConnectError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from pipelines.running.commands import Commands
from pipelines.running.limit import counted, refuse_unless_taken
from pipelines.running.slots import LIMIT, Slot, SlotError, Slots, gpus_of_machine, visible_gpus

TWO = "GPU 0: NVIDIA H200 (UUID: GPU-aaaa-0)\nGPU 1: NVIDIA H200 (UUID: GPU-bbbb-1)\n"
MIG = TWO.replace("\n", "\n  MIG 3g.20gb     Device  0: (UUID: MIG-cccc-0)\n  MIG 3g.20gb     Device  1: (UUID: MIG-cccc-1)\n", 1)
NONE = "No devices were found\n"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """driver(listing) puts a program of the name nvidia-smi on the PATH that lists these GPUs."""
    folder, locks = tmp_path / "driver", tmp_path / "locks"
    folder.mkdir()
    locks.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(locks))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(listing, code=0):
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}END\nexit {code}\n")
        program.chmod(0o755)

    return install


@pytest.mark.parametrize(
    ("listing", "code", "gpus"),
    [(TWO, 0, ["GPU-aaaa-0", "GPU-bbbb-1"]), (MIG, 0, ["MIG-cccc-0", "MIG-cccc-1", "GPU-bbbb-1"]), (NONE, 0, []), (NONE, 9, [])],
)
def test_gpus_are_those_that_the_driver_lists_or_their_parts(driver, listing, code, gpus):
    driver(listing, code)
    assert gpus_of_machine() == gpus


VISIBLE = {
    "1": ["GPU-bbbb-1"],
    "1,0": ["GPU-bbbb-1", "GPU-aaaa-0"],
    "GPU-aaaa-0": ["GPU-aaaa-0"],
    "": [],
    "-1": [],
    "0,-1,1": ["GPU-aaaa-0"],
}


@pytest.mark.parametrize("visible", VISIBLE)
def test_only_gpus_that_cuda_may_see_are_used(driver, monkeypatch, visible):
    driver(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == VISIBLE[visible]


def test_each_gets_a_gpu_of_its_own_until_it_is_given_back(driver):
    driver(TWO)
    one, other = Slots("auto"), Slots("cuda")  # of two flows
    first, second = one.take(1), other.take(1)
    assert [first.environment, second.environment] == [{"CUDA_VISIBLE_DEVICES": "GPU-aaaa-0"}, {"CUDA_VISIBLE_DEVICES": "GPU-bbbb-1"}]
    assert one.take(1) is None
    second.close()
    assert one.take(2) is None  # and what it found free meanwhile it has let go of
    third = one.take(1)
    assert third.devices == ["GPU-bbbb-1"]
    for slot in (first, third):
        slot.close()
    assert other.take(8).environment == {"CUDA_VISIBLE_DEVICES": "GPU-aaaa-0,GPU-bbbb-1"}  # all that there are


@pytest.mark.parametrize(("listing", "device"), [("", "auto"), (TWO, "cpu")])
def test_without_a_gpu_nobody_waits(driver, listing, device):
    driver(listing)
    slots = Slots(device)
    assert [slots.take(1), slots.take(1)] == [Slot(), Slot()]
    assert Slot().environment == {}


def test_a_gpu_is_taken_as_long_as_the_process_that_uses_it_lives(driver, tmp_path):
    driver(TWO)
    slots = Slots("auto")
    slot, began, ended = slots.take(2), threading.Event(), threading.Event()
    with Commands(tmp_path / "logs") as commands:

        def run():
            commands.run("stage", "echo on; trap '' TERM; read line < go", tmp_path, {}, lambda _: began.set(), slot.files)
            ended.set()

        os.mkfifo(tmp_path / "go")
        worker = threading.Thread(target=run)
        worker.start()
        assert began.wait(30)
        slot.close()  # as when the flow dies
        assert slots.take(1) is None
        (tmp_path / "go").write_text("\n")
        assert ended.wait(30)
        worker.join()
    assert slots.take(2) is not None


def test_locks_in_a_folder_of_somebody_else_are_refused(driver, tmp_path):
    driver(TWO)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "locks" / f"reprise-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SlotError, match="belongs to somebody else: delete it, or set TMPDIR"):
        Slots("auto").take(1)


@pytest.fixture
def limits(server):
    """A client of the server, which has no limit before and after the test."""
    with get_client(sync_client=True) as client:

        def remove():
            with contextlib.suppress(ObjectNotFound):
                client.delete_global_concurrency_limit_by_name(LIMIT)

        remove()
        yield client
        remove()


def test_a_server_without_the_limit_is_refused_in_a_sentence(driver, limits):
    driver(TWO)
    slots = Slots("auto", counted)
    refusal = "the Prefect server has no concurrency limit `gpu`: `make serve` creates it, or `prefect gcl create gpu --limit 1`"
    with pytest.raises(SlotError, match=refusal), slots.counted(slots.take(1), lambda: True):
        pass


def test_the_server_counts_too(driver, limits, monkeypatch):
    driver(TWO)
    slots, slot, looks, entered, order = Slots("auto", counted), Slot(["GPU-aaaa-0"]), threading.Semaphore(0), threading.Event(), []
    monkeypatch.setattr("pipelines.running.limit.time.sleep", lambda _: looks.release())

    def second():
        with slots.counted(slot, lambda: True):
            order.append("second")
            entered.set()

    worker = threading.Thread(target=contextvars.copy_context().run, args=(second,))  # where the server is, is said in the context
    limits.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=1))
    with slots.counted(slot, lambda: True):
        worker.start()
        assert looks.acquire(timeout=30) and looks.acquire(timeout=30) and not entered.is_set()
        with slots.counted(slot, lambda: False):  # nobody wants it any more: as when the flow is being stopped
            order.append("first")
    worker.join(60)
    assert order == ["first", "second"]
    assert limits.read_global_concurrency_limit_by_name(LIMIT).active_slots == 0


def test_a_server_that_is_gone_is_refused_in_a_sentence():
    error = ConcurrencySlotAcquisitionError()
    error.__cause__ = ConnectError("Connection refused")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(SlotError, match=r"the Prefect server at http://127.0.0.1:9/api gives no slot: Connection refused"),
    ):
        refuse_unless_taken(error)
