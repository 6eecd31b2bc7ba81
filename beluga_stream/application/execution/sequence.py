"""One stream's chunks out of the records of its run: which count, in what order, and when there are no more.

Pure: whoever reads the log drives it. All who read the same log come to the same chunks, because what counts is told
by the order of its records. The stream's first chunk names its first incarnation. Of a stream that is resumed, a chunk
of an earlier attempt is void once the log shows the next attempt. Only the execution that holds the next attempt by a
lease may then add to the stream: it has read the log up to there, numbers its chunks on from the last one that counts,
and names the incarnation that it goes on after.
"""

from ...domain.events import Source
from ...domain.ids import Incarnation, RunId
from ...domain.payload import Payload
from ...domain.state import NODE_ENDED, RUN_ENDED, NodeStatus
from ...errors import StreamBroken
from ..messages import ChunkEmitted, NodeChange, Progress, Result

_OVER = NODE_ENDED - {NodeStatus.SUCCEEDED}


class ChunkSequence:
    """Folds the records of a run, from a stream's first chunk on.

    `count` chunks have counted so far, the last of them by `incarnation`; `shown` is the latest attempt that the log
    has told of, `holder` the execution that holds it by a lease, and `over` that there are no more.
    """

    def __init__(self, run: RunId, source: Source) -> None:
        self._run = run
        self._source = source
        self._counter = source.counter
        self._attempt = 0
        self.incarnation: Incarnation | None = None
        self.count = 0
        self.shown = 0
        self.holder: Incarnation | None = None
        self.over = False

    def read(self, record: Result) -> Payload | None:
        """The chunk that the record adds. Raises `StreamBroken` when what came before is void, or no more can come."""
        if record.run != self._run:
            return None
        if isinstance(record, ChunkEmitted):
            return self._chunk(record) if record.node == self._source.node else None
        if isinstance(record, Progress):
            for change in record.nodes:
                if change.node == self._source.node and change.counter > self._counter:
                    self._counter = change.counter
                    self._change(change)
            status = record.status
            if status is not None and status.counter > self._source.counter and not self.over:
                self._check_run(status.status)
        return None

    def _chunk(self, chunk: ChunkEmitted) -> Payload | None:
        if self.incarnation is None:
            self.incarnation, self._attempt = chunk.incarnation, chunk.attempt
        elif chunk.incarnation != self.incarnation:
            goes_on = chunk.resumes == self.incarnation and chunk.attempt > self._attempt
            if not (self._source.resume and goes_on and chunk.seq == self.count and chunk.attempt >= self.shown):
                return None
            self.incarnation, self._attempt = chunk.incarnation, chunk.attempt
        if chunk.seq != self.count or chunk.attempt < self.shown:
            return None
        self.count += 1
        return chunk.value

    def _change(self, change: NodeChange) -> None:
        if change.attempt > self.shown:
            self.shown, self.holder = change.attempt, None
        if change.status == NodeStatus.RUNNING and change.attempt == self.shown:
            self.holder = change.incarnation or self.holder
        node = self._source.node
        if change.status == NodeStatus.SUCCEEDED:
            last = change.stream or change.incarnation
            if (last, change.chunks) != (self.incarnation, self.count):
                raise StreamBroken(f"{node} succeeded in another execution: its stream begins again", node=node)
            self.over = True
        elif change.status in _OVER:
            why = "" if change.failure is None else f": {change.failure.message}"
            raise StreamBroken(f"{node}, which writes this stream, has {change.status}{why}", node=node)
        elif change.status == NodeStatus.PENDING or (self._attempt < change.attempt and not self._source.resume):
            raise StreamBroken(f"{node} runs again: its stream begins again", node=node)

    def _check_run(self, status: str) -> None:
        if status in RUN_ENDED or status == "compensating":
            raise StreamBroken(f"the run is {status}: the stream of {self._source.node} ends", node=self._source.node)
