"""Serves the deployments of prefect.yaml: their runs start on schedule, or when told in the UI, in this folder. What `make serve` runs.

Command: python -m pipelines.deployments
Reads:   prefect.yaml
Writes:  what the flows write; the server's database and log, under logs/prefect

Where no Prefect server is configured (PREFECT_API_URL) it starts one, on loopback, with its UI; it ends with this process. Its
database is SQLite's, or the one that PREFECT_SERVER_DATABASE_CONNECTION_URL names (postgresql+asyncpg://...).
"""

import asyncio
import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.runner import Runner
from prefect.schedules import Schedule
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.running.presence import SERVED_BY, mark_the_dead
from pipelines.running.server import SERVED, ServerError, no_answer, server_at
from pipelines.running.slots import LIMIT, gpus_of_machine

FILE = Path("prefect.yaml")
LOOK_S = 15  # between two looks for runs whose process has died


class DeploymentError(Exception):
    """A mistake in prefect.yaml. The message is one sentence."""


class Deployment(BaseModel):
    """An entry of `deployments`: of what `prefect deploy` understands, that which can be served without a work pool."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str
    entrypoint: str
    description: str | None = None
    version: str | None = None
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    schedules: list[Schedule] = []
    concurrency_limit: ConcurrencyLimitConfig | int | None = None
    work_pool: dict[str, Any] | None = None  # of `prefect deploy` alone

    @field_validator("concurrency_limit")
    @classmethod
    def is_some(cls, limit: ConcurrencyLimitConfig | int | None) -> ConcurrencyLimitConfig | int | None:
        number = limit.limit if isinstance(limit, ConcurrencyLimitConfig) else limit
        if number is not None and number < 1:
            raise ValueError(f"the limit is {number}; expected at least 1")
        return limit

    def flow(self) -> Flow[..., Any]:
        module, _, name = self.entrypoint.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise DeploymentError(
                f"{FILE}: the entrypoint {self.entrypoint} of {self.name} is no flow of this project: {error}."
            ) from error
        if not isinstance(found, Flow):
            raise DeploymentError(f"{FILE}: the entrypoint {self.entrypoint} of {self.name} is no Prefect flow.")
        return found

    def as_served(self) -> RunnerDeployment:
        """Raises DeploymentError where Prefect refuses it."""
        flow = self.flow()
        try:
            return flow.to_deployment(  # type: ignore[return-value]
                **self.model_dump(include={"name", "description", "version", "tags", "parameters"}),
                schedules=self.schedules,
                concurrency_limit=self.concurrency_limit,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        except (PrefectException, ValueError) as error:
            raise DeploymentError(f"{FILE}: the deployment {self.name}: {' '.join(str(error).split()).rstrip('.')}.") from error


class Deployments(BaseModel):
    """prefect.yaml, as far as it is of use here."""

    deployments: list[Deployment]


def read_deployments() -> list[Deployment]:
    """Those of prefect.yaml. Raises DeploymentError."""
    try:
        return Deployments.model_validate(YAML(typ="safe").load(FILE)).deployments
    except ValidationError as error:
        first = error.errors()[0]
        raise DeploymentError(f"{FILE}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    except (OSError, YAMLError) as error:
        raise DeploymentError(f"{FILE}: {' '.join(str(error).split())}.") from error


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of the server that is configured, or of one with its UI that is started here, which flows of this folder find too."""
    settings = get_current_settings()
    if settings.api.url:
        yield settings.api.url
        return
    with server_at(settings.server.api.port) as url, temporary_settings({PREFECT_API_URL: url}):
        SERVED.write_text(url, encoding="utf-8")
        try:
            yield url
        finally:
            SERVED.unlink(missing_ok=True)


def create_limits() -> None:
    """The limits that flows wait for, as many as this machine has GPUs. One that is there stays as it is: the operator's."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(LIMIT)
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=max(1, len(gpus_of_machine()))))


@contextlib.contextmanager
def watching_the_dead() -> Iterator[None]:
    """Within it, runs whose process dies are marked as crashed."""
    over, url = threading.Event(), get_current_settings().api.url

    def watch() -> None:
        with temporary_settings({PREFECT_API_URL: url}):  # a thread does not know of its starter's settings
            while not over.wait(LOOK_S):
                for name in mark_the_dead():
                    print(f"{name} had died: it is marked as crashed.")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


class Served(Runner):
    """Prefect's runner, which on SIGTERM ends as on Ctrl-C: its own way leaves behind the runs that it has started."""

    async def start(self, run_once: bool = False, webserver: bool | None = None) -> None:
        self.work = asyncio.current_task()
        await super().start(run_once, webserver)

    def handle_sigterm(self, *_: Any) -> None:
        assert self.work is not None
        self.work.get_loop().call_soon_threadsafe(self.work.cancel)


def serve(deployments: list[RunnerDeployment]) -> None:
    """Starts their runs, until Ctrl-C or SIGTERM. Schedules go on where they were when this is started again."""
    os.environ[SERVED_BY] = str(os.getpid())  # runs end with this process, however that ends
    runner = Served(pause_on_shutdown=False)
    for deployment in deployments:
        runner.add_deployment(deployment)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(runner.start())


def main() -> None:
    try:
        deployments = [deployment.as_served() for deployment in read_deployments()]
        with server() as url:
            create_limits()
            mark_the_dead()
            print(f"Prefect's UI: {url.removesuffix('/api')}. Served from {FILE}: {', '.join(one.full_name for one in deployments)}.")
            with watching_the_dead():
                serve(deployments)
    except (DeploymentError, ServerError) as error:
        sys.exit(f"error: {error}")
    except (HTTPError, RuntimeError) as error:
        sys.exit(f"error: {no_answer(error)}.")


if __name__ == "__main__":
    main()
