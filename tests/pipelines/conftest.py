"""The small pipeline in a repository of its own, and a Prefect server."""

import pytest
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from pipelines.serving.server import prefect_server
from tests.pipelines.small import make_small


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real Prefect server, which flows talk to; its address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("server"))
        # Each flow would end with up to a second's wait for the thread of its heartbeats.
        with prefect_server(), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            patch.setenv("PREFECT_API_AUTH_STRING", PREFECT_API_AUTH_STRING.value())  # for the processes that tests start
            yield PREFECT_API_URL.value()
            APILogHandler().flush()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A repository with the small pipeline, in which nothing has run yet; the current folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make_small(folder)
    return folder
