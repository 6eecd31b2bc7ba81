"""A run's stream with what its durable children show in it: they have records of their own beside the run's.

Those of a graph that was started on its own are shown as the run's: who started it knows of no cover. What a durable
child shows of its node `n` is, in the stream of a run whose node `m` started it, of the node `m/n`.

A run may end before its durable children, which it then cancels: what goes on in them is shown as cancelled before its
own end, since nobody reads on after that.
"""

from collections.abc import Iterator
from dataclasses import replace

from ...domain.cover import WORKFLOW
from ...domain.ids import NodeKey, RunId, is_page
from ...domain.state import NODE_ENDED, NodeStatus
from ..messages import ChunkEmitted, Progress, Rejected, RunChange
from .results import Chunk, Event, NodeChanged, Refill, RunChanged, RunReader, Superseded


class RunStream:
    """Folds the records of a run and of its durable children; as `RunReader` it is pure."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        self._own = RunReader()
        self._inner: dict[RunId, RunReader] = {}
        self._streamed: dict[NodeKey, dict[str, RunId]] = {}
        """For each node that starts durable runs, which of them the chunks of its nodes came from last."""
        self._going_on: dict[str, NodeChanged] = {}
        """The nodes of durable children that have begun and not ended, as they were shown last."""

    @property
    def digest(self) -> str | None:
        """Of the input that the run was started with, where that is known."""
        return self._own.digest

    @property
    def ended(self) -> bool:
        return self._own.ended

    @property
    def final(self) -> bool:
        """Whether it has ended for good."""
        return self._own.final

    def read(self, record: Progress | ChunkEmitted | Rejected, cursor: str) -> Iterator[Event]:
        """The events that a record means; none for one of another run."""
        if record.run == self.run:
            if isinstance(record, Progress) and self._begins_anew(record.status):
                self._own = RunReader()
            for event in self._own.read(record, cursor):
                if isinstance(event, RunChanged) and event.ended:
                    yield from self._cancelled(cursor)
                if not (isinstance(event, NodeChanged) and event.node == WORKFLOW):
                    yield event
            return
        key = self._starter(record.run)
        if key is None or isinstance(record, Rejected) or self.ended:
            return
        reader = self._inner.setdefault(record.run, RunReader())
        for event in reader.read(record, cursor):
            for shown in self._shown(key, record.run, event):
                if isinstance(shown, NodeChanged):
                    self._note(shown)
                yield shown

    def _begins_anew(self, status: RunChange | None) -> bool:
        """Whether the run had been forgotten, and begins again under its id with another input."""
        if status is None or status.counter != 1:
            return False
        return None not in (status.digest, self.digest) and status.digest != self.digest

    def _note(self, shown: NodeChanged) -> None:
        if shown.status in NODE_ENDED or shown.status == NodeStatus.PENDING:
            self._going_on.pop(shown.node, None)
        else:
            self._going_on[shown.node] = shown

    def _cancelled(self, cursor: str) -> Iterator[Event]:
        for shown in self._going_on.values():
            yield NodeChanged(cursor=cursor, node=shown.node, status=NodeStatus.CANCELLED, attempt=shown.attempt)
        self._going_on.clear()

    def _starter(self, run: RunId) -> NodeKey | None:
        """The node that has started this durable run; None when it is no child of this run's."""
        parent, _, rest = run.rpartition(".")
        key = NodeKey(rest.partition("/")[0])
        return key if parent == self.run and not is_page(key) else None

    def _shown(self, key: NodeKey, child: RunId, event: Event) -> Iterator[Event]:
        """An event of a child, as one of this run. How the child itself stands is told by the node that started it."""
        if not isinstance(event, Chunk | Superseded | NodeChanged | Refill):
            return
        event = event if key == WORKFLOW else replace(event, node=f"{key}/{event.node}")
        if isinstance(event, Chunk | Refill):
            streamed = self._streamed.setdefault(key, {})
            if streamed.setdefault(event.node, child) != child:
                yield Superseded(
                    cursor=event.cursor, node=event.node, attempt=event.attempt, incarnation=event.incarnation
                )
            streamed[event.node] = child
        yield event
