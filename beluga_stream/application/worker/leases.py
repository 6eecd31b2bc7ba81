"""What a worker says of the work that it has: that it holds it, holds it still, or gives it back."""

from ...domain.events import NodeReleased, NodeStarted
from ...domain.ids import Incarnation
from ...domain.payload import Payload
from ...ports.clock import Clock
from ...ports.log import Outgoing
from .. import codec
from ..messages import Heartbeat, NodeReady
from ..topics import Topics
from .attempts import done


class LeaseReports:
    """Records for the coordinator about one execution of an attempt; `worker` is the name of who has it."""

    def __init__(self, topics: Topics, clock: Clock, worker: str) -> None:
        self._topics = topics
        self._clock = clock
        self._worker = worker

    def started(self, work: NodeReady, incarnation: Incarnation, details: Payload | None) -> Outgoing:
        """From now on a lease holds the work, and no longer its delivery."""
        started = NodeStarted(
            run=work.run,
            key=work.key,
            at_ms=self._clock.now_ms(),
            node=work.node,
            attempt=work.attempt,
            incarnation=incarnation,
            generation=work.generation,
            worker=self._worker,
            details=details,
        )
        return done(self._topics, work, started)

    def heartbeat(self, work: NodeReady, incarnation: Incarnation, details: Payload | None, *, begun: bool) -> Outgoing:
        """The lease is wanted on; whether the work has begun."""
        beat = Heartbeat(
            run=work.run,
            key=work.key,
            at_ms=self._clock.now_ms(),
            node=work.node,
            attempt=work.attempt,
            incarnation=incarnation,
            details=details,
            begun=begun,
        )
        return done(self._topics, work, beat)

    def released(self, work: NodeReady, incarnation: Incarnation, details: Payload | None) -> Outgoing:
        """The lease is given up: the coordinator need not wait until it expires."""
        released = NodeReleased(
            run=work.run,
            key=work.key,
            at_ms=self._clock.now_ms(),
            node=work.node,
            attempt=work.attempt,
            incarnation=incarnation,
            details=details,
        )
        return done(self._topics, work, released)

    def again(self, work: NodeReady, topic: str) -> Outgoing:
        """The work itself once more, as the same attempt: it has not begun, and anybody may begin it."""
        key, partition = self._topics.place(work.key)
        return Outgoing(topic, key, codec.node_ready.encode(work), (), partition)
