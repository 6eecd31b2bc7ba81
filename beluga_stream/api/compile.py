"""From a blueprint to a `Program`: definition, handlers, checks.

The same graph gives the same definition hash, whether it was written with references or with names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..domain import frozen
from ..domain.definition import LONGEST_TIMEOUT_MS, MAX_CRASHES, Definition, Edge, EdgeMode, Node, NodeKind, OnFailure
from ..domain.ids import INPUT, NodeKey, NodeName
from ..domain.plan import Plan
from ..domain.retry import RetryPolicy
from ..errors import InvalidGraph, InvalidInput
from ..ports.cache import Caching
from ..ports.handlers import Handler, Program, Variants
from .adapter import adapter_of, schema_of
from .blueprint import Blueprint, Step
from .check import check_input, check_output, check_wires, output_kinds, wire_kind
from .condition import Condition, NoneOf
from .handler import build_compensation, build_fake, build_fallback, build_handler, origin_of
from .likeness import check_alike
from .limit import check_limits, declared
from .liveness import check_liveness, worlds_of
from .node import NodeOptions, options_of
from .options import check_options
from .remembering import check_unremembered, with_memory
from .retry import milliseconds
from .signature import called, signature_of
from .unannotated import read_as_given
from .variants import check_cases, variants_of
from .wiring import WORK_INPUT, Wire, Wiring, fed_arguments, gate, wire


@dataclass(slots=True)
class Compiled:
    """A program with the types that its graph has in Python."""

    program: Program
    input_kind: Any
    output_kind: Any


@dataclass(slots=True)
class _Branches:
    """The conditions after each node, in the order of their numbers."""

    by_node: dict[str, list[Condition]] = field(default_factory=dict[str, list[Condition]])

    def number(self, one: Wire) -> int | None:
        return None if one.condition is None else self.by_node[one.source].index(one.condition)


def compile_blueprint(blueprint: Blueprint, input_kind: Any, output_kind: Any, *, kind: str = "graph") -> Compiled:
    """Check and compile. A kind of None is taken from the handlers' annotations. Raises `InvalidGraph`."""
    if blueprint.memory is not None:
        bare = _compile(blueprint, input_kind, output_kind, kind)
        blueprint = with_memory(blueprint, blueprint.memory, bare.input_kind)
        return _compile(blueprint, bare.input_kind, bare.output_kind, kind)
    compiled = _compile(blueprint, input_kind, output_kind, kind)
    check_unremembered(blueprint)
    return compiled


def _compile(blueprint: Blueprint, input_kind: Any, output_kind: Any, kind: str) -> Compiled:
    if not blueprint.finish:
        raise InvalidGraph(
            f"graph {blueprint.graph!r} has no finish: call set_finish_point() with its last node",
            graph=blueprint.graph,
        )
    wiring = wire(blueprint)
    branches = _number(wiring)
    children = {name: step.work.compile() for name, step in wiring.steps.items() if step.work is not None}
    definition = _draw(blueprint, wiring, branches, children, kind)
    plan = Plan(definition)  # unknown, twice declared and unreachable nodes, cycles
    input_kind = check_input(wiring, input_kind)
    kinds = output_kinds(wiring, plan.order, input_kind)
    check_wires(wiring, kinds)
    check_cases(wiring, kinds)
    output_kind = check_output(wiring, blueprint.finish, kinds, output_kind)
    worlds = {_named(name): worlds_of(conditions, kinds[name]) for name, conditions in branches.by_node.items()}
    conditions = {_named(name): found for name, found in branches.by_node.items()}
    check_liveness(plan, worlds, conditions, _required(wiring))
    wiring = read_as_given(wiring, kinds, branches.by_node)
    input_adapter = adapter_of(input_kind, blueprint.graph, INPUT, "the input")
    output_adapter = adapter_of(output_kind, blueprint.graph, blueprint.finish[0], "the result")
    handlers = {
        _named(name): _handler(
            wiring,
            name,
            branches.by_node.get(name, []),
            kinds,
            result=output_kind if name in blueprint.finish else None,
        )
        for name in wiring.signatures
    }
    judges = {
        _named(name): _judge(blueprint.graph, step, step.work.output_kind)
        for name, step in wiring.steps.items()
        if step.kind is NodeKind.LOOP and step.work is not None
    }
    undoers = {
        _named(name): _undoer(blueprint.graph, step, step.work.input_kind, step.work.output_kind)
        for name, step in wiring.steps.items()
        if step.compensate is not None and step.work is not None
    }
    awaited = {
        _named(name): (step.signal.name, adapter_of(step.signal.kind, blueprint.graph, name, "the signal"))
        for name, step in wiring.steps.items()
        if step.signal is not None
    }
    taken = {name: schemas for name, handler in handlers.items() if (schemas := _taken(handler))}
    definition = frozen.replace(
        definition,
        nodes=tuple(
            frozen.replace(node, exhaustive=all(worlds[node.name])) if node.name in worlds else node
            for node in definition.nodes
        ),
        input_schema=schema_of(input_adapter),
        output_schema=schema_of(output_adapter, "serialization"),
        takes=taken | {name: {signal: schema_of(adapter)} for name, (signal, adapter) in awaited.items()},
    )
    check_limits(definition, _below(children.values()))
    check_alike(children.values())
    by_hash = {child.definition.hash: child for child in children.values()}
    own = {**handlers, **judges, **undoers}
    program = Program(definition, own, input_adapter, output_adapter, by_hash, dict(awaited.values()))
    return Compiled(program, input_kind, output_kind)


