"""The worker of Temporal in an engine's process: it serves as long as the process lives, and waits for Temporal."""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import AccessDenied, LogUnavailable
from ..ports.handlers import Deployment
from ..ports.log import Appender, Reader
from .observing import Observed
from .settings import Settings
from .temporal import SharedClient, worker_of

if TYPE_CHECKING:
    from temporalio.client import Client

log = logging.getLogger("beluga_stream.workflows")

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 15.0


async def serve(  # noqa: PLR0913 - it is wired in one place, by name
    settings: Settings,
    connect: SharedClient,
    deployed: Deployment,
    queues: Sequence[str],
    *,
    appender: Appender,
    reader: Reader,
    observed: Observed,
) -> None:
    """Serve the task queues of durable graphs until it is cancelled, or a worker fails.

    Waits for a Temporal that is not there yet, or refuses us for now; what is asked of it is kept meanwhile. Runs that
    are started by the same client begin here at once.
    """
    client = await _connected(connect)
    log.info(
        "serves durable graphs for Temporal at %s",
        settings.temporal_address,
        extra={"action": "workflows_served", "address": settings.temporal_address},
    )
    worker = worker_of(
        settings,
        client,
        deployment=deployed,
        appender=appender,
        reader=reader,
        queues=queues,
        telemetry=observed.telemetry,
        spans=observed.spans,
    )
    await worker.run()


async def _connected(connect: SharedClient) -> "Client":
    pause, waits = _FIRST_PAUSE_SECONDS, False
    while True:
        try:
            return await connect()
        except (LogUnavailable, AccessDenied) as error:
            if not waits:
                log.warning("durable graphs do not run yet: %s", error, extra={"action": "workflows_away"})
            waits = True
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
