"""How a run ends: success with its finish points' outputs, failure with compensation, cancel."""

from collections.abc import Iterable
from typing import TypeGuard

from .commands import (
    BroadcastCancel,
    CancelChild,
    Command,
    DispatchNode,
    NotifyParent,
    RetryChild,
    SignalChild,
    StartChild,
)
from .draft import Draft
from .events import Failure
from .frozen import replace
from .ids import NodeKey, attempt_key, undo_key
from .payload import NOTHING, Payload, gather
from .state import NODE_ENDED, NodeState, NodeStatus, RunStatus

_AT_WORKERS = frozenset({NodeStatus.READY, NodeStatus.RUNNING})
_NOT_FAILING = frozenset({RunStatus.RUNNING, RunStatus.LIMITED})


def finish_if_done(draft: Draft) -> None:
    """End the run when every declared node has ended."""
    if draft.active > 0 or draft.status is not RunStatus.RUNNING:
        return
    output = _output(draft)
    if output is None:
        finish = ", ".join(draft.plan.definition.finish)
        fail_run(draft, Failure("invalid_state", f"no finish point was reached: {finish} did not succeed"))
        return
    _end(draft, RunStatus.SUCCEEDED, output=output)


def fail_run(draft: Draft, failure: Failure) -> None:
    """Stop what is under way, undo what is done, in reverse, and end as failed.

    The run's own deadline is over with it: compensation is not cut short.
    """
    if draft.status not in _NOT_FAILING:
        return
    stop_everything(draft)
    draft.failure = failure
    draft.due_ms = None
    draft.status = RunStatus.COMPENSATING
    compensate_next(draft)


def cancel_run(draft: Draft, reason: str) -> None:
    """Stop everything and end as cancelled: nothing is dispatched after it, no compensation either."""
    stop_everything(draft)
    _end(draft, RunStatus.CANCELLED, failure=Failure("task_canceled", reason or "the run was cancelled"))


def give_up(draft: Draft, failure: Failure) -> None:
    """End a run whose state has outgrown its record: without its values, and without compensation."""
    stop_everything(draft)
    draft.compensated = True  # so that no retry begins from values that are gone
    draft.signals = ()
    draft.nodes = {key: replace(node, output=None, failure=None, details=None) for key, node in draft.nodes.items()}
    _end(draft, RunStatus.FAILED, failure=failure)


def stop_everything(draft: Draft) -> None:
    """Cancel every node that has begun and not ended; pending ones stay pending, for a later retry."""
    draft.generation += 1
    for key, node in tuple(draft.nodes.items()):
        if node.status is NodeStatus.PENDING and node.slot:
            draft.keep(key, draft.give_back(key, node))  # it was recalled from a stream that was void
    begun = [
        key
        for key, node in draft.nodes.items()
        if node.status is not NodeStatus.PENDING and node.status not in NODE_ENDED
    ]
    if _stop(draft, begun):
        draft.commands.append(BroadcastCancel(draft.generation))


def cancel_nodes(draft: Draft, keys: Iterable[NodeKey]) -> None:
    """Cancel single nodes (and a map's items) while the run goes on."""
    at_workers = _stop(draft, [key for key in keys if draft.node(key).status not in NODE_ENDED])
    if at_workers:
        draft.commands.append(BroadcastCancel(draft.generation, tuple(at_workers)))


def compensate_next(draft: Draft) -> None:
    """Dispatch the latest compensation not yet run; without one the run has failed."""
    waiting = [
        (node.ended, name)
        for name in draft.plan.undoable
        if (node := draft.node(name)).status is NodeStatus.SUCCEEDED
        and undo_key(name) not in draft.nodes
        and not is_taken_over(node)
    ]
    if not waiting:
        _end(draft, RunStatus.FAILED, failure=draft.failure)
        return
    if not draft.compensated:
        draft.compensated = True
        draft.announce(RunStatus.COMPENSATING)
    key = undo_key(max(waiting)[1])
    node = draft.move(key, NodeStatus.READY, attempt=1, tries=1)
    draft.commands.append(DispatchNode(key, node.attempt))


def _stop(draft: Draft, keys: list[NodeKey]) -> list[str]:
    """Cancel these. Returns the attempts that workers may have.

    What began in this very event is withdrawn: its command was not sent yet, so that nobody need be told.
    """
    begun = {command.node for command in draft.commands if _begins(command)}
    withdrawn = begun.intersection(keys)
    if withdrawn:
        draft.commands = [
            command
            for command in draft.commands
            if not ((_begins(command) or isinstance(command, SignalChild)) and command.node in withdrawn)
        ]
    at_workers: list[str] = []
    children: list[Command] = []
    for key in keys:
        node = draft.node(key)
        if key not in withdrawn:
            if node.status in _AT_WORKERS:
                at_workers.append(attempt_key(key, node.attempt))
            if node.child is not None:
                children.append(CancelChild(key, node.child))
        draft.move(key, NodeStatus.CANCELLED)
    draft.commands.extend(children)
    return at_workers


def is_taken_over(node: NodeState) -> bool:
    """Whether another run has executed it, and answers for its effects; a handler's attempts count from 1."""
    return node.attempt == 0


def _begins(command: Command) -> TypeGuard[DispatchNode | StartChild | RetryChild]:
    return isinstance(command, DispatchNode | StartChild | RetryChild)


def _output(draft: Draft) -> Payload | None:
    """The run's output; None when no finish point was reached."""
    if draft.before.page is not None:
        return draft.node(draft.before.page.node).output
    finish = draft.plan.definition.finish
    reached = [name for name in finish if draft.node(name).status is NodeStatus.SUCCEEDED]
    if not reached:
        return None
    outputs = [draft.node(name).output or NOTHING for name in reached]
    return outputs[0] if len(finish) == 1 else gather(outputs, reached)


def _end(draft: Draft, status: RunStatus, *, output: Payload | None = None, failure: Failure | None = None) -> None:
    draft.output = output
    draft.failure = failure
    draft.due_ms = None
    draft.ended_ms = draft.at_ms
    draft.give_back_runs()
    draft.announce(status)
    if draft.before.parent is not None:
        draft.commands.append(NotifyParent())
