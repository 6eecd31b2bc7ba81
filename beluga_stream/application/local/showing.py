"""What somebody who follows a run in this process is shown: statuses and chunks, and which of the chunks are void."""

from collections.abc import Sequence

from ...domain.commands import PublishNode, PublishRun
from ...domain.ids import RunId
from ...domain.state import NodeStatus, RunState
from ..clients.results import Chunk, Event, NodeChanged, RunChanged, Superseded
from .family import Shown


class Showing:
    """Makes events of what the shell of the run `root` hears, as `RunReader` makes them of records."""

    def __init__(self, root: RunId) -> None:
        self._root = root
        self._streamed: dict[str, str] = {}
        """For each node of which chunks were shown, the incarnation that they are of."""

    def chunk(self, chunk: Chunk) -> Sequence[Event]:
        """What another execution has streamed is void, unless this one goes on after it."""
        before = self._streamed.get(chunk.node, chunk.incarnation)
        self._streamed[chunk.node] = chunk.incarnation
        if before == chunk.incarnation or chunk.seq > 0:
            return (chunk,)
        return _superseded(chunk.node, chunk.attempt, chunk.incarnation), chunk

    def status(self, shown: Shown) -> Sequence[Event]:
        """Of a run that this one has started nothing is shown."""
        state, command = shown
        if state.run != self._root:
            return ()
        if isinstance(command, PublishNode):
            return self._node(state, command)
        if isinstance(command, PublishRun):
            return (RunChanged(cursor="", status=command.status, output=state.output, failure=state.failure),)
        return ()

    def _node(self, state: RunState, command: PublishNode) -> Sequence[Event]:
        node = state.nodes[command.node]
        has_succeeded = command.status == NodeStatus.SUCCEEDED
        changed = NodeChanged(
            cursor="",
            node=command.node,
            status=command.status,
            attempt=command.attempt,
            output=node.output if has_succeeded else None,
            failure=node.failure,
        )
        if has_succeeded and node.chunks == 0 and command.node in self._streamed:
            return _superseded(command.node, command.attempt, node.incarnation or ""), changed
        return (changed,)


def _superseded(node: str, attempt: int, incarnation: str) -> Superseded:
    return Superseded(cursor="", node=node, attempt=attempt, incarnation=incarnation)
