"""Writes a graph's blueprint: names steps, draws links, refuses at once what can never be right."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeGuard, cast

from ..domain.definition import EdgeMode, NodeKind
from ..domain.ids import INPUT, NOT_IN_NAMES
from ..errors import InvalidGraph
from .blueprint import Blueprint, Link, Step
from .condition import Condition, is_predicate
from .node import NodeOptions, options_of
from .options import check_options
from .ref import Ref
from .retry import Seconds, milliseconds
from .signature import name_of, signature_of
from .work import Work

After: TypeAlias = Ref[Any] | Sequence[Ref[Any]]
"""What must have ended before: orders, and hands nothing over."""

_NOT_IN_NAMES = f"{NOT_IN_NAMES}@"  # work is addressed graph/node@hash


def check_name(name: str, graph: str, what: str) -> None:
    """Raises `InvalidGraph` for a name that ids could not hold."""
    if not isinstance(cast("object", name), str):
        raise InvalidGraph(f"{what} is named {name!r}, which is no text: give name=", graph=graph)
    bad = [letter for letter in _NOT_IN_NAMES if letter in name]
    if name and not bad and name != INPUT and name.strip() == name:
        return
    reason = f"{name!r} holds {bad[0]!r}, which ids use" if bad else f"{name!r} is reserved or empty"
    raise InvalidGraph(f"graph {graph!r}: {what} needs another name: {reason}: give name=", graph=graph, node=name)


def check_timeout(timeout: Seconds, graph: str) -> int:
    """A run's timeout in milliseconds. Raises `InvalidGraph` for one that is over before it begins."""
    given = milliseconds(timeout)
    if given <= 0:
        raise InvalidGraph(f"graph {graph!r}: timeout={timeout} must be above 0 seconds", graph=graph)
    return given


class Builder:
    """Writes into one blueprint."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint

    def handled(
        self,
        handler: object,
        name: str | None,
        kind: NodeKind,
        options: NodeOptions,
        fallback: Callable[..., Any] | None = None,
        compensate: Callable[..., Any] | None = None,
    ) -> Step:
        """A step that a handler or another graph does. TASK becomes STREAM or GRAPH where it is such."""
        graph = self.blueprint.graph
        # None is what was not given, as in @node.
        options = cast("NodeOptions", {name: given for name, given in options.items() if given is not None})
        if _is_work(handler):
            check_options(options, graph, name or handler.name)
            if fallback is not None or set(options) - {"name", "on_failure"}:
                given = "fallback" if fallback else min(set(options) - {"name", "on_failure"})
                raise InvalidGraph(
                    f"graph {graph!r}, node {name or handler.name!r}: {given}= belongs to the nodes inside "
                    f"graph {handler.name!r}: set it there",
                    graph=graph,
                    node=name or handler.name,
                )
            kind = NodeKind.GRAPH if kind is NodeKind.TASK else kind
            return self.add(Step(name or handler.name, kind, None, handler, options, compensate=compensate))
        merged = {**options_of(handler), **options}
        check_options(merged, graph, name or name_of(handler) or "lambda")
        chosen = str(name or merged.get("name") or name_of(handler))
        if not chosen:
            raise InvalidGraph(f"graph {graph!r}: a lambda has no name of its own: give name=", graph=graph)
        signature = signature_of(handler, graph, chosen)
        if kind is NodeKind.TASK and signature.streams:
            kind = NodeKind.STREAM
        return self.add(Step(chosen, kind, signature.call, None, options, fallback, compensate))

    def add(self, step: Step) -> Step:
        """Keep a step. Raises `InvalidGraph` for a name that is taken or not allowed."""
        graph = self.blueprint.graph
        check_name(step.name, graph, "a node")
        if step.name in self.blueprint.steps:
            raise InvalidGraph(
                f"graph {graph!r} declares {step.name!r} twice: give one of them another name=",
                graph=graph,
                node=step.name,
            )
        self.blueprint.steps[step.name] = step
        self.blueprint.version += 1
        return step

    def feed(self, step: Step, sources: Iterable[Ref[Any]]) -> None:
        """Draw links from references into the parameters, by position."""
        for position, source in enumerate(sources):
            self.link(source, step.name, into=position)

    def order(self, step: Step, after: After) -> None:
        """Draw links that only order; without any, and with nothing else before it, the step is first."""
        for source in [after] if isinstance(after, Ref) else after:
            self.link(source, step.name, mode=EdgeMode.ORDER)

    def link(
        self,
        source: "Ref[Any] | str",
        target: "Ref[Any] | str",
        *,
        into: str | int | None = None,
        mode: EdgeMode | None = None,
        when: Callable[[Any], bool] | None = None,
    ) -> None:
        """Draw a link. References bring their mode and condition; `when` adds one."""
        condition: Condition | None = None
        if isinstance(source, Ref):
            self.check(source)
            condition = source.origin.condition
            mode = mode or source.origin.mode
        if when is not None:
            if not is_predicate(when):
                raise self.invalid(str(target), f"when={when!r} is no function of the source's output, or async")
            before = condition or Condition()
            if before.otherwise:
                raise self.invalid(str(target), "otherwise() cannot be narrowed further by when=")
            condition = Condition(before.kinds, (*before.predicates, when))
        start = source.node if isinstance(source, Ref) else self.name(source)
        end = self.name(target)
        self.blueprint.links.append(Link(start, end, into, mode, condition))
        self.blueprint.version += 1

    def name(self, node: "Ref[Any] | str") -> str:
        """The node's name. Raises `InvalidGraph` for a reference that is not simply a node of this graph."""
        if isinstance(node, str):
            return node
        self.check(node)
        if node.origin.condition is not None or node.origin.mode is not EdgeMode.VALUE:
            raise self.invalid(node.node, "the node itself is wanted here, not a condition on it, nor its stream")
        return node.node

    def check(self, ref: object) -> None:
        """Raises `InvalidGraph` for what is no reference of this graph."""
        if not isinstance(ref, Ref):
            told = f"{ref!r} is no reference: pass what add_node() returned, or the graph's .input"
            raise InvalidGraph(f"graph {self.blueprint.graph!r}: {told}", graph=self.blueprint.graph)
        if ref.origin.blueprint is not self.blueprint:
            raise self.invalid(
                ref.node,
                f"{ref!r} belongs to another graph: nodes take references of their own",
            )

    def counted(self, node: str, option: str, given: int) -> int:
        """Raises `InvalidGraph` for what is no whole number, or below 1."""
        if not isinstance(cast("object", given), int) or given < 1:
            raise self.invalid(node, f"{option}={given!r} must be at least 1, and whole")
        return given

    def invalid(self, node: str, told: str) -> InvalidGraph:
        graph = self.blueprint.graph
        return InvalidGraph(f"graph {graph!r}, node {node!r}: {told}", graph=graph, node=node)


def _is_work(handler: object) -> TypeGuard[Work[Any, Any]]:
    return isinstance(handler, Work)