def _draw(
    blueprint: Blueprint, wiring: Wiring, branches: _Branches, children: Mapping[str, Program], kind: str
) -> Definition:
    """The definition, before any type has been looked at."""
    return Definition(
        name=blueprint.graph,
        nodes=tuple(_node(wiring, name, children) for name in wiring.steps),
        edges=tuple(
            Edge(_named(one.source), _named(one.target), one.into, one.mode, branches.number(one))
            for one in _in_order(wiring)
        ),
        finish=tuple(_named(name) for name in blueprint.finish),
        timeout_ms=blueprint.timeout_ms,
        durable=blueprint.durable,
        kind=kind,
        limits=declared(blueprint.limits, blueprint.graph),
    )


def _below(children: Iterable[Program]) -> list[Definition]:
    """The definitions of these and of all that they start."""
    found = list(children)
    return [child.definition for child in found] + [
        definition for child in found for definition in _below(child.children.values())
    ]


def with_fakes(program: Program, fakes: Mapping[Callable[..., Any], Callable[..., Any]]) -> Program:
    """The program with other functions in the place of some of its handlers, in its subgraphs too.

    A fake must be of the same kind (streaming or not; async or sync does not matter) and take as many
    arguments. Raises `InvalidGraph` when it does not, and `InvalidInput` for a function no node uses.
    """
    used: list[Callable[..., Any]] = []
    faked = _with_fakes(program, fakes, used)
    for original in fakes:
        if not any(original == one for one in used):
            name = getattr(original, "__name__", repr(original))
            raise InvalidInput(f"fakes: no node of {program.definition.name!r} calls {name}: name a handler it has")
    return faked


def _with_fakes(
    program: Program,
    fakes: Mapping[Callable[..., Any], Callable[..., Any]],
    used: list[Callable[..., Any]],
) -> Program:
    graph = program.definition.name

    def faked(handler: Handler, node: str) -> Handler:
        origin = origin_of(handler.call)
        for original, fake in fakes.items():
            if origin in (original, called(original)):
                used.append(original)
                handler = build_fake(handler, fake, graph, node)
        return replace(
            handler,
            fallback=None if handler.fallback is None else faked(handler.fallback, node),
            compensate=None if handler.compensate is None else faked(handler.compensate, node),
        )

    return replace(
        program,
        handlers={name: faked(handler, name) for name, handler in program.handlers.items()},
        children={key: _with_fakes(child, fakes, used) for key, child in program.children.items()},
    )


