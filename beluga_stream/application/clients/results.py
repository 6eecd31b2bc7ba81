"""A run's stream as readers see it: events with cursors, without repeats, superseded chunks marked.

One `RunReader` turns the records of one run into events. It is pure; whoever reads the log drives it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...domain.events import Failure
from ...domain.ids import NodeKey
from ...domain.payload import Payload
from ...domain.state import RUN_ENDED, RunStatus
from ..messages import ChunkEmitted, NodeChange, Progress, Rejected, RunChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something in a run's stream. `cursor` resumes the stream after it.

    `at_ms` is when it happened, by the clock of the process that said so (0: not known, in local runs).
    """

    cursor: str
    at_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk(Event):
    """A chunk of a streaming node, as it was produced. `value` is JSON, or of the node's type in typed reads."""

    node: str
    attempt: int
    incarnation: str
    seq: int
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded(Event):
    """The node's earlier chunks are void: another incarnation streams, and starts again."""

    node: str
    attempt: int
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChanged(Event):
    """A node has a new status. `output` is there when it succeeded, `failure` when it failed or will be retried."""

    node: str
    status: str
    attempt: int
    output: Payload | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill(Event):
    """For the driver: the winning incarnation's chunks were not shown in full; `output` holds them all."""

    node: str
    attempt: int
    incarnation: str
    output: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChanged(Event):
    """The run has a new status; the last one of a stream has ended.

    `digest` is that of the input that it was started with, where that is known.
    """

    status: str
    output: Payload | None = None
    failure: Failure | None = None
    digest: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in RUN_ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRejected(Event):
    """A start under this run's id was refused."""

    code: str
    message: str
    digest: str


class RunReader:
    """Folds the records of one run: drops repeated statuses and chunks, and what follows a node's or the run's end."""

    def __init__(self) -> None:
        self.digest: str | None = None
        """Of the input that the run was started with, where that is known."""
        self._counter = 0
        self._live: dict[NodeKey, tuple[int, str, int]] = {}
        """For each streaming node: attempt, incarnation, next seq."""
        self._ended: set[NodeKey] = set()
        self._shown: dict[NodeKey, int] = {}
        """For each node, the latest attempt that was told of: what earlier ones still emit is void."""
        self.ended = False
        self.final = False
        """Whether it has ended for good: only a run that failed and undid nothing may go on."""
        self._undone = False

    def read(self, record: Progress | ChunkEmitted | Rejected, cursor: str) -> Iterator[Event]:
        """The events that a record means to a reader who has seen all before it."""
        match record:
            case ChunkEmitted():
                yield from self._chunk(record, cursor)
            case Progress():
                status = record.status
                if status is None:
                    for change in record.nodes:
                        yield from self._node(change, cursor)
                else:
                    # In the order in which they happened: a run that starts to compensate has a failed node
                    # before that, and compensations after it.
                    for change in record.nodes:
                        if change.counter < status.counter:
                            yield from self._node(change, cursor)
                    yield from self._run(status, cursor)
                    for change in record.nodes:
                        if change.counter > status.counter:
                            yield from self._node(change, cursor)
            case Rejected():
                yield StartRejected(cursor=cursor, code=record.code, message=record.message, digest=record.digest)

    def _chunk(self, chunk: ChunkEmitted, cursor: str) -> Iterator[Event]:
        if self.ended or chunk.node in self._ended or chunk.attempt < self._shown.get(chunk.node, 0):
            return
        live = self._live.get(chunk.node)
        attempt, incarnation, seq = live or (chunk.attempt, chunk.incarnation, 0)
        if incarnation != chunk.incarnation and (chunk.resumes, chunk.seq) == (incarnation, seq):
            attempt, incarnation = chunk.attempt, chunk.incarnation
        elif incarnation != chunk.incarnation:
            if chunk.seq != 0 or chunk.attempt < attempt:
                return
            yield Superseded(cursor=cursor, node=chunk.node, attempt=chunk.attempt, incarnation=chunk.incarnation)
            attempt, incarnation, seq = chunk.attempt, chunk.incarnation, 0
        if chunk.seq != seq:
            return
        self._live[chunk.node] = (attempt, incarnation, seq + 1)
        yield Chunk(
            cursor=cursor,
            node=chunk.node,
            attempt=attempt,
            incarnation=incarnation,
            seq=seq,
            value=chunk.value,
        )

    def _run(self, change: RunChange | None, cursor: str) -> Iterator[Event]:
        """A run begins before its nodes' changes of the same record, and ends after them."""
        if change is None or change.counter <= self._counter:
            return
        self._counter = change.counter
        self.digest = change.digest or self.digest
        self.ended = change.status in RUN_ENDED
        self._undone = change.status == RunStatus.COMPENSATING or (self._undone and self.ended)
        self.final = self.ended and (change.status != RunStatus.FAILED or self._undone)
        yield RunChanged(
            cursor=cursor, status=change.status, output=change.output, failure=change.failure, digest=change.digest
        )

    def _node(self, change: NodeChange, cursor: str) -> Iterator[Event]:
        if change.counter <= self._counter:
            return
        self._counter = change.counter
        self._shown[change.node] = change.attempt
        if change.status in ("succeeded", "failed", "skipped", "cancelled"):
            if change.status == "succeeded" and change.chunks is not None:
                yield from self._settle(change, cursor)
            self._ended.add(change.node)
        else:
            self._ended.discard(change.node)
        yield NodeChanged(
            cursor=cursor,
            node=change.node,
            status=change.status,
            attempt=change.attempt,
            output=change.output,
            failure=change.failure,
        )

    def _settle(self, change: NodeChange, cursor: str) -> Iterator[Event]:
        """The winner is known: unless it is what was shown, say so and show its chunks from its output."""
        won = change.stream or change.incarnation or ""
        _, shown, seq = self._live.get(change.node, (0, won, 0))
        if (shown, seq) == (won, change.chunks) or change.output is None:
            return
        if seq > 0:
            yield Superseded(cursor=cursor, node=change.node, attempt=change.attempt, incarnation=won)
        yield Refill(cursor=cursor, node=change.node, attempt=change.attempt, incarnation=won, output=change.output)
