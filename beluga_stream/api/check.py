"""Types through a graph: what each node gives, whether it fits where it goes, what is not fed."""

from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Any, cast, get_origin

from pydantic import BaseModel

from ..domain.definition import EdgeMode, Join, NodeKind
from ..domain.ids import INPUT
from ..errors import InvalidGraph
from .condition import Condition
from .fit import fits, is_list, item_of, list_of, members, narrow, shown, union
from .stream import Outcome
from .wiring import WORK_INPUT, Wire, Wiring, fed_arguments


def check_input(wiring: Wiring, declared: Any) -> Any:
    """The graph's input type: as declared, else what its entry handlers take."""
    if declared is not None:
        return declared
    found = {
        shown(kind): kind
        for one in wiring.wires
        if one.source == INPUT and one.into is not None
        for kind in [_wanted(wiring, one)]
    }
    return next(iter(found.values())) if len(found) == 1 else Any


def output_kinds(wiring: Wiring, order: Sequence[str], input_kind: Any) -> dict[str, Any]:
    """What each node gives, the input among them. A streaming node gives its chunks as a list."""
    kinds: dict[str, Any] = {INPUT: input_kind}
    for name in order:
        kinds[name] = _output_kind(wiring, name, kinds)
    return kinds


def wire_kind(one: Wire, kinds: Mapping[str, Any], *, others: Sequence[Condition] = ()) -> Any:
    """What a wire hands over; of a stream, each chunk. `others` are what `otherwise` leaves out."""
    kind = kinds[one.source]
    if one.mode is EdgeMode.STREAM:
        return item_of(kind)
    if one.mode is EdgeMode.OUTCOME:
        return cast("Any", Outcome)[kind]  # made at run time
    if one.condition is None:
        return kind
    if one.condition.otherwise:
        sure = [other.kinds[0] for other in others if len(other.kinds) == 1 and not other.predicates]
        left = [part for part in members(kind) if not any(_is_surely(part, kind_) for kind_ in sure)]
        return union(left) if left else kind
    return narrow(kind, one.condition.kinds)


def check_wires(wiring: Wiring, kinds: Mapping[str, Any]) -> None:
    """Every wire fits its parameter, and every parameter has a wire. Raises `InvalidGraph`."""
    conditions: dict[str, list[Condition]] = {}
    for one in wiring.wires:
        if one.condition is not None:
            conditions.setdefault(one.source, []).append(one.condition)
    for one in wiring.wires:
        if one.mode is EdgeMode.ORDER or one.target in wiring.gates:
            continue
        _check_mode(wiring, one)
        _check_fit(wiring, one, wire_kind(one, kinds, others=conditions.get(one.source, ())))
    for name, step in wiring.steps.items():
        if step.kind is NodeKind.LOOP:
            _check_loop(wiring, name)
        bound = {one.into for one in wiring.into(name)}
        needed = [WORK_INPUT] if step.work is not None else []
        if name in wiring.signatures:
            needed = [argument.name for argument in fed_arguments(wiring, name)]
        for parameter in needed:
            if parameter not in bound:
                raise InvalidGraph(
                    f"graph {wiring.graph!r}: parameter {parameter!r} of node {name!r} has no edge: "
                    f"pass add_node() one more reference, add an edge with into={parameter!r}, or give the "
                    f"parameter a default",
                    graph=wiring.graph,
                    node=name,
                )


def check_output(wiring: Wiring, finish: Sequence[str], kinds: Mapping[str, Any], declared: Any) -> Any:
    """The graph's output type: as declared, if the finish points give it. Several give a mapping by name."""
    if len(finish) == 1:
        kind = kinds[finish[0]]
        if declared is not None and not fits(kind, declared):
            raise InvalidGraph(
                f"graph {wiring.graph!r} promises {shown(declared)}, and its finish {finish[0]!r} gives "
                f"{shown(kind)}: finish with another node, or change Graph[..., {shown(declared)}]",
                graph=wiring.graph,
                node=finish[0],
            )
        return kind if declared is None else declared
    if declared is None:
        return GenericAlias(dict, (str, union(kinds[name] for name in finish)))
    if not any(_holds_mapping(part) for part in members(declared)):
        raise InvalidGraph(
            f"graph {wiring.graph!r} has several finish points, which give a mapping by name, and promises "
            f"{shown(declared)}: use Graph[..., dict[str, ...]], or finish with first(...) of them",
            graph=wiring.graph,
            node=finish[0],
        )
    return declared


def _output_kind(wiring: Wiring, name: str, kinds: Mapping[str, Any]) -> Any:
    step = wiring.steps[name]
    wires = wiring.into(name)
    if name in wiring.gates:
        return wire_kind(wires[0], kinds)
    match step.kind:
        case NodeKind.SLEEP:
            return type(None)
        case NodeKind.WAIT:
            return step.signal.kind if step.signal is not None else Any
        case NodeKind.SELECT:
            merged = union(wire_kind(one, kinds) for one in wires)
            return merged if step.join is Join.FIRST else list_of(merged)
        case NodeKind.GRAPH | NodeKind.LOOP | NodeKind.TASK:
            return _returned(wiring, name)
        case NodeKind.MAP | NodeKind.STREAM:
            return list_of(_returned(wiring, name))


