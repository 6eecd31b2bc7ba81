"""What a run sends to the runs that it has started, and a run that has ended to the one that started it."""

from typing import Literal, TypeAlias

from ...domain.commands import CancelChild, OverrideChild, RetryChild, SignalChild, StartChild
from ...domain.cover import is_cover
from ...domain.events import (
    CancelRequested,
    ChildFinished,
    NodeOverridden,
    Page,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
    Source,
)
from ...domain.ids import NodeKey, bounds_of, digest, is_page, key_of, node_of
from ...domain.payload import NOTHING
from ...domain.plan import Plan
from ...domain.state import NodeStatus, Override, RunState, RunStatus
from ...ports.spans import Trace
from ..messages import WorkflowEvent
from .arguments import arguments_of

ChildCommand: TypeAlias = StartChild | SignalChild | OverrideChild | RetryChild | CancelChild

_ENDED_AS: dict[RunStatus, Literal["succeeded", "failed", "cancelled"]] = {
    RunStatus.SUCCEEDED: "succeeded",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
}


def for_child(
    plan: Plan | None, command: ChildCommand, state: RunState, last: RunState, at_ms: int, trace: Trace | None
) -> WorkflowEvent | NodeOverridden | None:
    """The event that a command means for a child, or None when nobody waits for it any more.

    `state` is the run as it was when the command was decided, `last` as it is after all that was decided with it.
    """
    match command:
        case StartChild():
            if plan is None or not _is_awaited(last, command):
                return None
            return start_child(plan, state, command, at_ms, trace)
        case SignalChild():
            return signal_child(state, command, at_ms) if _is_awaited(last, command) else None
        case OverrideChild():
            return override_child(state, command, at_ms)
        case RetryChild():
            return retry_child(state, command, at_ms)
        case CancelChild():
            return cancel_child(state, command, at_ms)


def start_child(
    plan: Plan, state: RunState, command: StartChild, at_ms: int, trace: Trace | None = None
) -> RunRequested:
    """The request for a subgraph, a map item's graph or a page."""
    node = plan.nodes[node_of(command.node)]
    of_page = is_page(command.node)
    is_near = of_page or plan.starts_durable(command.node)
    arguments = arguments_of(plan, state, command.node)
    return RunRequested(
        run=command.child,
        key=state.key if is_near else str(command.child),
        at_ms=at_ms,
        graph=state.graph if of_page else str(node.child_name),
        definition=state.definition if of_page else node.child,
        input=arguments[0].payload if arguments else NOTHING,
        digest=digest(str(command.child)),
        trigger="parent",
        tags=state.tags,
        trace=trace,
        parent=Parent(state.run, state.key, command.node, state.started_ms),
        page=page_of(state, command.node, arguments[0].stream) if of_page else None,
        keys=state.keys if of_page else {},
        timeout_ms=state.timeout_ms if is_cover(plan.definition) else None,
    )


def page_of(state: RunState, key: NodeKey, stream: Source | None) -> Page:
    """What a page is to do, and with what of its node overridden."""
    name = node_of(key)
    override = state.overrides.get(name, Override())
    return Page(name, *bounds_of(key), stream=stream, timeout_ms=override.timeout_ms, attempts=override.attempts)


def child_finished(state: RunState, parent: Parent, at_ms: int) -> ChildFinished:
    """What a run that has ended tells the one that started it."""
    return ChildFinished(
        run=parent.run,
        key=parent.key,
        at_ms=at_ms,
        node=parent.node,
        child=state.run,
        status=_ENDED_AS[state.status],
        output=state.output,
        failure=state.failure,
        counter=state.counter,
        may_go_on=not state.compensated,
        began=parent.began,
    )


def retry_child(state: RunState, command: RetryChild, at_ms: int) -> RetryRequested:
    """The request that a failed child goes on. Its id is its parent's attempt, so that repeats are harmless."""
    return RetryRequested(run=command.child, key=key_of(command.child), at_ms=at_ms, id=f"{state.run}/{command.id}")


def override_child(state: RunState, command: OverrideChild, at_ms: int) -> NodeOverridden:
    """What a page is told of its node: to be told twice changes nothing."""
    name = node_of(command.node)
    override = state.overrides[name]
    return NodeOverridden(
        run=command.child,
        key=key_of(command.child),
        at_ms=at_ms,
        node=name,
        timeout_ms=override.timeout_ms,
        attempts=override.attempts,
    )


def signal_child(state: RunState, command: SignalChild, at_ms: int) -> SignalReceived:
    """The signal that a child is handed. Its id is the one that it came with, so that repeats are harmless."""
    signal = command.signal
    return SignalReceived(
        run=command.child,
        key=key_of(command.child),
        at_ms=at_ms,
        signal=signal.signal,
        id=signal.id,
        value=signal.value,
        parent=state.run,
    )


def cancel_child(state: RunState, command: CancelChild, at_ms: int) -> CancelRequested:
    """The request that a child ends, since its parent has or does not want it any more."""
    reason = f"its parent run {state.run} ended"
    return CancelRequested(run=command.child, key=key_of(command.child), at_ms=at_ms, reason=reason)


def _is_awaited(state: RunState, command: StartChild | SignalChild) -> bool:
    node = state.nodes.get(command.node)
    return node is not None and node.child == command.child and node.status is NodeStatus.WAITING
