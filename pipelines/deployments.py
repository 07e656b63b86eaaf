"""Serves the deployments of prefect.yaml: their runs start on schedule, or when told in the UI, in this folder. What `make serve` runs.

Command: python -m pipelines.deployments
Reads:   prefect.yaml
Writes:  what the flows write; the server's database and log, under logs/prefect

Where no Prefect server is configured (PREFECT_API_URL) it starts one, on loopback, with its UI; it ends with this process. Its
database is SQLite's, or the one that PREFECT_SERVER_DATABASE_CONNECTION_URL names (postgresql+asyncpg://...).

A server knows a deployment by its name alone, whichever folder serves it. Hence a tag says which does, and another folder that would
serve the same names is refused while that one lives.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentScheduleUpdate, GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, DeploymentSchedule, DeploymentStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import DeploymentApplyError, EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectException
from prefect.runner import Runner
from prefect.schedules import Schedule
from prefect.settings import get_current_settings, temporary_settings
from pydantic import BaseModel, ConfigDict, ImportString, InstanceOf, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.running.slots import LIMIT, gpus_of_machine
from pipelines.serving.presence import SERVED_BY, mark_the_dead, other_place, this_place
from pipelines.serving.server import PASSWORD, ServerError, access_to, announced, bypass_proxies, no_answer, one_line, served, server_at

FILE = Path("prefect.yaml")
LOOK_S = 15  # between two looks for runs whose process has died
ALIVE_S = 30  # who serves a deployment asks for its runs every 10 s (PREFECT_RUNNER_POLL_FREQUENCY)
SUFFIX = "REPRISE_SUFFIX"  # in the environment: what is added to the names of all deployments
OWN_NAMES = f"or give those that are served here names of their own: {SUFFIX}=-staging make serve"


class DeploymentError(Exception):
    """A mistake in prefect.yaml, or a deployment that cannot be served here. The message is one sentence."""


class Deployment(BaseModel):
    """An entry of `deployments`: of what `prefect deploy` understands, that which can be served without a work pool."""

    model_config = ConfigDict(extra="forbid")

    name: str
    entrypoint: ImportString[InstanceOf[Flow[..., Any]]]  # MODULE.FLOW, such as pipelines.rebuild.rebuild
    description: str | None = None
    version: str | None = None
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    schedules: list[Schedule] = []
    concurrency_limit: int | ConcurrencyLimitConfig | None = None
    work_pool: dict[str, Any] | None = None  # of `prefect deploy` alone


def read_deployments() -> list[RunnerDeployment]:
    """Those of prefect.yaml, as far as they are of use here. Raises DeploymentError."""
    try:
        content = YAML(typ="safe").load(FILE)
        entries: Any = TypeAdapter(list[Deployment]).validate_python(content.get("deployments") if isinstance(content, dict) else None)
    except ValidationError as error:
        first = error.errors()[0]
        raise DeploymentError(f"{FILE}: {'.'.join(map(str, ['deployments', *first['loc']]))}: {first['msg']}.") from error
    except (OSError, YAMLError) as error:
        raise DeploymentError(f"{FILE}: {one_line(error)}.") from error
    served = []
    for entry in entries:
        given = entry.model_dump(include={"description", "version", "parameters"})
        given |= {"schedules": entry.schedules, "concurrency_limit": entry.concurrency_limit}
        name, tags = f"{entry.name}{os.environ.get(SUFFIX, '')}", [*entry.tags, this_place()]
        try:
            served.append(entry.entrypoint.to_deployment(name=name, tags=tags, entrypoint_type=EntrypointType.MODULE_PATH, **given))
        except (PrefectException, ValueError) as error:
            raise DeploymentError(f"{FILE}: the deployment {entry.name}: {one_line(error)}.") from error
    return served


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The address of the server that is configured, or of one with its UI that is started here, which flows of this folder find too."""
    bypass_proxies()
    settings = get_current_settings()
    if settings.api.url:
        yield settings.api.url
        return
    if there := served():
        raise ServerError(f"`make serve` runs in this folder already, at {there}.")
    with server_at(settings.server.api.port) as url, announced(url), temporary_settings(access_to(url)):
        yield url


def create_limit() -> None:
    """The limit that flows wait for, of as many places as this machine has GPUs. One that is there stays as it is: the operator's."""
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectAlreadyExists):
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=LIMIT, limit=max(1, len(gpus_of_machine()))))


def known(deployments: list[RunnerDeployment]) -> dict[str, DeploymentResponse]:
    """What the server knows of the deployments, by name."""
    found = {}
    with get_client(sync_client=True) as client:
        for one in deployments:
            with contextlib.suppress(ObjectNotFound):
                found[one.full_name] = client.read_deployment_by_name(one.full_name)
    return found


def elsewhere(found: dict[str, DeploymentResponse]) -> dict[str, str]:
    """The machine and folder in which a deployment is served, by name, where that is not this one."""
    return {name: place for name, one in found.items() if (place := other_place(one.tags))}