def _number(wiring: Wiring) -> _Branches:
    """Number conditions by the edges that use them, so that equal graphs have equal numbers."""
    found = _Branches()
    for one in sorted(wiring.wires, key=lambda one: (one.source, one.target, one.into or "", one.mode)):
        if one.condition is None:
            continue
        known = found.by_node.setdefault(one.source, [])
        if one.condition not in known:
            known.append(one.condition)
    return found


def _in_order(wiring: Wiring) -> Sequence[Wire]:
    """Wires by target and its parameters: a map's items first, a selection's sources as they were given."""
    places = {
        name: {argument.name: index for index, argument in enumerate(signature.arguments)}
        for name, signature in wiring.signatures.items()
    }
    targets = {name: index for index, name in enumerate(wiring.steps)}

    def place(one: Wire) -> tuple[int, int]:
        if one.into is None:
            return targets[one.target], len(wiring.wires)
        if one.target in places:
            return targets[one.target], places[one.target][one.into]
        return targets[one.target], 0 if one.into == WORK_INPUT else int(one.into)

    return sorted(wiring.wires, key=place)


def _options(wiring: Wiring, step: Step) -> NodeOptions:
    # A loop over a graph executes something, too: the question whether it is done.
    defaults = wiring.options if step.handler is not None or step.kind is NodeKind.LOOP else NodeOptions()
    options: NodeOptions = {**defaults, **options_of(step.handler), **step.options}
    check_options(options, wiring.graph, step.name)
    return options


def _node(wiring: Wiring, name: str, children: Mapping[str, Program]) -> Node:
    step, graph = wiring.steps[name], wiring.graph
    options = _options(wiring, step)
    child = children.get(name)
    signature = wiring.signatures.get(name)
    _check_node(options, step, graph)
    timeout_ms = milliseconds(options["timeout"]) if "timeout" in options else step.timeout_ms
    parameters: tuple[str, ...] = (WORK_INPUT,) if child is not None else ()
    if signature is not None:
        parameters = tuple(argument.name for argument in fed_arguments(wiring, name))
    return Node(
        name=_named(name),
        kind=step.kind,
        parameters=parameters,
        join=step.join,
        count=step.count,
        queue=options.get("queue", "default"),
        retry=options["retry"].policy() if "retry" in options else RetryPolicy(),
        timeout_ms=timeout_ms,
        on_failure=OnFailure(options.get("on_failure", "fail")),
        has_fallback=step.fallback is not None,
        has_compensation=step.compensate is not None,
        resume=options.get("resume", False),
        max_parallel=step.max_parallel,
        max_passes=step.max_passes,
        child=None if child is None else child.definition.hash,
        child_name=None if child is None else child.definition.name,
        signal=None if step.signal is None else step.signal.name,
        remind_ms=step.remind_ms,
        max_crashes=options.get("max_crashes", MAX_CRASHES),
        limits=declared(options.get("limit", ()), graph, name),
    )


def _check_node(options: NodeOptions, step: Step, graph: str) -> None:
    """Raises `InvalidGraph` for what is out of range, or means nothing for a node of this kind."""
    if "timeout" in options and not 0 < milliseconds(options["timeout"]) <= LONGEST_TIMEOUT_MS:
        raise InvalidGraph(
            f"graph {graph!r}, node {step.name!r}: timeout={options['timeout']} is out of range: "
            f"give more than 0 and at most 24 hours, in seconds or as a timedelta; to wait "
            f"longer, use wait() or sleep()",
            graph=graph,
            node=step.name,
        )
    if options.get("resume") and step.kind is not NodeKind.STREAM:
        raise InvalidGraph(
            f"graph {graph!r}, node {step.name!r}: resume=True is for streaming handlers, and this one returns at once",
            graph=graph,
            node=step.name,
        )
    max_crashes = options.get("max_crashes", MAX_CRASHES)
    if max_crashes < 0:
        raise InvalidGraph(
            f"graph {graph!r}, node {step.name!r}: max_crashes={max_crashes} is below 0: give how often its process "
            f"may die with it, or 0 for without limit",
            graph=graph,
            node=step.name,
        )


