"""Which nodes can be skipped, and whether a parameter or a finish may then be left without its value.

Every combination of branches (and of failures that do not fail the run) is a *world*; each is
played through the graph by the rules of `domain.flow`. Of more than `MOST_WORLDS` a sample is played,
always the same one; what was not played is taken to be well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from math import prod
from random import Random
from typing import Any, get_origin

from ..domain.definition import Edge, EdgeMode, Join, Node
from ..domain.ids import INPUT, NodeName
from ..domain.plan import Plan
from ..errors import InvalidGraph
from .condition import Condition
from .fit import members

MOST_WORLDS = 256
_FEWEST_WORLDS = 32
_MOST_STEPS = 50_000  # nodes played, over all worlds: a large graph is not to take seconds to check
_MOST_FREE = 4

World = Mapping[NodeName, frozenset[int] | None]
"""What each branching node takes; None: it fails, and the run goes on."""


def worlds_of(conditions: Sequence[Condition], kind: Any) -> tuple[frozenset[int], ...]:
    """Which of a node's conditions can hold together, for an output of this type."""
    found: dict[frozenset[int], None] = {}
    rest = [index for index, condition in enumerate(conditions) if condition.otherwise]
    for kinds in _kinds_together(conditions, kind):
        open_ = [i for i, one in enumerate(conditions) if not one.otherwise and set(one.kinds) <= kinds]
        sure = [index for index in open_ if not conditions[index].predicates]
        for some in _subsets([index for index in open_ if index not in sure]):
            found[frozenset((*sure, *some)) or frozenset(rest)] = None
    return tuple(found)


