"""Asks from time to time how runs stand that others wait for, and that nobody has heard of for long.

A durable run tells its own end. One that was terminated by hand, or timed out where it is hosted, cannot: whoever hosts
it is asked, at first soon and then by its age ever more seldom, and tells the end in its place.

A child of the coordinators' own tells its end, too; but the log may have lost it, or the child's start or retry:
retention has removed what nobody read for so long, or an operator has. So they are sent again, which changes nothing
for a child that goes on, and lets one that has ended say so once more.
"""

from ...domain.commands import RetryChild, StartChild
from ...domain.events import Parent, RetryRequested, RunRequested
from ...domain.frozen import replace
from ...domain.ids import NodeKey, RunId, attempt_key
from ...domain.plan import Plan
from ...domain.state import RunState
from ...domain.waiting import Waiting
from ...ports.log import Outgoing
from .. import codec
from ..messages import LookAfter
from ..topics import Topics
from .children import retry_child, start_child

_CHILDREN_MOST = 200
"""Most children that are asked after in one round; the oldest come first."""

_PART_OF_AGE = 8
_MOST_SELDOM_MS = 600_000


class Lookout:
    """Remembers when it last asked about each run. Not before `after_ms`; before `child_ms` if it is not durable."""

    def __init__(self, topics: Topics, after_ms: int, child_ms: int | None = None) -> None:
        self._topics = topics
        self._after_ms = after_ms
        self._child_ms = child_ms
        self._children = 0
        self._asked: dict[tuple[RunId, NodeKey], tuple[int, int]] = {}
        self._seen: set[tuple[RunId, NodeKey]] = set()

    def look_after(self, number: int, state: RunState, waiting: Waiting, now: int) -> Outgoing | None:
        """The question about a durable run that is waited for, when it is due."""
        if waiting.on != "workflow" or waiting.node is None or not self._is_due(state, waiting, now, self._after_ms):
            return None
        node = state.nodes[waiting.node]
        assert node.child is not None, "or it would not be waited for"
        question = LookAfter(
            run=node.child,
            key=state.key,
            at_ms=now,
            parent=Parent(state.run, state.key, waiting.node),
            counter=node.total,
        )
        value = codec.workflow_requests.encode(question)
        return Outgoing(self._topics.workflow_requests, state.key.encode(), value, partition=number)

    def ask_child(self, plan: Plan, state: RunState, waiting: Waiting, now: int) -> list[Outgoing]:
        """The start of a child that is waited for, and its retry if there was one, once more, when they are due."""
        key = waiting.node
        if waiting.on != "child" or key is None or self._child_ms is None or self._children >= _CHILDREN_MOST:
            return []
        if not self._is_due(state, waiting, now, self._child_ms):
            return []
        self._children += 1
        node = state.nodes[key]
        assert node.child is not None, "or it would not be waited for"
        start = start_child(plan, state, StartChild(key, node.child), now)
        events: list[RunRequested | RetryRequested] = [replace(start, again=True)]
        if node.total:  # it has failed before, and was told to go on
            events.insert(0, retry_child(state, RetryChild(key, node.child, attempt_key(key, node.attempt)), now))
        found: list[Outgoing] = []
        for event in events:
            encoded, partition = self._topics.place(event.key)
            value = codec.incoming.encode(event)
            found.append(Outgoing(self._topics.run_events, encoded, value, partition=partition))
        return found

    def _is_due(self, state: RunState, waiting: Waiting, now: int, after_ms: int) -> bool:
        """Whether it is time to ask (again) about what this node waits for; then that is remembered."""
        assert waiting.node is not None, "it is a node that waits"
        attempt = state.nodes[waiting.node].attempt
        place = (state.run, waiting.node)
        self._seen.add(place)
        before, asked = self._asked.get(place, (attempt, waiting.since_ms))
        if before != attempt:
            asked = waiting.since_ms
        if now - asked < max(after_ms, min((now - waiting.since_ms) // _PART_OF_AGE, _MOST_SELDOM_MS)):
            return False
        self._asked[place] = (attempt, now)
        return True

    def conclude(self) -> None:
        """A round is over: forget what it has not met: it is over, or another's now."""
        for place in self._asked.keys() - self._seen:
            del self._asked[place]
        self._seen.clear()
        self._children = 0