def _required(wiring: Wiring) -> dict[NodeName, frozenset[str]]:
    """The parameters that must have a value whenever their node runs."""
    found: dict[NodeName, frozenset[str]] = {}
    for name, step in wiring.steps.items():
        if step.work is not None:
            found[_named(name)] = frozenset({WORK_INPUT})
        elif name in wiring.signatures:
            needed = frozenset(one.name for one in fed_arguments(wiring, name) if not one.is_optional)
            found[_named(name)] = needed
    return found


def _taken(handler: Handler) -> dict[str, Any]:
    """The JSON schemas of what edges hand to it, without those that take anything."""
    values = [each for each in handler.parameters if each.mode is EdgeMode.VALUE]
    schemas = {each.name: schema_of(each.adapter) for each in values}
    return {name: schema for name, schema in schemas.items() if schema}


def _handler(
    wiring: Wiring, name: str, conditions: Sequence[Condition], kinds: Mapping[str, Any], *, result: Any
) -> Handler:
    step, signature, graph = wiring.steps[name], wiring.signatures[name], wiring.graph
    options = _options(wiring, step)
    fed = fed_arguments(wiring, name)
    if name in wiring.gates:
        kind = wire_kind(wiring.into(name)[0], kinds)
        signature = replace(signature, output=kind)
        fed = [replace(fed[0], kind=kind)]
    handler = build_handler(signature, graph, name, fed=fed, executor=options.get("executor"))
    branches = tuple(
        (
            number,
            NoneOf(tuple(other for other in conditions if not other.otherwise)) if one.otherwise else one.holds,
        )
        for number, one in enumerate(conditions)
    )
    retry_on = options["retry"].kinds if "retry" in options else None
    if step.until is not None or "cache" in options:  # it reads its own output
        result = signature.output
    models = variants_of(wiring, name, signature.output, conditions, kinds, result=result)
    variants = Variants(handler.output, models) if models else None
    fallback = None if step.fallback is None else build_fallback(signature, step.fallback, graph, name)
    compensate = None if step.compensate is None else build_compensation(signature, step.compensate, graph, name)
    return replace(
        handler,
        branches=branches,
        until=step.until,
        retry_on=retry_on,
        cache=_cache(wiring, step, handler, options),
        variants=variants,
        fallback=None
        if fallback is None
        else replace(fallback, branches=branches, until=step.until, retry_on=retry_on, variants=variants),
        compensate=None if compensate is None else replace(compensate, retry_on=retry_on),
    )


def _judge(graph: str, step: Step, kind: Any) -> Handler:
    """What ends each pass of a loop over a graph: it hands the graph's output on, and is asked `until`."""
    signature = signature_of(gate, graph, step.name)
    fed = [replace(signature.arguments[0], kind=kind)]
    handler = build_handler(replace(signature, output=kind), graph, step.name, fed=fed, names=[WORK_INPUT])
    return replace(handler, until=step.until)


def _undoer(graph: str, step: Step, input_kind: Any, output_kind: Any) -> Handler:
    """What undoes a subgraph that has succeeded, when something after it fails."""
    assert step.compensate is not None, "asked by its caller"
    signature = signature_of(gate, graph, step.name)
    taken = replace(signature.arguments[0], name=WORK_INPUT, kind=input_kind)
    signature = replace(signature, arguments=(taken,), output=output_kind)
    handler = build_handler(signature, graph, step.name)
    return replace(handler, compensate=build_compensation(signature, step.compensate, graph, step.name))


def _cache(wiring: Wiring, step: Step, handler: Handler, options: NodeOptions) -> Caching | None:
    if "cache" not in options:
        return None
    reads = any(parameter.mode is EdgeMode.STREAM for parameter in handler.parameters)
    if handler.streams or reads:
        raise InvalidGraph(
            f"graph {wiring.graph!r}, node {step.name!r}: cache= is for handlers that take values and return one, and "
            f"this one {'reads a stream' if reads else 'streams'}: take and return lists, or leave it out",
            graph=wiring.graph,
            node=step.name,
        )
    return options["cache"].of(wiring.graph, step.name, origin_of(handler.call))


def _named(name: str) -> NodeName:
    return NodeName(NodeKey(name))
