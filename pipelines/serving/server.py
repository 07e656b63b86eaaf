"""The Prefect server that flows talk to.

A server that is started here is for its user alone: it listens on loopback, wants the password in logs/prefect/password, and its files
are in a folder that nobody else can enter. It is never asked through a proxy.
"""

import atexit
import contextlib
import fcntl
import http.client
import logging
import os
import secrets
import shlex
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httpx
from httpx import HTTPError, HTTPStatusError
from prefect import Flow
from prefect.exceptions import TerminationSignal
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_UI_URL,
    get_current_settings,
    temporary_settings,
)
from prefect.settings.legacy import Setting
from prefect.states import Cancelled, State

from pipelines.running.commands import close, start
from pipelines.running.locks import locked

HOME = Path("logs") / "prefect"
SERVED = HOME / "served"  # the address of the server that `make serve` has started, which holds a lock on this file as long as it runs
PASSWORD = HOME / "password"  # of the servers that are started here, as user:password
LOOPBACK = ("127.0.0.1", "localhost")
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # asks no proxy
GRACE_S, START_S = 3, 120
NUM_RETRIES = 2  # of a request to a server that does not answer: about ten seconds
own = set[str]()  # the addresses of servers that were started for one flow alone
stopped_by = list[signal.Signals]()  # the signals that have ended this process's flow


def without_empty_traceback(record: logging.LogRecord) -> bool:
    """For a stage that has failed Prefect logs an exception's traceback, where there was none: "NoneType: None"."""
    if record.exc_info == (None, None, None):
        record.exc_info = None
    return True


logging.getLogger("prefect.task_runs").addFilter(without_empty_traceback)


class ServerError(Exception):
    """The message is one sentence."""


def bypass_proxies() -> None:
    """From now on neither this process nor those that it starts ask a proxy for what is on loopback.

    Raises ServerError where the environment names a proxy with which Prefect cannot make any request.
    """
    names = ("NO_PROXY", "no_proxy")
    hosts = [host.strip() for name in names for host in os.environ.get(name, "").split(",") if host.strip()]
    os.environ |= dict.fromkeys(names, "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK])))  # * stands for all alone
    try:
        if urllib.request.getproxies():
            httpx.Client().close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        why = f"Prefect cannot use the proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY ({one_line(error)})"
        raise ServerError(f"{why}: unset it for this command.") from error


def access_to(url: str) -> dict[Setting, str]:
    """Prefect's settings with which a server that was started here is talked to."""
    return {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password()}


def password() -> str:
    """Of the servers that are started here, as user:password: the configured one, or else one that is made at the first start."""
    if configured := get_current_settings().server.api.auth_string:
        return configured.get_secret_value()
    with os.fdopen(os.open(PASSWORD, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two may start at once
        os.fchmod(file.fileno(), 0o600)
        if not (known := file.read().strip()):
            known = f"reprise:{secrets.token_urlsafe(32)}"
            file.write(f"{known}\n")
        return known


@contextlib.contextmanager
def server_at(port: int, *options: str) -> Iterator[str]:
    """A server on loopback with its database under logs/prefect, unless the environment has other settings for it; its address.

    It is for those alone who know its password(). Raises ServerError where it does not start.
    """
    if is_taken(port):
        raise ServerError(f"port {port} is taken: name a free one in PREFECT_SERVER_API_PORT, or the server there in PREFECT_API_URL.")
    url, until = f"http://127.0.0.1:{port}/api", time.monotonic() + START_S
    command = f"exec {shlex.quote(sys.executable)} -m prefect server start --host 127.0.0.1 --port {port} {' '.join(options)}"
    try:
        HOME.mkdir(mode=0o700, parents=True, exist_ok=True)
        HOME.chmod(0o700)  # parameters of runs are in there
        process = start(command, HOME / "server.log", GRACE_S, Path.cwd(), settings_of_server(url, port), umask=0o077)
    except OSError as error:
        what = f"{error.filename or HOME}: {error.strerror}"
        raise ServerError(f"{what}: the Prefect server keeps its files in {HOME}, which must be this user's and writable.") from error
    try:
        while not is_healthy(url):
            if process.poll() is not None or time.monotonic() > until:
                other = f" (something else answers at {url})" if is_taken(port) else ""
                raise ServerError(f"the Prefect server did not start{other}: see {HOME / 'server.log'}")
            time.sleep(0.05)
        yield url
    finally:
        close(process)
        process.wait()


def settings_of_server(url: str, port: int) -> dict[str, str]:
    """What the server gets in its environment, beside what the operator has set there."""
    settings = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Slots that are held when the server ends are known to the next one.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_HOME": str(HOME),  # relative: the address of an SQLite file cannot have every character that a folder can
        # Prefect would copy its UI into the environment, which other users may share, and which this user may not be allowed to write.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(HOME / "ui"),
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}:{port}" for host in LOOPBACK),  # of its own UI
    }
    chosen = {key: value for key, value in settings.items() if key not in os.environ}
    return chosen | {"PREFECT_SERVER_API_AUTH_STRING": password()}


@contextlib.contextmanager
def announced(url: str) -> Iterator[None]:
    """Within it, other flows of this folder find the server. Raises ServerError where there is another one to be found."""
    until = time.monotonic() + 1  # who looks for a server has the lock for a moment
    while (file := locked(SERVED)) is None:
        if time.monotonic() > until:
            raise ServerError(f"`make serve` runs in this folder already, at {SERVED.read_text(encoding='utf-8')}.")
        time.sleep(0.01)
    try:
        os.truncate(file, 0)
        os.write(file, url.encode())
        yield
    finally:
        SERVED.unlink(missing_ok=True)
        os.close(file)


def served() -> str | None:
    """The address of the server that `make serve` has started in this folder, if it runs."""
    try:
        url = SERVED.read_text(encoding="utf-8")
        if (file := locked(SERVED)) is not None:  # it was killed: whatever has its port by now is somebody else's
            os.close(file)
            return None
    except OSError:
        return None
    return url if is_healthy(url) else None


def is_own_server() -> bool:
    """Whether flows talk to a server that was started for them alone."""
    return get_current_settings().api.url in own


def use_prefect_server() -> None:
    """From now on flows talk to the server that is configured (PREFECT_API_URL), or else to that of `make serve`.

    Where there is none, to one that is started for them alone and ends with this process, however that ends.
    """
    bypass_proxies()
    configured, here = get_current_settings().api, served()
    until_the_end = contextlib.ExitStack()
    if here and (not configured.url or (configured.url == here and not configured.auth_string)):
        until_the_end.enter_context(temporary_settings(access_to(here)))
    elif not configured.url:
        url = until_the_end.enter_context(server_at(free_port(), "--no-ui"))
        # Without an address of the UI, which it has not, Prefect shows no links to there.
        until_the_end.enter_context(temporary_settings(access_to(url) | {PREFECT_UI_URL: ""}))
        own.add(url)
    atexit.register(until_the_end.close)  # Prefect sends its last logs only then


def run_for_command_line(flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
    """Runs a flow; unless all goes well, the process ends with a sentence and exit code 1 (Ctrl-C: 130, SIGTERM: 143)."""
    stopped_by.clear()
    try:
        use_prefect_server()
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: NUM_RETRIES}):
            state = cast(State[Any], flow(**parameters, return_state=True))
    except ServerError as error:
        sys.exit(f"error: {error}")
    except (HTTPError, RuntimeError) as error:
        print(f"error: {no_answer(error)}; what was done until now is kept.", file=sys.stderr, flush=True)
        os._exit(1)  # at a usual end Prefect tries again to send its logs, for up to 20 s, and complains after this sentence
    except (KeyboardInterrupt, TerminationSignal) as error:
        state = stopped(error)
    if stopped_by:
        print(f"error: {state.message}", file=sys.stderr)
        sys.exit(128 + stopped_by[-1])
    if not state.is_completed():
        sys.exit(f"error: {state.message}")


