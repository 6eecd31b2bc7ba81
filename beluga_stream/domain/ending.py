"""How a run ends: success with its finish points' outputs, failure with compensation, cancel."""

from .commands import BroadcastCancel, CancelChild, Command, DispatchNode, NotifyParent, PublishRun
from .draft import Draft
from .events import Failure
from .ids import NodeKey, NodeName, item_key, undo_key
from .payload import NOTHING, Payload, gather
from .state import NODE_ENDED, NodeStatus, RunStatus

_AT_WORKERS = frozenset({NodeStatus.READY, NodeStatus.RUNNING})


def finish_if_done(draft: Draft) -> None:
    """End the run when every declared node has ended."""
    if draft.status is not RunStatus.RUNNING or draft.active > 0:
        return
    output = _output(draft)
    if output is None:
        finish = ", ".join(draft.plan.definition.finish)
        fail_run(draft, Failure("invalid_state", f"no finish point was reached: {finish} was skipped"))
        return
    _end(draft, RunStatus.SUCCEEDED, output=output)


def fail_run(draft: Draft, failure: Failure) -> None:
    """Stop what is under way, undo what is done, in reverse, and end as failed."""
    stop_everything(draft)
    draft.failure = failure
    draft.status = RunStatus.COMPENSATING
    compensate_next(draft)


def cancel_run(draft: Draft, reason: str) -> None:
    """Stop everything and end as cancelled: nothing is dispatched after it, no compensation either."""
    stop_everything(draft)
    _end(draft, RunStatus.CANCELLED, failure=Failure("task_canceled", reason or "the run was cancelled"))


def stop_everything(draft: Draft) -> None:
    """Cancel every node that has begun and not ended; pending ones stay pending, for a later retry."""
    draft.generation += 1
    stops: list[Command] = []
    at_workers = False
    for key, node in tuple(draft.nodes.items()):
        if node.status in NODE_ENDED or node.status is NodeStatus.PENDING:
            continue
        at_workers = at_workers or node.status in _AT_WORKERS
        if node.child is not None:
            stops.append(CancelChild(key, node.child))
        draft.move(key, NodeStatus.CANCELLED)
    if at_workers:
        stops.append(BroadcastCancel(draft.generation))
    draft.commands.extend(stops)


def cancel_nodes(draft: Draft, keys: list[NodeKey]) -> None:
    """Cancel single nodes (and a map's items) while the run goes on."""
    at_workers: list[str] = []
    for key in keys:
        node = draft.node(key)
        if node.status in NODE_ENDED:
            continue
        if node.status in _AT_WORKERS:
            at_workers.append(f"{key}/{node.attempt}")
        if node.child is not None:
            draft.commands.append(CancelChild(key, node.child))
        draft.move(key, NodeStatus.CANCELLED)
    if at_workers:
        draft.commands.append(BroadcastCancel(draft.generation, tuple(at_workers)))


def compensate_next(draft: Draft) -> None:
    """Dispatch the latest compensation not yet run; without one the run has failed."""
    waiting = [
        (node.ended, name)
        for name, declared in draft.plan.nodes.items()
        if declared.has_compensation
        and (node := draft.node(name)).status is NodeStatus.SUCCEEDED
        and undo_key(name) not in draft.nodes
    ]
    if not waiting:
        _end(draft, RunStatus.FAILED, failure=draft.failure)
        return
    draft.compensated = True
    key = undo_key(max(waiting)[1])
    node = draft.move(key, NodeStatus.READY, attempt=1, tries=1)
    draft.commands.append(DispatchNode(key, node.attempt))


def _output(draft: Draft) -> Payload | None:
    if draft.before.page is not None:
        page = draft.before.page
        return gather([draft.node(item_key(page.node, i)).output or NOTHING for i in range(page.start, page.stop)])
    finish = draft.plan.definition.finish
    reached: list[tuple[NodeName, Payload]] = [
        (name, draft.node(name).output or NOTHING)
        for name in finish
        if draft.node(name).status is NodeStatus.SUCCEEDED
    ]
    if not reached:
        return None
    if len(finish) == 1:
        return reached[0][1]
    return gather([payload for _, payload in reached], [name for name, _ in reached])


def _end(
    draft: Draft, status: RunStatus, *, output: Payload | None = None, failure: Failure | None = None
) -> None:
    draft.status = status
    draft.output = output
    draft.failure = failure
    draft.due_ms = None
    draft.ended_ms = draft.at_ms
    draft.counter += 1
    draft.commands.append(PublishRun(status.value, draft.counter))
    if draft.before.parent is not None:
        draft.commands.append(NotifyParent())
