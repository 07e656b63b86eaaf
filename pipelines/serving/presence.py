"""Which runs of flows in this folder are alive: each holds a lock on a file of its own, which ends with its process, however that ends.

So what Prefect shows as running though its process has died is found, and marked as crashed; its deployment's place is free again then.
And which runs are meant for this folder: the deployments that are served here have a tag that says so, and their runs have it too.
"""

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from pipelines.running.locks import BusyError, locked
from pipelines.running.parent import end_with_parent

RUNNING = Path("logs") / "running"
SERVED_BY = "REPRISE_SERVED_BY"  # in the environment of runs that end with who has started them
SERVED_IN = "served in "  # a deployment's tag: then come the machine and the folder


def this_place() -> str:
    """This checkout among all that one server may know, as a deployment's tag has it."""
    folder = str(Path.cwd()).encode(errors="replace").decode()  # names that are not Unicode fit into no JSON
    return f"{SERVED_IN}{socket.gethostname()}:{folder}"


def other_place(tags: Iterable[str]) -> str | None:
    """The machine and folder that the tags name, where that is not this one."""
    return next((tag.removeprefix(SERVED_IN) for tag in tags if tag.startswith(SERVED_IN) and tag != this_place()), None)


def announce() -> None:
    """From now on this run of a flow is known to be alive, until the process ends: Prefect is told how a run has ended only after it.

    Those that have died without a word are marked as crashed first. Raises BusyError where the run, or its deployment by now, is of
    another folder: a server's names are the same for all folders.
    """
    if SERVED_BY in os.environ:
        end_with_parent()  # nobody is left to whom it could say how it ended; its stages save and end
    mark_the_dead()
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    run = context.flow_run
    locked(RUNNING / str(run.id))
    tags = list(run.tags)
    if run.deployment_id is not None:
        with contextlib.suppress(ObjectNotFound), get_client(sync_client=True) as client:
            tags += client.read_deployment(run.deployment_id).tags
    if place := other_place(tags):
        raise BusyError(f"this run is meant for {place}, and was started in {this_place().removeprefix(SERVED_IN)}: nothing was done.")


def mark_the_dead() -> list[str]:
    """Marks as crashed the runs whose process is no more, but not another server's; their names.

    A server that does not answer is asked another time.
    """
    dead: list[str] = []
    with contextlib.suppress(HTTPError), get_client(sync_client=True) as client:
        for path in sorted(RUNNING.glob("*-*")):
            if (file := locked(path)) is None:
                continue
            with contextlib.suppress(ObjectNotFound):
                run = client.read_flow_run(UUID(path.name))
                if run.state is not None and not run.state.is_final():
                    message = "Its process died without a word: it was killed, or the machine went down."
                    client.set_flow_run_state(run.id, Crashed(message=message))
                    dead.append(run.name)
            path.unlink(missing_ok=True)
            os.close(file)
    return dead
