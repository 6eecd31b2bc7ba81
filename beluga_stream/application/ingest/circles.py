"""Graphs that start one another by their ends, round and round: nothing ends that but a condition."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

from ...ports.handlers import Trigger

log = logging.getLogger("beluga_stream.ingest")


def circles_of(triggers: Iterable[Trigger]) -> list[list[str]]:
    """The names of graphs each of whose ends starts the others again. A trigger with `where` may end the circle."""
    starts: dict[str, set[str]] = defaultdict(set)
    for trigger in triggers:
        if trigger.kind == "run_finished" and trigger.where is None:
            starts[trigger.topic].add(trigger.graph)
    started = {graph: _started_by(graph, starts) for graph in starts}
    circles = {
        frozenset(other for other in started[graph] if graph in started.get(other, ()))
        for graph in started
        if graph in started[graph]
    }
    return sorted(sorted(names) for names in circles)


def tell_of_circles(triggers: Iterable[Trigger]) -> None:
    """Somebody may want runs for ever: it is told, and not refused."""
    for names in circles_of(triggers):
        log.warning(
            "graphs that start one another by `on_run`, for ever: %s; give one of these triggers a `where`",
            ", ".join(names),
            extra={"action": "trigger_circle", "graphs": names},
        )


def _started_by(graph: str, starts: Mapping[str, set[str]]) -> set[str]:
    """What a run of the graph leads to, directly or not."""
    found: set[str] = set()
    next_ones = [graph]
    while next_ones:
        new = starts.get(next_ones.pop(), set()) - found
        found |= new
        next_ones.extend(new)
    return found