def refuse_served_elsewhere(deployments: list[RunnerDeployment]) -> None:
    """Raises DeploymentError where a work pool has one of the names, or another folder that is being served at this moment."""
    before = now = known(deployments)
    for name, one in before.items():
        if one.work_pool_name:
            pool = f"belongs to the work pool {one.work_pool_name}, by `prefect deploy`"
            raise DeploymentError(f"{name} {pool}: delete that deployment, {OWN_NAMES}.")
    # Ready is what has been asked for within a minute; a folder that asks once more is alive.
    others, until = elsewhere(before), time.monotonic() + ALIVE_S
    if others:
        print(f"Checking whether {', '.join(others)} are still served in {', '.join(set(others.values()))}.", flush=True)
    while any(now[name].status == DeploymentStatus.READY for name in others.keys() & now.keys()) and time.monotonic() < until:
        time.sleep(1)
        now = known(deployments)
        for name in others.keys() & now.keys():
            if now[name].last_polled != before[name].last_polled:
                raise DeploymentError(f"{name} is served already, in {others[name]}: stop `make serve` there, {OWN_NAMES}.")


def keep_what_is_off(deployments: list[RunnerDeployment]) -> None:
    """Changes the deployments so that what the operator has paused, or switched off, stays so; says what that is."""
    found = known(deployments)
    for deployment in deployments:
        if (before := found.get(deployment.full_name)) is None:
            continue
        if before.paused:
            deployment.paused = True
            print(f"{deployment.full_name} is paused: it runs again when it is resumed in Prefect's UI.", flush=True)
        off = [identity(schedule) for schedule in before.schedules if not schedule.active]
        for schedule in deployment.schedules or []:
            if schedule.active and identity(schedule) in off:
                schedule.active = False
                which = f" {schedule.slug}" if schedule.slug else ""
                print(f"{deployment.full_name} has its schedule{which} switched off: it is switched on in Prefect's UI.", flush=True)


def identity(schedule: DeploymentSchedule | DeploymentScheduleCreate | DeploymentScheduleUpdate) -> object:
    """What a schedule is known by after a restart: its slug, or else when it starts runs."""
    if schedule.slug or schedule.schedule is None:
        return schedule.slug
    return schedule.schedule.model_dump(exclude={"anchor_date"})  # that of an interval is the time of the start


def serve(deployments: list[RunnerDeployment]) -> None:
    """Starts their runs, until Ctrl-C or SIGTERM. Schedules go on where they were when this is started again.

    Meanwhile runs whose process dies are marked as crashed. Raises DeploymentError where the server refuses a deployment, or another folder
    takes its name over.
    """
    os.environ[SERVED_BY] = str(os.getpid())  # runs end with this process, however that ends
    runner, taken = Runner(pause_on_shutdown=False), dict[str, str]()
    for deployment in deployments:
        try:
            with contextlib.suppress(DeploymentApplyError):  # another `make serve` was faster: the next time it is there
                runner.add_deployment(deployment)
                continue
            runner.add_deployment(deployment)
        except DeploymentApplyError as error:
            raise DeploymentError(f"the server refuses {deployment.full_name}: {one_line(error)}.") from error

    async def watch(work: asyncio.Task[Any]) -> None:
        while not taken:
            await asyncio.sleep(LOOK_S)
            for name in await asyncio.to_thread(mark_the_dead):
                print(f"{name} had died: it is marked as crashed.", flush=True)
            with contextlib.suppress(HTTPError):
                taken.update(elsewhere(await asyncio.to_thread(known, deployments)))
        work.cancel()

    async def run() -> None:
        work, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert work is not None
        # On SIGTERM it ends as on Ctrl-C: Prefect's own way leaves behind the runs that it has started.
        runner.handle_sigterm = lambda *_: loop.call_soon_threadsafe(work.cancel)  # type: ignore[method-assign,assignment]
        watcher = asyncio.create_task(watch(work))
        await runner.start()
        watcher.cancel()

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(run())
    for name, place in taken.items():
        raise DeploymentError(f"{name} is now served in {place}: stop `make serve` there, {OWN_NAMES}.")


def main() -> None:
    try:
        deployments = read_deployments()
        is_own = not get_current_settings().api.url
        with server() as url:
            create_limit()
            mark_the_dead()
            refuse_served_elsewhere(deployments)
            secret, names = f" (its password is in {PASSWORD})" if is_own else "", ", ".join(one.full_name for one in deployments)
            print(f"Prefect's UI: {url.removesuffix('/api')}{secret}. Served from {FILE}: {names}.", flush=True)
            keep_what_is_off(deployments)
            serve(deployments)
    except (DeploymentError, ServerError) as error:
        sys.exit(f"error: {error}")
    except (HTTPError, RuntimeError) as error:
        sys.exit(f"error: {no_answer(error)}.")


if __name__ == "__main__":
    main()
