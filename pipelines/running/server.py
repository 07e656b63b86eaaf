"""The Prefect server that flows talk to."""

import atexit
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from httpx import HTTPError
from prefect import Flow
from prefect.exceptions import TerminationSignal
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, PREFECT_UI_URL, get_current_settings, temporary_settings
from prefect.states import State

from pipelines.running.commands import close, start

HOME = Path("logs") / "prefect"
SERVED = HOME / "served"  # the address of the server that `make serve` has started
GRACE_S, START_S = 3, 120
STOPPED = "error: stopped: what was done until now is kept; the same command goes on from there."
NUM_RETRIES = 2  # of a request to a server that does not answer: about ten seconds
SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Slots that are held when the server ends are known to the next one.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
own = set[str]()  # the addresses of servers that were started for one flow alone


def without_empty_traceback(record: logging.LogRecord) -> bool:
    """For a stage that has failed Prefect logs an exception's traceback, where there was none: "NoneType: None"."""
    if record.exc_info == (None, None, None):
        record.exc_info = None
    return True


logging.getLogger("prefect.task_runs").addFilter(without_empty_traceback)


class ServerError(Exception):
    """The message is one sentence."""


@contextlib.contextmanager
def prefect_server() -> Iterator[None]:
    """Within it flows talk to the server that is configured (PREFECT_API_URL), or else to that of `make serve`.

    Where there is none, to one that is started for them alone and ends with this process, however that ends.
    """
    if get_current_settings().api.url:
        yield
    elif url := served():
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    else:
        # Without an address of the UI, which it has not, Prefect shows no links to there.
        with server_at(free_port(), "--no-ui") as url, temporary_settings({PREFECT_API_URL: url, PREFECT_UI_URL: ""}):
            own.add(url)
            yield


@contextlib.contextmanager
def server_at(port: int, *options: str) -> Iterator[str]:
    """A server on loopback with its database under logs/prefect, unless the environment has other settings for it; its address.

    Raises ServerError where it does not start.
    """
    if is_taken(port):
        raise ServerError(f"port {port} is taken: name a free one in PREFECT_SERVER_API_PORT, or the server there in PREFECT_API_URL.")
    HOME.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}/api"
    command = f"exec {sys.executable} -m prefect server start --host 127.0.0.1 --port {port} {' '.join(options)}"
    settings = SETTINGS | {"PREFECT_HOME": str(HOME.resolve()), "PREFECT_SERVER_UI_API_URL": url}
    process = start(command, HOME / "server.log", GRACE_S, Path.cwd(), {key: settings[key] for key in settings if key not in os.environ})
    try:
        wait_until_healthy(url, process)
        yield url
    finally:
        close(process)
        process.wait()


def served() -> str | None:
    """The address of the server that `make serve` has started in this folder, if it runs."""
    try:
        url = SERVED.read_text(encoding="utf-8")
        urllib.request.urlopen(f"{url}/health", timeout=2).close()
    except (OSError, ValueError):
        return None
    return url


def is_own_server() -> bool:
    """Whether flows talk to a server that was started for them alone."""
    return get_current_settings().api.url in own


def use_prefect_server() -> None:
    """prefect_server() until the interpreter ends: Prefect sends its last logs only then."""
    until_the_end = contextlib.ExitStack()
    until_the_end.enter_context(prefect_server())
    atexit.register(until_the_end.close)


def run_for_command_line(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    """Runs a flow; unless all goes well, the process ends with a sentence and exit code 1 (Ctrl-C: 130)."""
    try:
        use_prefect_server()
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: NUM_RETRIES}):
            state = cast(State[Any], flow(**parameters, return_state=True))
    except ServerError as error:
        sys.exit(f"error: {error}")
    except (HTTPError, RuntimeError) as error:
        print(f"error: {no_answer(error)}: what was done until now is kept; start again when it runs.", file=sys.stderr, flush=True)
        os._exit(1)  # at a usual end Prefect would try for minutes to send what it has still to tell
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        sys.exit(130)
    except TerminationSignal:
        print(STOPPED, file=sys.stderr)
        sys.exit(143)
    if not state.is_completed():
        sys.exit(f"error: {state.message}")


def no_answer(error: HTTPError | RuntimeError) -> str:
    """What to say of a server that cannot be reached; Prefect has a plain RuntimeError for that too, and any other is raised again."""
    if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
        raise error
    return f"the Prefect server at {get_current_settings().api.url} does not answer ({' '.join(str(error).split())})"


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
