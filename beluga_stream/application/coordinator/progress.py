"""What readers are told of a run: the statuses of several events in as few records as can be."""

from ...domain.state import RUN_ENDED, RunState
from ..messages import NodeChange, Progress, RunChange


class Telling:
    """Collects the statuses of one run in the order of their counters.

    In one record a run begins before its nodes change and ends after them (see `RunReader`); what came in
    another order goes into a record of its own.
    """

    def __init__(self, state: RunState, at_ms: int) -> None:
        self._state = state
        self._at_ms = at_ms
        self._nodes: list[NodeChange] = []
        self._status: RunChange | None = None
        self._told: list[Progress] = []

    def node(self, change: NodeChange) -> None:
        if self._status is not None and self._status.status in RUN_ENDED:
            self._close()
        self._nodes.append(change)

    def run(self, change: RunChange) -> None:
        if self._status is not None or (self._nodes and change.status not in RUN_ENDED):
            self._close()
        self._status = change

    def told(self) -> list[Progress]:
        """The records, in order."""
        if self._nodes or self._status is not None:
            self._close()
        return self._told

    def _close(self) -> None:
        state = self._state
        self._told.append(
            Progress(
                run=state.run,
                graph=state.graph,
                at_ms=self._at_ms,
                nodes=tuple(self._nodes),
                status=self._status,
                tags=state.tags,
            )
        )
        self._nodes = []
        self._status = None
