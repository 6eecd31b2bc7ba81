"""Leases: a node that runs long is reported as started and kept alive by heartbeats, so that it holds no partition."""

import logging
from collections.abc import Awaitable, Sequence

from ...bounds import within
from ...domain.events import NodeReleased, NodeStarted
from ...errors import LogUnavailable
from ...ports.clock import Clock
from ..elapsed import has_elapsed
from ..execution.leaving import LEFT_AFTER_SECONDS, tell_left
from ..messages import Heartbeat
from ..outbox import Outbox
from ..topics import Topics
from .attempts import done
from .notices import Notices
from .underway import Underway

log = logging.getLogger("beluga_stream.worker")

_GIVE_BACK_SECONDS = 10.0

_LEFT_AFTER_MS = int(LEFT_AFTER_SECONDS * 1000)
"""How long a handler that is told to stop keeps its slot; `Executions` gives up those with a timeout before."""


class Leases:
    """Takes, keeps and gives back the leases of one worker's executions. Times in milliseconds."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        outbox: Outbox,
        notices: Notices,
        clock: Clock,
        worker: str,
        after_ms: int,
        heartbeat_ms: int,
    ) -> None:
        self._names = topics
        self._outbox = outbox
        self._notices = notices
        self._clock = clock
        self._worker = worker
        self._after_ms = after_ms
        self._heartbeat_ms = heartbeat_ms

    def keep(self, execution: Underway, now_ms: int) -> Awaitable[object] | None:
        """Report a node that runs long as started, then beat for it, until it is told to stop."""
        if execution.stopped_ms is not None:
            if has_elapsed(execution.stopped_ms, now_ms, _LEFT_AFTER_MS):
                _leave(execution)
        elif not execution.leased:
            if not execution.reporting and has_elapsed(execution.began_ms, now_ms, self._after_ms):
                return self.take(execution)
        elif has_elapsed(execution.beat_ms, now_ms, self._heartbeat_ms):
            return self.beat(execution)
        return None

    async def take(self, execution: Underway) -> None:
        """Take the lease that stands for the node's delivery from now on."""
        execution.reporting = True
        execution.beat_ms = self._clock.now_ms()
        started = NodeStarted(**execution.about(execution.beat_ms), worker=self._worker, details=execution.details)
        await self._outbox.append([done(self._names, execution.work, started)])
        # Only now: until the report is durable, a redelivery must not be acknowledged by it.
        execution.leased = True
        if execution.careful:
            # Acknowledged is not committed: whoever gets the record again must know. And not sooner: a notice
            # without a lease would leave the attempt with nobody.
            await self._outbox.append([self._notices.begun(execution.work)])
        execution.release()

    def beat(self, execution: Underway) -> Awaitable[object]:
        """Say that it goes on."""
        execution.beat_ms = self._clock.now_ms()
        beat = Heartbeat(**execution.about(execution.beat_ms), details=execution.details, begun=execution.begun)
        return self._outbox.submit([done(self._names, execution.work, beat)])

    async def give_back(self, executions: Sequence[Underway]) -> None:
        """Let others have what was stopped, if a lease holds it, without waiting for that to expire."""
        now = self._clock.now_ms()
        given_back = [
            done(self._names, each.work, NodeReleased(**each.about(now), details=each.details))
            for each in executions
            if each.leased and not each.reported
        ]
        if not given_back:
            return
        log.info("gave %d nodes back", len(given_back), extra={"action": "handback", "nodes": len(given_back)})
        try:
            async with within(_GIVE_BACK_SECONDS):
                await self._outbox.append(given_back)
        except (LogUnavailable, TimeoutError) as error:
            log.warning("their leases must expire, for that could not be told: %s", error, extra={"action": "handback"})


def _leave(execution: Underway) -> None:
    """It does not stop: nobody waits for it any more."""
    execution.slot.leave()
    execution.release()
    if not execution.left:
        execution.left = True
        tell_left(execution.work.node, execution.work.run)
