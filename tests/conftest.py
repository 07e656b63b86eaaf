"""For every test: one thread a process, so that tests beside each other do not fight over the cores, signals as in a terminal, no network
but loopback, and no reports to the makers of what is used.
"""

import ipaddress
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Files whose tests take longest go first, so that no core is idle at the end while another is in the midst of them.
LONGEST = (
    "examples/test_consumers.py",
    "stages/training/test_processes.py",
    "test_end_to_end.py",
    "pipelines/test_rebuild.py",
    "pipelines/test_sweep.py",
)

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # read when numpy and torch are imported, which comes after this
for variable in ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
    os.environ[variable] = "1"  # read when ONNX Runtime and Prefect are imported

# What nohup and a shell's background ignore, the processes that tests start would ignore too.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def refuse_the_network(event: str, arguments: tuple[object, ...]) -> None:
    """Fails the test that connects to another machine, or asks for its address: a fresh clone has no network to count on."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "localhost"  # a Unix socket's address is a path
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not is_loopback(host):
        pytest.fail(f"the test reached for {host}: tests use no network but loopback")


def is_loopback(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith((".localhost", ".invalid"))


sys.addaudithook(refuse_the_network)


# What it would ask of its makers' machines at each start.
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium here (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET, chromium_sandbox=os.geteuid() != 0)
        yield browser
        browser.close()
