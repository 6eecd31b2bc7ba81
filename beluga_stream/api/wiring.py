"""From links as declared to wires: every end known, every parameter chosen, gates for conditions.

A condition is judged by the worker that runs the node before it. Where no single execution of a
handler gives the output (the graph's input, maps, loops, streams, selections, waits, subgraphs), a
node of one line is put in between, named `<source>_gate`, which hands the value on and is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..domain.definition import EdgeMode, NodeKind
from ..domain.ids import INPUT
from ..domain.misspelt import advice
from ..errors import InvalidGraph
from .blueprint import Blueprint, Link, Step
from .condition import Condition
from .history import History
from .node import NodeOptions
from .signature import Argument, Signature, signature_of

WORK_INPUT = "input"
"""The parameter of a node that is a graph or a chain."""

GATED = "value"
"""The parameter of a gate."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge whose ends and parameter are known."""

    source: str
    target: str
    into: str | None
    mode: EdgeMode
    condition: Condition | None = None


@dataclass(frozen=True)
class Wiring:
    """A graph with every wire drawn. `gates` names the steps put in between, `options` are every handler's defaults."""

    graph: str
    steps: Mapping[str, Step]
    signatures: Mapping[str, Signature]
    wires: Sequence[Wire]
    gates: frozenset[str]
    options: NodeOptions

    def into(self, name: str) -> Sequence[Wire]:
        return self._incoming[name]

    @cached_property
    def _incoming(self) -> Mapping[str, Sequence[Wire]]:
        found: dict[str, list[Wire]] = {name: [] for name in self.steps}
        for one in self.wires:
            found[one.target].append(one)
        return found


def wire(blueprint: Blueprint) -> Wiring:
    """Draw every wire.

    Raises `InvalidGraph` for ends that are no nodes, parameters that cannot be found, and handlers
    that do not fit the way they are used.
    """
    signatures = {
        name: signature_of(step.handler, blueprint.graph, name)
        for name, step in blueprint.steps.items()
        if step.handler is not None
    }
    for name, signature in signatures.items():
        _check_use(blueprint, blueprint.steps[name], signature)
    wires = _resolved(blueprint, signatures)
    steps = dict(blueprint.steps)
    wires, gates = _gated(steps, signatures, wires)
    for name in gates:
        signatures[name] = signature_of(steps[name].handler, blueprint.graph, name)
    return Wiring(blueprint.graph, steps, signatures, wires, gates, blueprint.options)


def fed_arguments(wiring: Wiring, name: str) -> list[Argument]:
    """The parameters of a handler that wires feed, each in the mode of its wires.

    A map's or loop's handler is fed one.
    """
    signature = wiring.signatures[name]
    arguments = signature.arguments
    if wiring.steps[name].kind in (NodeKind.MAP, NodeKind.LOOP):
        return list(arguments[:1])
    modes = {one.into: one.mode for one in wiring.into(name) if one.into is not None}
    return [
        replace(argument, mode=modes[argument.name]) if argument.name in modes else argument
        for argument in arguments
        if argument.name in modes or not argument.has_default
    ]


async def gate(value: Any) -> Any:
    """Hand a value on, so that conditions can ask it."""
    return value


def _check_use(blueprint: Blueprint, step: Step, signature: Signature) -> None:
    if signature.takes_more and not signature.arguments and _is_fed(blueprint, step):
        raise _invalid(
            blueprint.graph,
            step.name,
            "its function takes *args, and edges feed parameters that have names: name them; around a function that "
            "has them, let the decorator use functools.wraps",
        )
    if step.kind not in (NodeKind.MAP, NodeKind.LOOP):
        return
    rest = [one.name for one in signature.arguments[1:] if not one.has_default]
    kind = "map" if step.kind is NodeKind.MAP else "loop"
    if not signature.arguments or rest:
        raise _invalid(
            blueprint.graph,
            step.name,
            f"a {kind}'s handler takes one argument, and {signature.name} takes "
            f"{len(rest) + 1 if rest else 0}: bind the others with functools.partial or give them defaults",
        )
    if signature.streams:
        raise _invalid(
            blueprint.graph,
            step.name,
            f"a {kind}'s handler cannot stream: let it return a list of its chunks",
        )


def _is_fed(blueprint: Blueprint, step: Step) -> bool:
    return any(link.target == step.name and link.mode is not EdgeMode.ORDER for link in blueprint.links)


def _resolved(blueprint: Blueprint, signatures: Mapping[str, Signature]) -> list[Wire]:
    return [_resolve(blueprint, signatures, link) for link in blueprint.links]


