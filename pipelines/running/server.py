"""The Prefect server that a flow talks to."""

import atexit
import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from pipelines.running.commands import close, start

HOME = Path("logs") / "prefect"
GRACE_S, START_S = 3, 60
own = set[str]()  # the addresses of servers that prefect_server() has started


class ServerError(Exception):
    """The message is one sentence."""


@contextlib.contextmanager
def prefect_server() -> Iterator[None]:
    """Within it flows talk to the server that is configured (PREFECT_API_URL); where none is, to one that is started for them alone.

    That one listens on loopback, keeps its database under logs/prefect, and ends with this process, however that ends.
    """
    if get_current_settings().api.url:
        yield
        return
    port = free_port()
    HOME.mkdir(parents=True, exist_ok=True)
    command = f"exec {sys.executable} -m prefect server start --host 127.0.0.1 --port {port} --no-ui"
    environment = {"PREFECT_HOME": str(HOME.resolve()), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    process = start(command, HOME / "server.log", GRACE_S, Path.cwd(), environment)
    try:
        url = f"http://127.0.0.1:{port}/api"
        wait_until_healthy(url, process)
        own.add(url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        close(process)
        process.wait()


def is_own_server() -> bool:
    """Whether flows talk to a server that was started for them alone, because none is configured."""
    return get_current_settings().api.url in own


def use_prefect_server() -> None:
    """prefect_server() until the interpreter ends: Prefect sends its last logs only then."""
    until_the_end = contextlib.ExitStack()
    until_the_end.enter_context(prefect_server())
    atexit.register(until_the_end.close)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Raises ServerError where the server does not come up."""
    until = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise ServerError(f"the Prefect server did not start: see {HOME / 'server.log'}")
        time.sleep(0.05)
