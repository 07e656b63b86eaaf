"""The small pipeline in a repository of its own, and a Prefect server, which takes long to start: one for all tests of a process."""

import contextlib
import sys

import pytest
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_UI_URL,
    temporary_settings,
)

from pipelines.serving.server import access_to, bypass_proxies, free_port, own, server_at
from tests.pipelines.small import PROXIES, UNLIKELY, make_small, python_in


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder of an unlikely name in which a Prefect server runs, behind a proxy that is away; and the server's address.

    An earlier version has left its folder for all to read. Its Python has an unlikely name too.
    """
    folder = tmp_path_factory.mktemp("server") / UNLIKELY
    (folder / "logs" / "prefect").mkdir(parents=True, mode=0o755)
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as lasting:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            python, path = python_in(folder)
            patch.setattr(sys, "executable", python)
            patch.setenv("PYTHONPATH", path)
            for name in PROXIES:
                patch.setenv(name, "" if name.lower() == "no_proxy" else "http://127.0.0.1:9")
            url = stack.enter_context(server_at(free_port()))
            # Each flow would end with up to a second's wait for the thread of its heartbeats, and send its logs.
            quick = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_LOGGING_TO_API_ENABLED: False}
            settings = access_to(url) | {PREFECT_UI_URL: ""} | quick
        stack.enter_context(temporary_settings(settings))
        bypass_proxies()
        own.add(url)
        lasting.setenv("PREFECT_API_AUTH_STRING", PREFECT_API_AUTH_STRING.value())  # for the processes that tests start
        yield folder, url


@pytest.fixture(scope="session")
def server(home):
    """A real Prefect server, which flows talk to; its address."""
    return home[1]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A repository with the small pipeline, in which nothing has run yet; the current folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make_small(folder)
    return folder