def check_liveness(
    plan: Plan,
    branching: Mapping[NodeName, tuple[frozenset[int], ...]],
    conditions: Mapping[NodeName, Sequence[Condition]],
    required: Mapping[NodeName, frozenset[str]],
) -> None:
    """Play every world. `required` are the parameters that must not be left without a value.

    Raises `InvalidGraph` for a parameter that may be left out or be given two values, and for a
    finish that may not be reached.
    """
    choices: dict[NodeName, list[frozenset[int] | None]] = {
        name: list(branching.get(name, (frozenset(),)))
        for name in plan.order
        if name in branching or name in plan.forgiving
    }
    for name in plan.forgiving:
        choices[name].append(None)
    most = max(_FEWEST_WORLDS, min(MOST_WORLDS, _MOST_STEPS // len(plan.order)))
    for world in _worlds(choices, most):
        _check_world(_Played(plan, world), conditions, required)


def _worlds(choices: Mapping[NodeName, Sequence[frozenset[int] | None]], most: int) -> Iterator[World]:
    if prod(map(len, choices.values())) <= most:
        for picked in product(*choices.values()):
            yield dict(zip(choices, picked, strict=True))
        return
    sample = Random(0)  # noqa: S311 - the same worlds for the same graph
    for _ in range(most):
        yield {name: sample.choice(options) for name, options in choices.items()}


@dataclass(slots=True)
class _Played:
    """One world, played through."""

    plan: Plan
    world: World
    alive: frozenset[NodeName] = frozenset()

    def __post_init__(self) -> None:
        alive: set[NodeName] = set()
        self.alive = frozenset()
        for name in self.plan.order:
            edges = self.plan.incoming[name]
            counted = [edge for edge in edges if edge.mode is not EdgeMode.ORDER] or edges
            taken = sum(self._is_taken(edge, alive) for edge in counted)
            if taken >= _needed(self.plan.nodes[name]):
                alive.add(name)
        self.alive = frozenset(alive)

    def is_taken(self, edge: Edge) -> bool:
        return self._is_taken(edge, self.alive)

    def succeeds(self, name: NodeName) -> bool:
        return name in self.alive and self.world.get(name, frozenset()) is not None

    def _is_taken(self, edge: Edge, alive: frozenset[NodeName] | set[NodeName]) -> bool:
        if edge.source == INPUT:
            return True
        taken = self.world.get(edge.source, frozenset())
        if edge.source not in alive or taken is None:
            return edge.mode is EdgeMode.OUTCOME
        return edge.branch is None or edge.branch in taken


def _beside(fed: Mapping[str, object]) -> str:
    """Why the node runs all the same, and what is to be done where it should not."""
    if not fed:
        return ""
    others = " and ".join(map(repr, fed))
    return f"; it runs then, for its {others}: where it should not, let one node give all, with the condition behind it"


def _check_world(
    played: _Played,
    conditions: Mapping[NodeName, Sequence[Condition]],
    required: Mapping[NodeName, frozenset[str]],
) -> None:
    plan, graph = played.plan, played.plan.definition.name
    for name in plan.order:
        if name not in played.alive or plan.nodes[name].join is not Join.ALL:
            continue
        fed: dict[str, list[Edge]] = {}
        for edge in plan.incoming[name]:
            if edge.into is not None and edge.mode is not EdgeMode.ORDER and played.is_taken(edge):
                fed.setdefault(edge.into, []).append(edge)
        for into in sorted(required.get(name, frozenset()) - set(fed)):
            raise InvalidGraph(
                f"graph {graph!r}: parameter {into!r} of node {name!r} may be left without a value"
                f"{_when(played, conditions)}: give it a default or make it optional (`| None`), "
                f"or feed it from first(...) over every branch{_beside(fed)}",
                graph=graph,
                node=name,
            )
        for into, edges in fed.items():
            if len(edges) > 1:
                sources = " and ".join(repr(str(edge.source)) for edge in edges)
                raise InvalidGraph(
                    f"graph {graph!r}: parameter {into!r} of node {name!r} is bound twice, by {sources}"
                    f"{_when(played, conditions)}: join them with first(...), all_done(...) or n_of(...), "
                    f"bind one with into=, or order with after=",
                    graph=graph,
                    node=name,
                )
    finish = plan.definition.finish
    if not any(played.succeeds(name) for name in finish):
        names = ", ".join(repr(str(name)) for name in finish)
        raise InvalidGraph(
            f"graph {graph!r}: the finish {names} may not be reached{_when(played, conditions)}: "
            f"add an otherwise() or a case() for what is left, and finish with first(...) of the branches",
            graph=graph,
            node=finish[0],
        )


def _when(played: _Played, conditions: Mapping[NodeName, Sequence[Condition]]) -> str:
    """The world, for people: what each branching node that is reached does in it."""
    told: list[str] = []
    for name, taken in played.world.items():
        if name not in played.alive:
            continue
        if taken is None:
            told.append(f"{name!r} fails")
        elif name in conditions:
            held = ", ".join(conditions[name][index].describe() for index in sorted(taken))
            told.append(f"of {str(name)!r} {held} holds" if held else f"no condition of {str(name)!r} holds")
    return f", when {' and '.join(told)}" if told else ""


def _needed(node: Node) -> int:
    return node.count if node.join is Join.N_OF else 1


def _kinds_together(conditions: Sequence[Condition], kind: Any) -> Iterator[set[type]]:
    """The sets of asked types that one value can be of."""
    asked = list(dict.fromkeys(one for condition in conditions for one in condition.kinds))
    for member in members(kind):
        base = get_origin(member) or member
        known = isinstance(base, type) and base is not object
        sure = {one for one in asked if known and _is_sub(base, one)}
        yield sure
        for narrower in dict.fromkeys(part for one in asked for part in members(one)):
            if not known or (_is_sub(narrower, base) and not _is_sub(base, narrower)):
                yield sure | {one for one in asked if _is_sub(narrower, one)}


def _is_sub(kind: type, wider: type) -> bool:
    """Whether every value of a type is of another one, or of a member of it."""
    try:
        return any(issubclass(get_origin(kind) or kind, get_origin(one) or one) for one in members(wider))
    except TypeError:
        return False


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    sizes = range(len(items) + 1) if len(items) <= _MOST_FREE else (0, 1, len(items))
    return chain.from_iterable(combinations(items, size) for size in sizes)
