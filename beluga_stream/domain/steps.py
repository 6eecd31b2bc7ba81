"""How each kind of node begins, and what follows when one of its executions ends."""

from collections.abc import Iterable
from dataclasses import replace

from .commands import BroadcastCancel, DispatchNode, RetryChild, StartChild
from .definition import Join, Node, NodeKind
from .draft import Draft
from .ending import cancel_nodes, compensate_next, fail_run, finish_if_done
from .events import Failure
from .flow import argument_of, cancel_superfluous, executions, resolve_edges, select
from .ids import (
    INPUT,
    NodeKey,
    NodeName,
    RunId,
    child_run_id,
    item_key,
    node_of,
    page_key,
    page_run_id,
    pass_key,
)
from .payload import NOTHING, Paged, Payload, gather, length_of
from .retry import delay_ms
from .state import NODE_ENDED, NodeState, NodeStatus

PAGE = 64
"""Maps above this many items are split into page runs of this many."""

PARKED_RECHECK_MS = 10_000
"""How often a parked node is offered to the workers again."""


def begin_run(draft: Draft) -> None:
    """Resolve the input's edges and begin what they feed; a page begins its items."""
    if draft.before.page is not None:
        page = draft.before.page
        draft.active = 1
        draft.move(page.node, NodeStatus.WAITING, next=page.start, total=page.stop)
        _open_items(draft, draft.plan.nodes[page.node])
        return
    _begin_all(draft, resolve_edges(draft, INPUT))
    finish_if_done(draft)


def begin(draft: Draft, node: Node) -> None:
    """Begin a node whose edges allow it."""
    match node.kind:
        case NodeKind.TASK | NodeKind.STREAM:
            dispatch(draft, NodeKey(node.name))
        case NodeKind.MAP:
            _begin_map(draft, node)
        case NodeKind.LOOP:
            draft.move(node.name, NodeStatus.WAITING, next=1, open=1)
            _begin_execution(draft, node, pass_key(node.name, 1))
        case NodeKind.GRAPH:
            _start_child(draft, NodeKey(node.name), child_run_id(draft.run, NodeKey(node.name)))
        case NodeKind.SELECT:
            succeed(draft, NodeKey(node.name), select(draft, node))
            if node.join is not Join.ALL:
                cancel_superfluous(draft, node)
                finish_if_done(draft)
        case NodeKind.WAIT:
            _begin_wait(draft, node)
        case NodeKind.SLEEP:
            draft.move(node.name, NodeStatus.WAITING, due_ms=draft.at_ms + (node.timeout_ms or 0))


def dispatch(draft: Draft, key: NodeKey, *, fresh: bool = True, fallback: bool | None = None) -> None:
    """Send the node's next attempt to the workers. `fresh` gives it its whole retry budget again."""
    node = draft.node(key)
    new = draft.move(
        key,
        NodeStatus.READY,
        attempt=node.attempt + 1,
        tries=1 if fresh else node.tries + 1,
        incarnation=None,
        worker=None,
        stream=None,
        failure=None if fresh and fallback is None else node.failure,
        fallback=node.fallback if fallback is None else fallback,
    )
    draft.commands.append(DispatchNode(key, new.attempt))


def succeed(
    draft: Draft,
    key: NodeKey,
    output: Payload,
    *,
    branches: tuple[int, ...] = (),
    chunks: int | None = None,
    done: bool = True,
) -> None:
    """An execution has its output: end it, and go on with what it allows."""
    name = node_of(key)
    draft.move(key, NodeStatus.SUCCEEDED, output=output, branches=branches, chunks=chunks)
    if key != name:
        _part_succeeded(draft, draft.plan.nodes[name], key, done=done)
        return
    _begin_all(draft, resolve_edges(draft, name))
    finish_if_done(draft)


def fail(draft: Draft, key: NodeKey, failure: Failure, *, retryable: bool) -> None:
    """An execution failed: retry it, fall back, go on without it, or fail the run."""
    name = node_of(key)
    declared = draft.plan.nodes[name]
    node = draft.node(key)
    if retryable and node.tries < declared.retry.attempts:
        pause = delay_ms(declared.retry, node.tries, draft.run, key)
        draft.move(key, NodeStatus.BACKOFF, due_ms=draft.at_ms + pause, failure=failure)
        return
    if declared.has_fallback and not node.fallback:
        draft.keep(key, replace(node, failure=failure))
        dispatch(draft, key, fallback=True)
        return
    if retryable and declared.retry.attempts > 1:
        failure = replace(failure, message=f"{failure.message} (after {node.tries} attempts)")
    if key.endswith("~undo"):
        draft.move(key, NodeStatus.FAILED, failure=failure)
        if draft.failure is not None:
            told = f"{draft.failure.message}; compensation of {name} failed too: {failure.message}"
            draft.failure = replace(draft.failure, message=told)
        compensate_next(draft)
        return
    draft.move(key, NodeStatus.FAILED, failure=failure)
    if key != name:
        cancel_nodes(
            draft, [part for part in executions(draft, name) if draft.node(part).status not in NODE_ENDED]
        )
        draft.move(name, NodeStatus.FAILED, failure=failure)
    if name in draft.plan.forgiving:
        _begin_all(draft, resolve_edges(draft, name))
        finish_if_done(draft)
        return
    fail_run(draft, failure)