def _returned(wiring: Wiring, name: str) -> Any:
    work = wiring.steps[name].work
    return work.output_kind if work is not None else wiring.signatures[name].output


def _wanted(wiring: Wiring, one: Wire) -> Any:
    """The type of the parameter that a wire feeds; of a map, of the list whose items feed it."""
    step = wiring.steps[one.target]
    if step.work is not None:
        kind = step.work.input_kind
    elif one.target in wiring.signatures:
        arguments = wiring.signatures[one.target].arguments
        kind = next(argument.kind for argument in arguments if argument.name == one.into)
    else:
        return Any
    return list_of(kind) if step.kind is NodeKind.MAP else kind


def _check_mode(wiring: Wiring, one: Wire) -> None:
    """A stream goes into a `Stream` parameter, and nothing else does."""
    step = wiring.steps[one.target]
    wanted, kind = EdgeMode.VALUE, None
    if one.target in wiring.signatures and step.kind in (NodeKind.TASK, NodeKind.STREAM):
        arguments = wiring.signatures[one.target].arguments
        argument = next(argument for argument in arguments if argument.name == one.into)
        wanted, kind = argument.mode, argument.kind
    source = wiring.steps.get(one.source)
    if one.mode is EdgeMode.STREAM and (source is None or source.kind is not NodeKind.STREAM):
        raise _unfit(wiring, one, f"reads a stream, and {one.source!r} does not stream: annotate it list[...]")
    if one.mode is EdgeMode.STREAM and step.kind is NodeKind.MAP:
        return  # an execution for each chunk
    if one.mode is wanted is EdgeMode.STREAM and not wiring.signatures[one.target].is_async:
        raise _unfit(wiring, one, "is read with `async for`, and its handler is a plain function: make it `async def`")
    if one.mode is wanted or kind is Any or step.kind is NodeKind.SELECT:
        return
    if wanted is EdgeMode.STREAM:
        raise _unfit(wiring, one, "reads a stream, and is given a value: pass ref.stream, or annotate it list[...]")
    if one.mode is EdgeMode.STREAM:
        raise _unfit(
            wiring,
            one,
            "takes a value, and is given a stream: pass the reference itself, or annotate it Stream[...]",
        )
    if one.mode is EdgeMode.OUTCOME:
        raise _unfit(wiring, one, "takes a value, and is given an outcome: annotate it Outcome[...]")
    raise _unfit(wiring, one, "takes an outcome, and is given a value: pass ref.outcome")


def _check_fit(wiring: Wiring, one: Wire, given: Any) -> None:
    wanted = _wanted(wiring, one)
    if wiring.steps[one.target].kind is NodeKind.MAP and one.mode is EdgeMode.STREAM:
        given = list_of(given)
    elif wiring.steps[one.target].kind is NodeKind.MAP:
        if not is_list(given):
            raise _unfit(wiring, one, f"goes over a list, and {one.source!r} gives {shown(given)}")
        given = list_of(item_of(given))
    if not fits(given, wanted):
        raise _unfit(
            wiring,
            one,
            f"takes {shown(wanted)}, and {one.source!r} gives {shown(given)}: "
            f"put a node in between that makes one of the other, or mend the annotation that is wrong",
        )


def _check_loop(wiring: Wiring, name: str) -> None:
    """A loop's output is its next input."""
    work, given = wiring.steps[name].work, _returned(wiring, name)
    taken = work.input_kind if work is not None else wiring.signatures[name].arguments[0].kind
    if not fits(given, taken):
        raise InvalidGraph(
            f"graph {wiring.graph!r}: the loop {name!r} takes {shown(taken)} and gives "
            f"{shown(given)}: its output is its next input, so both must be one type",
            graph=wiring.graph,
            node=name,
        )


def _unfit(wiring: Wiring, one: Wire, told: str) -> InvalidGraph:
    what = f"parameter {one.into!r} of node {one.target!r}" if one.into else f"node {one.target!r}"
    return InvalidGraph(f"graph {wiring.graph!r}: {what} {told}", graph=wiring.graph, node=one.target)


def _is_surely(part: Any, kind: type) -> bool:
    base, others = get_origin(part) or part, [get_origin(one) or one for one in members(kind)]
    return isinstance(base, type) and any(isinstance(other, type) and issubclass(base, other) for other in others)


def _holds_mapping(kind: Any) -> bool:
    """Whether a mapping by name may become it."""
    base = get_origin(kind) or kind
    if kind is Any or base is object or not isinstance(base, type):
        return True
    return bool(issubclass(base, (Mapping, BaseModel))) or hasattr(base, "__dataclass_fields__")
