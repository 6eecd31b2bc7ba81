"""Asks from time to time how durable runs stand that nobody has heard of for long.

Such a run tells its own end. One that was terminated by hand, or timed out where it is hosted, cannot: whoever hosts
it is asked, at first soon and then by its age ever more seldom, and tells the end in its place.
"""

from ..domain.events import Parent
from ..domain.ids import NodeKey, RunId
from ..domain.state import RunState
from ..domain.waiting import Waiting
from ..ports.log import Outgoing
from . import codec
from .messages import LookAfter
from .topics import Topics

_PART_OF_AGE = 8
_MOST_SELDOM_MS = 600_000


class Lookout:
    """Remembers when it last asked about each durable run. `after_ms`: how soon at the soonest."""

    def __init__(self, topics: Topics, after_ms: int) -> None:
        self._topics = topics
        self._after_ms = after_ms
        self._asked: dict[tuple[RunId, NodeKey], tuple[int, int]] = {}
        self._seen: set[tuple[RunId, NodeKey]] = set()

    def look_after(self, number: int, state: RunState, waiting: Waiting, now: int) -> Outgoing | None:
        """The question about what a run waits for, when it is due."""
        if waiting.on != "workflow" or waiting.node is None:
            return None
        node = state.nodes[waiting.node]
        place = (state.run, waiting.node)
        self._seen.add(place)
        attempt, asked = self._asked.get(place, (node.attempt, waiting.since_ms))
        if attempt != node.attempt:
            asked = waiting.since_ms
        pause = max(self._after_ms, min((now - waiting.since_ms) // _PART_OF_AGE, _MOST_SELDOM_MS))
        if node.child is None or now - asked < pause:
            return None
        self._asked[place] = (node.attempt, now)
        question = LookAfter(
            run=node.child,
            key=state.key,
            at_ms=now,
            parent=Parent(state.run, state.key, waiting.node),
            counter=node.total,
        )
        value = codec.workflow_requests.encode(question)
        return Outgoing(self._topics.workflow_requests, state.key.encode(), value, partition=number)

    def conclude(self) -> None:
        """A round is over: forget what it has not met: it is over, or another's now."""
        for place in self._asked.keys() - self._seen:
            del self._asked[place]
        self._seen.clear()