def undone(draft: Draft, key: NodeKey, output: Payload) -> None:
    """A compensation is done: go on with the one before it."""
    draft.move(key, NodeStatus.SUCCEEDED, output=output)
    compensate_next(draft)


def lose(draft: Draft, key: NodeKey) -> None:
    """The execution's worker is gone: fence it and dispatch the next attempt, at no cost to its retries."""
    node = draft.node(key)
    draft.commands.append(BroadcastCancel(draft.generation, (f"{key}/{node.attempt}",)))
    tries = node.tries
    dispatch(draft, key, fresh=False)
    draft.keep(key, replace(draft.node(key), tries=tries))


def park(draft: Draft, key: NodeKey) -> None:
    """The deployed code lacks the node: wait for a deploy, looking again from time to time."""
    name = node_of(key)
    failure = Failure(
        "code_missing",
        f"no worker has the code of {draft.before.graph}/{name}@{draft.before.definition}: "
        f"deploy it, or cancel the run",
        node=key,
    )
    draft.move(key, NodeStatus.PARKED, due_ms=draft.at_ms + PARKED_RECHECK_MS, failure=failure)


def reset_failed(draft: Draft) -> None:
    """For `retry`: everything that failed or was stopped is pending again; what succeeded stays."""
    again: list[NodeName] = []
    for key, node in tuple(draft.nodes.items()):
        if node.status in (NodeStatus.SUCCEEDED, NodeStatus.SKIPPED):
            continue
        name = node_of(key)
        if key == name and node.status is not NodeStatus.PENDING:
            draft.active += 1
            again.append(name)
        draft.nodes[key] = replace(node, status=NodeStatus.PENDING, output=None, failure=None, due_ms=None)
    for name in draft.plan.order:
        if name not in again:
            continue
        node = draft.node(name)
        if draft.plan.nodes[name].kind in (NodeKind.MAP, NodeKind.LOOP):
            _resume_parts(draft, draft.plan.nodes[name])
        elif node.child is not None:
            _child_again(draft, NodeKey(name))
        else:
            begin(draft, draft.plan.nodes[name])


def begin_waiting(draft: Draft, names: Iterable[Node]) -> None:
    """Begin nodes whose turn it is, and end the run when nothing is left."""
    _begin_all(draft, names)
    finish_if_done(draft)


def _begin_all(draft: Draft, nodes: Iterable[Node]) -> None:
    for node in nodes:
        if draft.node(node.name).status is NodeStatus.PENDING:
            begin(draft, node)


def _begin_map(draft: Draft, node: Node) -> None:
    items = argument_of(draft, draft.plan.incoming[node.name][0])
    total = length_of(items)
    if total is None:
        draft.move(node.name, NodeStatus.READY, tries=node.retry.attempts)
        source = draft.plan.incoming[node.name][0].source
        fail(
            draft,
            NodeKey(node.name),
            Failure("invalid_input", f"{source} gave no list for the map {node.name} to go over", node=node.name),
            retryable=False,
        )
        return
    if total == 0:
        succeed(draft, NodeKey(node.name), gather([]))
        return
    draft.move(node.name, NodeStatus.WAITING, next=0, total=total, open=0)
    _open_items(draft, node)


def _step_of(draft: Draft, node: Node, total: int) -> int:
    """1: single items; PAGE: pages of a large map (a page itself has single items)."""
    return 1 if draft.before.page is not None or total <= PAGE else PAGE


