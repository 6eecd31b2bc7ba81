"""Who takes part in a pattern, by name."""

from collections.abc import Collection, Mapping
from typing import TypeVar, cast

from ..errors import InvalidGraph, InvalidInput
from .calling import check_callable

T = TypeVar("T")


def members(graph: str, what: str, given: Mapping[str, T], *, taken: Collection[str] = ()) -> Mapping[str, T]:
    """A copy of what is given. Raises `InvalidGraph` if there are none, or one has no name, or a name that is taken."""
    if not isinstance(cast("object", given), Mapping):
        kind = type(given).__name__
        raise InvalidGraph(f"graph {graph!r}: {what}= is a {kind}: give a mapping by names", graph=graph)
    if not given or not all(isinstance(cast("object", name), str) and name for name in given):
        raise InvalidGraph(f"graph {graph!r}: {what}= wants one at least, each with a name, a text", graph=graph)
    for name in given:
        if name in taken:
            raise InvalidGraph(
                f"graph {graph!r}: {what}[{name!r}] has the name of a node of the pattern itself: give it another",
                graph=graph,
            )
    return dict(given)


def speakers(graph: str, what: str, given: Mapping[str, T]) -> Mapping[str, T]:
    """The same for those that are called. Raises `InvalidGraph` also for one that cannot be."""
    known = members(graph, what, given)
    for name, one in known.items():
        check_callable(graph, **{f"{what}[{name!r}]": one})
    return known


def chosen(graph: str, known: Mapping[str, object], name: str) -> str:
    """The name, if it is one of those known. Raises `InvalidInput`: another attempt would not find it either."""
    if name not in known:
        raise InvalidInput(f"graph {graph!r} has no {name!r}: there are {', '.join(map(repr, known))}", graph=graph)
    return name
