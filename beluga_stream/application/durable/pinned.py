"""The definitions that a durable run is pinned to: its graph's and those of every subgraph."""

from collections.abc import Callable

from ...domain.definition import Definition
from ...domain.events import RunRequested
from ...domain.ids import GraphHash
from ...errors import CodeMissing, InvalidGraph

Find = Callable[[GraphHash], Definition | None]
"""The definition of this hash, from the deployment or the catalog."""


def closure(request: RunRequested, find: Find) -> tuple[Definition, ...]:
    """The definition that the run is pinned to, and those of its subgraphs. Raises `CodeMissing`."""
    found: dict[GraphHash, Definition] = {}
    wanted = [request.definition]
    while wanted:
        pinned = wanted.pop()
        if pinned is None or pinned in found:
            continue
        definition = find(pinned)
        if definition is None:
            raise CodeMissing(f"no deployment here has {request.graph}@{pinned}: deploy it", run=request.run)
        if definition.limits or any(node.limits for node in definition.nodes):
            raise InvalidGraph(
                f"graph {definition.name!r} has limits, which durable runs do not keep: they are the coordinator's",
                graph=definition.name,
            )
        found[pinned] = definition
        wanted.extend(node.child for node in definition.nodes if node.child is not None)
    if not found:
        raise CodeMissing(f"the start of {request.graph} names no definition", run=request.run)
    return tuple(found.values())