def _open_items(draft: Draft, node: Node) -> None:
    """Begin items or pages until `max_parallel` are under way."""
    state = draft.node(node.name)
    step = _step_of(draft, node, state.total)
    most = node.max_parallel if step == 1 else max(1, node.max_parallel // PAGE)
    upto, opened = state.next, state.open
    while upto < state.total and opened < most:
        if step == 1:
            _begin_execution(draft, node, item_key(node.name, upto))
        else:
            key = page_key(node.name, upto, min(upto + step, state.total))
            _start_child(draft, key, page_run_id(draft.run, key))
        upto += step
        opened += 1
    draft.keep(node.name, replace(draft.node(node.name), next=upto, open=opened))


def _begin_execution(draft: Draft, node: Node, key: NodeKey) -> None:
    if node.child is not None:
        _start_child(draft, key, child_run_id(draft.run, key))
    else:
        dispatch(draft, key)


def _start_child(draft: Draft, key: NodeKey, child: RunId) -> None:
    draft.move(key, NodeStatus.WAITING, child=child)
    draft.commands.append(StartChild(key, child))


def _begin_wait(draft: Draft, node: Node) -> None:
    for index, signalled in enumerate(draft.signals):
        if signalled.signal == node.signal:
            draft.signals = (*draft.signals[:index], *draft.signals[index + 1 :])
            succeed(draft, NodeKey(node.name), signalled.value)
            return
    draft.move(node.name, NodeStatus.WAITING, due_ms=_wait_due(draft, node), open=0)


def _wait_due(draft: Draft, node: Node, reminded: int = 0) -> int | None:
    """The next reminder or the end of the wait, whichever is first, counted from when it began."""
    end = None if node.timeout_ms is None else node.timeout_ms
    if node.remind_ms is not None and reminded == 0 and (end is None or node.remind_ms < end):
        return draft.at_ms + node.remind_ms
    if end is None:
        return None
    return draft.at_ms + end - (node.remind_ms or 0) * reminded


def wait_is_due(draft: Draft, key: NodeKey) -> None:
    """A wait's timer: remind once, then time out."""
    node = draft.plan.nodes[node_of(key)]
    state = draft.node(key)
    if node.remind_ms is not None and state.open == 0:
        due = _wait_due(draft, node, reminded=1)
        draft.move(key, NodeStatus.WAITING, due_ms=due, open=1)
        return
    message = f"no signal {node.signal!r} came in time"
    fail(draft, key, Failure("timeout", message, node=key), retryable=False)


def _part_succeeded(draft: Draft, node: Node, key: NodeKey, *, done: bool) -> None:
    """An item, page or pass has its output: open the next, or end the whole."""
    state = draft.node(node.name)
    if node.kind is NodeKind.LOOP:
        _pass_succeeded(draft, node, state, key, done=done)
        return
    draft.keep(node.name, replace(state, open=state.open - 1))
    _open_items(draft, node)
    state = draft.node(node.name)
    if state.open > 0:
        return
    parts = _parts(draft, node, state)
    output = _joined(draft, parts, paged=_step_of(draft, node, state.total) > 1, total=state.total)
    if draft.before.page is None:
        for part in parts:
            draft.keep(part, replace(draft.node(part), output=None))
    succeed(draft, NodeKey(node.name), output)


def _parts(draft: Draft, node: Node, state: NodeState) -> list[NodeKey]:
    start = draft.before.page.start if draft.before.page is not None else 0
    step = _step_of(draft, node, state.total)
    if step == 1:
        return [item_key(node.name, index) for index in range(start, state.total)]
    return [page_key(node.name, at, min(at + step, state.total)) for at in range(start, state.total, step)]


def _joined(draft: Draft, parts: list[NodeKey], *, paged: bool, total: int) -> Payload:
    outputs = [draft.node(part).output or NOTHING for part in parts]
    return Paged(tuple(outputs), total) if paged else gather(outputs)


def _pass_succeeded(draft: Draft, node: Node, state: NodeState, key: NodeKey, *, done: bool) -> None:
    output = draft.node(key).output or NOTHING
    if done:
        succeed(draft, NodeKey(node.name), output)
        return
    if state.next >= node.max_passes:
        message = f"the loop {node.name} is not done after {node.max_passes} passes: raise max_passes, or mend until"
        draft.move(node.name, NodeStatus.FAILED, failure=Failure("execution_failed", message, node=node.name))
        if node.name in draft.plan.forgiving:
            begin_waiting(draft, resolve_edges(draft, node.name))
        else:
            fail_run(draft, Failure("execution_failed", message, node=node.name))
        return
    if state.next > 1:
        draft.nodes.pop(pass_key(node.name, state.next - 1), None)
    draft.keep(node.name, replace(state, next=state.next + 1))
    _begin_execution(draft, node, pass_key(node.name, state.next + 1))


def _resume_parts(draft: Draft, node: Node) -> None:
    """For `retry`: begin the parts of a map or loop again that did not succeed."""
    parts = executions(draft, node.name)
    left = [key for key in parts if draft.node(key).status is NodeStatus.PENDING]
    if not parts:
        begin(draft, node)
        return
    draft.move(node.name, NodeStatus.WAITING, open=len(left))
    for key in left:
        if draft.node(key).child is not None:
            _child_again(draft, key)
        else:
            dispatch(draft, key)


def _child_again(draft: Draft, key: NodeKey) -> None:
    """A failed child goes on from its failed nodes; one that was cancelled is begun anew, as another run."""
    old = draft.before.nodes[key]
    if old.status is NodeStatus.FAILED and old.child is not None:
        draft.move(key, NodeStatus.WAITING, child=old.child, attempt=old.attempt + 1)
        draft.commands.append(RetryChild(key, old.child))
        return
    attempt = old.attempt + 1
    anew = NodeKey(f"{key}/{attempt}")
    is_page = draft.plan.nodes[node_of(key)].kind is NodeKind.MAP and ":" in key
    child = page_run_id(draft.run, anew) if is_page else child_run_id(draft.run, anew)
    draft.move(key, NodeStatus.WAITING, child=child, attempt=attempt)
    draft.commands.append(StartChild(key, child))
