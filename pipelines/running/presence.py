"""Which runs of flows in this folder are alive: each holds a lock on a file of its own, which ends with its process, however that ends.

So what Prefect shows as running though its process has died is found, and marked as crashed; its deployment's place is free again then.
"""

import contextlib
import os
import signal
from pathlib import Path
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from pipelines.running.locks import locked
from pipelines.running.supervisor import PR_SET_PDEATHSIG, on_linux

RUNNING = Path("logs") / "running"
SERVED_BY = "REPRISE_SERVED_BY"  # in the environment of runs that end with who has started them


def announce() -> None:
    """From now on this run of a flow is known to be alive, until the process ends: Prefect is told how a run has ended only after it.

    Those that have died without a word are marked as crashed first.
    """
    if SERVED_BY in os.environ:
        on_linux(PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody is left to whom it could say how it ended; its stages save and end
    mark_the_dead()
    locked(RUNNING / str(flow_run.get_id()))


def mark_the_dead() -> list[str]:
    """Marks as crashed the runs whose process is no more; their names. A server that does not answer is asked another time."""
    dead: list[str] = []
    with contextlib.suppress(HTTPError), get_client(sync_client=True) as client:
        for path in sorted(RUNNING.glob("*-*")):
            if (file := locked(path)) is not None:
                dead += mark(client, UUID(path.name))
                path.unlink(missing_ok=True)
                os.close(file)
    return dead


def mark(client: SyncPrefectClient, run_id: UUID) -> list[str]:
    """Marks a run as crashed, unless it had come to its end or is another server's; its name if so."""
    with contextlib.suppress(ObjectNotFound):
        run = client.read_flow_run(run_id)
        if run.state is not None and not run.state.is_final():
            client.set_flow_run_state(run_id, Crashed(message="Its process died without a word: it was killed, or the machine went down."))
            return [run.name]
    return []
