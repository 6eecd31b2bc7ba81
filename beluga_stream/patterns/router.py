"""Router: one agent looks at the input and says which of the others takes it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, Unpack

from pydantic import create_model

from ..api.graph import Graph
from ..api.ref import Ref
from ..api.retry import Seconds
from ..api.signature import signature_of
from ..api.work import Work
from ..errors import InvalidGraph
from .calling import ask, check_callable
from .members import chosen, members
from .options import TurnOptions, options_for
from .transcript import Value

A = TypeVar("A")

_ROUTE, _RESULT = "route", "result"


class Routed(Value):
    """An input and where it goes."""

    route: str


def router(
    name: str,
    choose: Callable[[A], Awaitable[str] | str],
    routes: Mapping[str, Callable[[A], Any] | Work[A, Any]],
    *,
    otherwise: str | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[A, Any]:
    """A graph from an input to what the route chosen for it gives.

    `choose` names one of the `routes`, which are handlers, graphs or chains; a name that is none of them means
    `otherwise`, or without it fails the run, without a retry. Nothing else runs. `options` say how handlers among
    them are run; the nodes of graphs and chains have options of their own.

    Raises `InvalidGraph` without routes, for a route with the name of a node of the router's own, and for a `choose`
    that does not take the input; `InvalidInput` when `otherwise` is none of the routes.
    """
    known = members(name, "routes", routes, taken=(_ROUTE, _RESULT, *map(_way_to, routes or ())))
    if otherwise is not None:
        chosen(name, known, otherwise)
    check_callable(name, choose=choose)
    arguments = signature_of(choose, name, _ROUTE).arguments
    if not arguments or any(not one.has_default for one in arguments[1:]):
        raise InvalidGraph(f"graph {name!r}: choose= must take one parameter, the input", graph=name)
    kind = arguments[0].kind
    routed: Any = create_model("Routed", __base__=Routed, value=(kind, ...))

    async def route(value: Any) -> Any:
        found = await ask(name, "choose", choose, value, str)
        if found not in known and otherwise is not None:
            found = otherwise
        return routed(route=chosen(name, known, found), value=value)

    def take(routed: Any) -> Any:
        return routed.value

    route.__annotations__ = {"value": kind, "return": routed}
    take.__annotations__ = {"routed": routed, "return": kind}
    graph: Graph[Any, Any] = Graph(name, timeout=run_timeout)  # its types are its handlers'
    way: Ref[Any] = graph.add_node(route, graph.input, name=_ROUTE, **options)
    ends: list[Ref[Any]] = []
    *asked, last = known
    for one, handler in known.items():
        # Whoever stands last needs no condition of its own: `route` names no other than those known.
        taken = way.when(_is(one)) if one != last else way.otherwise() if asked else way
        graph.add_node(_way_to(one), take, **options)
        graph.add_edge(taken, _way_to(one))
        ends.append(graph.add_node(one, handler, **options_for(handler, options)))
        graph.add_edge(_way_to(one), one)
    graph.set_finish_point(graph.first(*ends, name=_RESULT))
    return graph


def _way_to(name: object) -> str:
    return f"to_{name}"


def _is(name: str) -> Callable[[Any], bool]:
    return lambda routed: routed.route == name
