"""The global concurrency limit `gpu` of a Prefect server, which counts the GPUs in use on all machines."""

import contextlib
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from httpx import HTTPError, HTTPStatusError
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.settings import get_current_settings

from pipelines.running.slots import LIMIT, LOOK_S, Count, SlotError
from pipelines.serving.server import is_own_server

# A minute after its holder has died, a slot of the server is free again.
LEASE: Any = {"lease_duration": 60, "max_retries": 0, "strict": True, "raise_on_lease_renewal_failure": False}


def count_of_server() -> Count | None:
    """For Slots; None where flows talk to a server that was started for them alone."""
    return None if is_own_server() else counted


@contextlib.contextmanager
def counted(number: int, is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Within it the server counts so many as taken; waits until it may, or they are not wanted any more. Raises SlotError."""
    taken = contextlib.ExitStack()
    while is_wanted():
        try:
            taken.enter_context(concurrency(LIMIT, number, **LEASE))
            break
        except ConcurrencySlotAcquisitionError as error:
            refuse_unless_taken(error)
            time.sleep(LOOK_S)
    try:
        yield
    finally:
        with contextlib.suppress(HTTPError):  # the lease runs out by itself
            taken.close()


def refuse_unless_taken(error: Exception) -> None:
    """Raises SlotError unless it is only that others have all places of the limit."""
    reason, url = error.__cause__, get_current_settings().api.url
    if isinstance(reason, HTTPStatusError) and reason.response.status_code == HTTPStatus.LOCKED:
        return
    if reason is None:
        how = f"`make serve` creates it, or `prefect gcl create {LIMIT} --limit 1`"
        raise SlotError(f"the Prefect server has no concurrency limit `{LIMIT}`: {how}") from error
    raise SlotError(f"the Prefect server at {url} gives no slot: {' '.join(str(reason).split())}") from error