def signal_of(error: BaseException) -> signal.Signals | None:
    """That has asked for the end: Prefect raises an exception for SIGTERM, as Python does for Ctrl-C."""
    if isinstance(error, TerminationSignal):
        return signal.SIGTERM
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None


def stopped(error: BaseException) -> State[Any]:
    """The last state of a flow that Ctrl-C or SIGTERM (Prefect's TerminationSignal) has stopped."""
    stopped_by.extend(filter(None, [signal_of(error)]))
    message = f"stopped by {stopped_by[-1].name}: what was done until now is kept; the same command resumes there."
    return Cancelled(name="Stopped", message=message)


def no_answer(error: HTTPError | RuntimeError) -> str:
    """What to say and do where the server cannot be talked to. Prefect has a plain RuntimeError for that too; any other is raised again."""
    if isinstance(error, RuntimeError) and "Failed to reach API" not in str(error):
        raise error
    server = f"the Prefect server at {get_current_settings().api.url}"
    reason = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    if not isinstance(reason, HTTPStatusError):
        return f"{server} does not answer ({one_line(error)}): start again when it runs"
    status = reason.response.status_code
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"{server} refuses us ({status}): set PREFECT_API_AUTH_STRING to what it wants, and start again"
    return f"{server} answers {status} {reason.response.reason_phrase}: see its log, or whether it is a Prefect server at all"


def one_line(error: BaseException) -> str:
    """What it says, as a part of a sentence."""
    return " ".join(str(error).split()).rstrip(".")


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(url: str) -> bool:
    """Whether a Prefect server answers there, and nothing else."""
    try:
        with DIRECTLY.open(f"{url}/health", timeout=2) as response:
            return bool(response.read(5) == b"true")
    except (OSError, ValueError, http.client.HTTPException):
        return False
