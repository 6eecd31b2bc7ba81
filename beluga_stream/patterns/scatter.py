"""Scatter and gather: all agents get the same input at once, and one makes the result of what they say."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, Unpack

from ..api.graph import Graph
from ..api.ranges import is_whole
from ..api.retry import Seconds
from ..api.stream import Outcome
from ..api.work import Work
from ..errors import InvalidGraph, InvalidState
from .calling import call, check_callable
from .members import members
from .options import TurnOptions, options_for

A = TypeVar("A")
C = TypeVar("C")

_DONE, _GATHER = "done", "gather"


def scatter_gather(
    name: str,
    agents: Mapping[str, Callable[[A], Any] | Work[A, Any]],
    gather: Callable[[dict[str, Any]], Awaitable[C] | C],
    *,
    at_least: int | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[A, C]:
    """A graph from an input to what `gather` makes of the agents' answers, by their names.

    Agents are handlers, graphs or chains. All have to answer, or `at_least` so many of them: `gather` then gets what
    there is, once all have ended. `options` say how handlers among them are run; the nodes of graphs and chains have
    options of their own. Raises `InvalidGraph` without agents, and for an `at_least` beyond their number.
    """
    check_callable(name, gather=gather)
    known = members(name, "agents", agents, taken=(_DONE, _GATHER))
    least = len(known) if at_least is None else at_least
    if not (is_whole(least) and 1 <= least <= len(known)):
        raise InvalidGraph(f"graph {name!r}: at_least={at_least!r}: give 1 to {len(known)}", graph=name)

    async def gathered(outcomes: list[Outcome[Any]]) -> Any:
        ended = dict(zip(known, outcomes, strict=True))
        found = {one: outcome.value for one, outcome in ended.items() if outcome.status == "succeeded"}
        if len(found) < least:
            why = "; ".join(f"{one}: {ended[one].message}" for one in known if one not in found)
            # What they said does not change by asking again here: their own retries are over.
            raise InvalidState(f"{len(found)} of {len(known)} agents answered, {least} are needed ({why})", graph=name)
        return await call(gather, found)

    graph: Graph[Any, Any] = Graph(name, timeout=run_timeout)  # its types are its handlers'
    refs = [graph.add_node(one, handler, **options_for(handler, options)) for one, handler in known.items()]
    for ref in refs:
        graph.set_entry_point(ref)
    graph.set_finish_point(graph.add_node(gathered, graph.all_done(*refs, name=_DONE), name=_GATHER, **options))
    return graph
