"""The leases of one owned partition: which workers hold the attempts that run, and who has fallen silent.

They live here and nowhere else: whoever takes the partition over makes them of the runs' states.
"""

from dataclasses import dataclass
from itertools import islice

from ...domain.ids import Incarnation, NodeKey, RunId
from ...domain.payload import Payload
from ...domain.state import NodeStatus, RunState
from ..messages import Heartbeat


@dataclass(slots=True)
class Lease:
    """A worker's hold of a running attempt, with the last `details` told."""

    attempt: int
    incarnation: Incarnation
    heard_ms: int
    details: Payload | None = None
    silent: bool = False
    """Whether its expiry is under way; a heartbeat that was waiting unread takes it back."""
    begun: bool = True
    """Whether its worker runs it, or is not known only to wait for a slot."""


class Leases:
    """See the module. `held` has them by run and node."""

    def __init__(self) -> None:
        self.held: dict[tuple[RunId, NodeKey], Lease] = {}

    def follow(self, state: RunState, key: NodeKey, now_ms: int) -> None:
        """The node has the status that the state says: as long as it runs there is a lease, which counts as heard."""
        node = state.nodes.get(key)
        if node is None or node.status is not NodeStatus.RUNNING:
            self.held.pop((state.run, key), None)
            return
        before = self.held.get((state.run, key))
        told = before.details if before is not None and before.attempt == node.attempt else None
        self.held[state.run, key] = Lease(node.attempt, node.incarnation or Incarnation(""), now_ms, told)

    def drop(self, run: RunId) -> None:
        """Nothing of the run is held any more."""
        for place in [place for place in self.held if place[0] == run]:
            del self.held[place]

    def beat(self, beat: Heartbeat, now_ms: int) -> None:
        """A worker says that it still holds the attempt."""
        lease = self.held.get((beat.run, beat.node))
        if lease is not None and lease.attempt == beat.attempt:
            lease.heard_ms = now_ms
            lease.silent = False
            if lease.incarnation == beat.incarnation:  # a redelivery may wait elsewhere
                lease.begun = beat.begun
            lease.details = beat.details or lease.details

    def forgive(self, now_ms: int) -> None:
        """Take it that every worker was heard of just now."""
        for lease in self.held.values():
            lease.heard_ms = now_ms
            lease.silent = False

    def fall_silent(self, now_ms: int, lease_ms: int, most: int) -> list[tuple[RunId, NodeKey, Lease]]:
        """Of those whose workers have not been heard of for so long some: they are silent from now on."""
        unheard = (place for place, lease in self.held.items() if lease.heard_ms < now_ms - lease_ms)
        found = [(*place, self.held[place]) for place in islice(unheard, most)]
        for _, _, lease in found:
            lease.heard_ms = now_ms
            lease.silent = True
        return found

    def is_silent(self, run: RunId, node: NodeKey, lease: Lease) -> bool:
        """Whether this very lease still stands and has not been heard of since it fell silent."""
        return lease.silent and self.held.get((run, node)) is lease
