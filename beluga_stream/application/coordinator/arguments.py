"""What a node is given when it runs: the values that its taken edges hand to it, or the streams that it reads."""

from ...domain.definition import Edge, EdgeMode, NodeKind
from ...domain.events import Source
from ...domain.flow import carried, is_taken
from ...domain.ids import INPUT, NodeKey, NodeName, feed_key, index_of, is_feed, is_page, node_of
from ...domain.parts import is_judged
from ...domain.payload import NOTHING, Gathered, Inline, Payload, Picked
from ...domain.plan import Plan
from ...domain.state import NODE_ENDED, NodeState, RunState
from ..messages import Argument


def arguments_of(plan: Plan, state: RunState, key: NodeKey) -> tuple[Argument, ...]:
    """What the taken edges hand to a node; for a map item its item, for a later loop pass the last output.

    A pass over a graph whose run has ended gets what that gave.

    What a fork was given for its node stands in the place of what an edge hands over.
    """
    name = node_of(key)
    declared = plan.nodes[name]
    if state.page is not None and state.page.stream is not None:
        return _of_stream(plan, state, key, state.page.stream)
    bound: dict[str, Argument] = {}
    for edge in plan.incoming[name]:
        handed = _handed(plan, state, name, edge)
        if handed is not None:
            bound.setdefault(handed.name, handed)
    arguments = tuple(bound.values())
    if key == name or is_page(key):
        return arguments
    first, *rest = arguments
    if declared.kind is NodeKind.LOOP:
        judged = state.nodes.get(key)
        if judged is not None and is_judged(judged):
            return (Argument(first.name, judged.output or NOTHING), *rest)
        number = index_of(key)
        before = state.nodes.get(NodeKey(f"{name}#{number - 1}"))
        if before is None:
            return arguments
        return (Argument(first.name, before.output or NOTHING), *rest)
    return (Argument(first.name, _item(first.payload, index_of(key))), *rest)


def _handed(plan: Plan, state: RunState, name: NodeName, edge: Edge) -> Argument | None:
    into = edge.into or ""
    if edge.mode is EdgeMode.ORDER:
        return None
    if state.fork is not None and state.fork.node == name and into in state.fork.edited:
        return Argument(into, state.fork.edited[into], mode=edge.mode)
    if edge.source == INPUT or state.page is not None:
        return Argument(into, state.input or NOTHING, mode=edge.mode)
    source = state.nodes.get(NodeKey(edge.source))
    if source is None:
        return None
    if source.status in NODE_ENDED:
        return Argument(into, carried(edge, source), mode=edge.mode) if is_taken(edge, source) else None
    stream = source_of(plan, edge.source, source) if edge.mode is EdgeMode.STREAM else None
    return None if stream is None else Argument(into, NOTHING, mode=edge.mode, stream=stream)


def _of_stream(plan: Plan, state: RunState, key: NodeKey, source: Source) -> tuple[Argument, ...]:
    """In a page of a map over a stream: the stream for what reads it, its chunk for an item."""
    name = node_of(key)
    into = next(edge.into or "" for edge in plan.incoming[name] if edge.mode is EdgeMode.STREAM)
    if is_feed(key):
        return (Argument(into, NOTHING, mode=EdgeMode.STREAM, stream=source),)
    if key == name:
        return ()
    start = index = index_of(key)
    while (feed := state.nodes.get(feed_key(name, start))) is None:
        start -= 1
    return (Argument(into, _item(feed.output or NOTHING, index - start)),)


def _item(payload: Payload, index: int) -> Payload:
    match payload:
        case Inline(value):
            return Inline(value[index])
        case Gathered(items):
            return items[index]
        case _:
            return Picked(payload, index)


def undo_arguments(plan: Plan, state: RunState, key: NodeKey) -> tuple[Argument, ...]:
    name = node_of(key)
    output = state.nodes[NodeKey(name)].output or NOTHING
    return (*arguments_of(plan, state, NodeKey(name)), Argument("", output))


def source_of(plan: Plan, name: NodeName, node: NodeState) -> Source | None:
    """The stream of a node by reference; None when it has none that others read, or might go on with."""
    stream = node.stream
    if stream is None:
        return None
    return Source(
        name,
        stream.incarnation,
        stream.partition,
        stream.offset,
        stream.counter,
        resume=plan.nodes[name].resume and not node.fallback,
    )
