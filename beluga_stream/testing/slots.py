"""What must hold of limits: never more slots out than they say, and each given back. Read from the log alone."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from ..application import codec
from ..domain.events import SlotGranted, SlotReturned, SlotWanted
from ..domain.ids import LimitId, RunId
from ..errors import InvalidInput
from .cluster import Cluster


class _Ticket(NamedTuple):
    limit: LimitId
    run: RunId
    node: str
    number: int


def wrong_with_slots(cluster: Cluster) -> Iterator[str]:
    """Every slot that is out for ever, or above its limit.

    A slot is out from the record that grants it to the one that returns it, the first of each: one that is told again
    is the same, or goes back at once.
    """
    most: dict[LimitId, int] = {}
    out: dict[_Ticket, int] = {}
    back: dict[_Ticket, int] = {}
    for at, event in run_events(cluster):
        match event:
            case SlotWanted() if event.limit.at_once is not None:
                most[event.key] = event.limit.at_once
            case SlotGranted():
                _first(out, _Ticket(event.limit, event.run, str(event.node), event.number), at)
            case SlotReturned():
                _first(back, _Ticket(event.key, event.run, str(event.node), event.number), at)
            case _:
                pass
    for ticket in out:
        if ticket not in back:
            yield f"{ticket} never gave its slot back"
            return
    for limit, bound in most.items():
        yield from _above(
            limit, bound, {ticket: (at, back[ticket]) for ticket, at in out.items() if ticket.limit == limit}
        )


def _above(limit: LimitId, bound: int, spans: Mapping[_Ticket, tuple[int, int]]) -> Iterator[str]:
    changes = [(start, 1) for start, end in spans.values() if start < end]
    changes += [(end, -1) for start, end in spans.values() if start < end]
    held = 0
    for at, change in sorted(changes):
        held += change
        if held > bound:
            yield f"{held} slots of limit {limit} are out at {at}, and {bound} may be"


def _first(times: dict[_Ticket, int], ticket: _Ticket, at: int) -> None:
    times[ticket] = min(at, times.get(ticket, at))


def run_events(cluster: Cluster) -> Iterator[tuple[int, Any]]:
    """What was told to runs and limits and can be read, with its time in the log."""
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(cluster.topics.run_events, partition, most=1 << 30):
            with suppress(InvalidInput):
                yield record.timestamp_ms, codec.incoming.decode(record.value)