def _resolve(blueprint: Blueprint, signatures: Mapping[str, Signature], link: Link) -> Wire:
    graph = blueprint.graph
    for end in (link.source, link.target):
        if end not in blueprint.steps and (end != INPUT or end is link.target):
            raise InvalidGraph(
                f"graph {graph!r}: the edge {link.source!r} -> {link.target!r} names {end!r}, "
                f"which is no node: {advice(end, blueprint.steps, 'add it or mend the name')}",
                graph=graph,
                node=end,
            )
    target = blueprint.steps[link.target]
    if link.mode is EdgeMode.ORDER:
        return Wire(link.source, link.target, None, EdgeMode.ORDER, link.condition)
    if target.handler is None:
        return _resolve_without_handler(graph, target, link)
    arguments = signatures[link.target].arguments
    if target.kind in (NodeKind.MAP, NodeKind.LOOP):
        arguments = arguments[:1]
    if not isinstance(link.into, str):
        arguments = tuple(one for one in arguments if one.kind is not History)  # the memory feeds it, by name
    argument = _choose(graph, link, arguments)
    if argument is None:
        return Wire(link.source, link.target, None, EdgeMode.ORDER, link.condition)
    mode = link.mode if link.mode is not None else argument.mode
    if mode is EdgeMode.STREAM and link.condition is not None:
        raise _invalid(
            graph,
            link.source,
            f"a stream begins before its node's conditions are known: let {link.target!r} take the whole output, "
            f"as list[...]",
        )
    return Wire(link.source, link.target, argument.name, mode, link.condition)


def _resolve_without_handler(graph: str, target: Step, link: Link) -> Wire:
    if target.kind in (NodeKind.WAIT, NodeKind.SLEEP):
        return Wire(link.source, link.target, None, EdgeMode.ORDER, link.condition)
    into = WORK_INPUT if target.work is not None else str(link.into)
    if target.work is not None and link.into not in (None, 0, WORK_INPUT):
        raise _invalid(graph, target.name, f"a graph takes one input: leave into={link.into!r} out")
    return Wire(link.source, link.target, into, link.mode or EdgeMode.VALUE, link.condition)


def _choose(graph: str, link: Link, arguments: Sequence[Argument]) -> Argument | None:
    """The parameter that a link feeds; None for a handler that takes nothing."""
    names = [argument.name for argument in arguments]
    listed = ", ".join(map(repr, names)) or "none"
    if isinstance(link.into, int):
        if link.into >= len(arguments):
            raise _invalid(
                graph,
                link.target,
                f"too many inputs: its handler takes {len(arguments)} (parameters: {listed})",
            )
        return arguments[link.into]
    if link.into is not None:
        if link.into not in names:
            raise _invalid(graph, link.target, f"has no parameter {link.into!r} (into=): it has {listed}")
        return arguments[names.index(link.into)]
    if not arguments:
        return None
    if len(arguments) == 1:
        return arguments[0]
    if link.source in names:
        return arguments[names.index(link.source)]
    needed = [argument for argument in arguments if not argument.has_default]
    if len(needed) == 1:
        return needed[0]
    raise _invalid(
        graph,
        link.target,
        f"it is not clear which parameter the edge from {link.source!r} feeds: say into= one of {listed}",
    )


def _gated(
    steps: dict[str, Step], signatures: Mapping[str, Signature], wires: Sequence[Wire]
) -> tuple[list[Wire], frozenset[str]]:
    made: dict[tuple[str, EdgeMode], str] = {}
    gated: list[Wire] = []
    entries: list[Wire] = []
    for one in wires:
        mode = EdgeMode.VALUE if one.mode is EdgeMode.ORDER else one.mode
        if one.condition is None or (mode is EdgeMode.VALUE and _runs_handler_once(steps, signatures, one.source)):
            gated.append(one)
            continue
        if (one.source, mode) not in made:
            name = f"{one.source}_gate" if mode is EdgeMode.VALUE else f"{one.source}_{mode}_gate"
            while name in steps:
                name += "_"
            made[one.source, mode] = name
            steps[name] = Step(name, NodeKind.TASK, handler=gate)
            entries.append(Wire(one.source, name, GATED, mode))
        onward = EdgeMode.ORDER if one.mode is EdgeMode.ORDER else EdgeMode.VALUE
        gated.append(replace(one, source=made[one.source, mode], mode=onward))
    return [*entries, *gated], frozenset(made.values())


def _runs_handler_once(steps: Mapping[str, Step], signatures: Mapping[str, Signature], name: str) -> bool:
    return name in signatures and steps[name].kind is NodeKind.TASK


def _invalid(graph: str, node: str, told: str) -> InvalidGraph:
    return InvalidGraph(f"graph {graph!r}, node {node!r}: {told}", graph=graph, node=node)
