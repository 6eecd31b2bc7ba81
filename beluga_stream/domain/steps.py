"""How each kind of node begins, and what follows when one of its executions ends."""

from .crashes import is_hopeless, is_poison, poisoned
from .definition import Join, Node, NodeKind
from .draft import Draft
from .ending import cancel_nodes, compensate_next, finish_if_done
from .events import Failure, NodeSucceeded
from .execution import complete, dispatch, give_up, start_child
from .flow import cancel_superfluous, executions, resolve_edges, select
from .forking import take_over
from .frozen import replace
from .ids import INPUT, NodeKey, NodeName, is_page, is_undo, node_of
from .limiting import told
from .parts import begin_loop, begin_map, begin_page, judge, part_succeeded
from .payload import NOTHING, Payload
from .retry import delay_ms
from .state import NodeStatus, RunStatus
from .streams import interrupt

PARKED_RECHECK_MS = 10_000
"""How often a parked node is offered to the workers again."""


def begin_run(draft: Draft) -> None:
    """Resolve the input's edges and begin what they feed; a page begins its items, a fork what it did not take over."""
    page = draft.before.page
    if page is not None:
        begin_page(draft, draft.plan.nodes[page.node], page)
    elif draft.fork is not None:
        take_over(draft, draft.fork)
    else:
        resolve_edges(draft, INPUT)


def settle(draft: Draft) -> None:
    """After an event: begin what became ready, and end the run when nothing is left."""
    while draft.ready and draft.status is RunStatus.RUNNING:
        name = draft.ready.popleft()
        if draft.node(name).status is NodeStatus.PENDING:
            _begin(draft, draft.plan.nodes[name])
    finish_if_done(draft)


def succeed(
    draft: Draft,
    key: NodeKey,
    output: Payload,
    handler: NodeSucceeded | None = None,
) -> None:
    """An execution has its output: end it, and go on with what it allows. `handler` is what a worker told."""
    if handler is None:
        draft.move(key, NodeStatus.SUCCEEDED, output=output, failure=None, details=None, losses=0)
    else:
        draft.move(
            key,
            NodeStatus.SUCCEEDED,
            incarnation=handler.incarnation,
            output=output,
            branches=handler.branches,
            chunks=handler.chunks,
            failure=None,
            details=None,
            losses=0,
        )
    if key in draft.plan.nodes:
        resolve_edges(draft, NodeName(key))
    elif is_undo(key):
        compensate_next(draft)
    else:
        done = handler is None or handler.done
        part_succeeded(draft, draft.plan.nodes[node_of(key)], key, done=done)


def child_succeeded(draft: Draft, key: NodeKey, output: Payload) -> None:
    """The run that an execution began has its output."""
    if draft.plan.nodes[node_of(key)].kind is NodeKind.LOOP:
        judge(draft, key, output)
    else:
        succeed(draft, key, output)


def fail(draft: Draft, key: NodeKey, failure: Failure, *, retryable: bool) -> None:
    """An execution failed: retry it, fall back, go on without it, or fail the run."""
    name = node_of(key)
    declared = draft.plan.nodes[name]
    node = draft.node(key)
    if failure.node is None:
        failure = replace(failure, node=key, attempt=node.attempt)
    override = draft.before.overrides.get(name)
    attempts = declared.retry.attempts if override is None else override.attempts or declared.retry.attempts
    if retryable and node.tries < attempts:
        pause = delay_ms(declared.retry, node.tries, draft.run, key, asked_ms=failure.retry_after_ms)
        interrupt(draft, key, resumes=not node.fallback)
        draft.move(key, NodeStatus.BACKOFF, due_ms=draft.at_ms + pause, worker=None, failure=failure)
        return
    if declared.has_fallback and not (node.fallback or is_undo(key) or is_page(key)):
        dispatch(draft, key, fallback=True, failure=failure)
        return
    if retryable and node.tries > 1:
        failure = replace(failure, message=f"{failure.message} (after {node.tries} attempts)")
    if key == name:
        give_up(draft, name, failure)
        return
    draft.move(key, NodeStatus.FAILED, failure=failure)
    if is_undo(key):
        _undo_failed(draft, name, failure)
        return
    cancel_nodes(draft, executions(draft, name))
    give_up(draft, name, failure)


def lose(draft: Draft, key: NodeKey) -> None:
    """The execution's worker is gone: fence it and dispatch the next attempt, at no cost to its retries."""
    node = draft.node(key)
    losses = node.losses + 1
    draft.fence(key)
    if is_hopeless(draft.plan.nodes[node_of(key)], losses):
        fail(draft, key, poisoned(key, node.attempt, losses, node.worker), retryable=False)
        return
    dispatch(draft, key, tries=node.tries, losses=losses, fallback=node.fallback, failure=node.failure)


def hand_over(draft: Draft, key: NodeKey) -> None:
    """The next attempt takes over, and the one before it has not failed: fence that one. Nothing is counted."""
    node = draft.node(key)
    draft.fence(key)
    dispatch(draft, key, tries=node.tries, losses=node.losses, fallback=node.fallback, failure=node.failure)


def crash(draft: Draft, key: NodeKey, failure: Failure, worker: str, *, retryable: bool) -> None:
    """The execution's own process died: a failure like others, until it is one too many."""
    node = draft.node(key)
    losses = node.losses + 1
    draft.keep(key, replace(node, losses=losses))
    if is_poison(draft.plan.nodes[node_of(key)], losses):
        failure, retryable = poisoned(key, node.attempt, losses, worker), False
    fail(draft, key, failure, retryable=retryable)


def park(draft: Draft, key: NodeKey, worker: str) -> None:
    """The deployed code of this worker lacks the node: wait for a deploy, looking again from time to time.

    Others may have it: a run's work goes to one partition of the queue, and so to one worker.
    """
    who = f"worker {worker}" if worker else "a worker"
    code = f"{draft.before.graph}/{node_of(key)}@{draft.before.definition}"
    message = f"{who} has no code of {code}: deploy it there, or cancel the run"
    failure = Failure("code_missing", message, node=key)
    due = draft.at_ms + PARKED_RECHECK_MS
    interrupt(draft, key, resumes=not draft.node(key).fallback)
    draft.move(key, NodeStatus.PARKED, due_ms=due, worker=None, failure=failure)


def again(draft: Draft, key: NodeKey) -> None:
    """A pause is over: the next attempt. Looking for missing code costs no retries."""
    node = draft.node(key)
    if node.status is NodeStatus.PARKED:
        dispatch(draft, key, tries=node.tries, losses=node.losses, fallback=node.fallback)
    else:
        dispatch(draft, key, tries=node.tries + 1, losses=node.losses, fallback=node.fallback, failure=node.failure)


def is_due(draft: Draft, key: NodeKey) -> None:
    """A sleep is over; or a wait's timer: remind once, then time out."""
    node = draft.plan.nodes[node_of(key)]
    state = draft.node(key)
    if node.kind is NodeKind.SLEEP:
        complete(draft, node.name, NOTHING)
        return
    if state.open == 0 and _reminds(node) and state.due_ms is not None and node.remind_ms is not None:
        due = None if node.timeout_ms is None else state.due_ms - node.remind_ms + node.timeout_ms
        draft.move(key, NodeStatus.WAITING, due_ms=due, open=1)
        return
    message = f"no signal {node.signal!r} came in time"
    fail(draft, key, Failure("timeout", message, node=key), retryable=False)


def no_slot(draft: Draft, key: NodeKey) -> None:
    """The node has waited for a slot as long as its limit lets it: it fails, or its fallback stands in."""
    message = f"it waited too long for {told(draft.plan, draft.before, key)}"
    draft.keep(key, draft.give_back(key, draft.node(key)))
    fail(draft, key, Failure("timeout", message, node=key), retryable=False)


def _begin(draft: Draft, node: Node) -> None:
    """Begin a node whose edges allow it."""
    if node.join is not Join.ALL:
        cancel_superfluous(draft, node)
    match node.kind:
        case NodeKind.TASK | NodeKind.STREAM:
            _begin_handler(draft, node.name)
        case NodeKind.MAP:
            begin_map(draft, node)
        case NodeKind.LOOP:
            begin_loop(draft, node)
        case NodeKind.GRAPH:
            start_child(draft, node.name)
        case NodeKind.SELECT:
            complete(draft, node.name, select(draft, node))
        case NodeKind.WAIT:
            _begin_wait(draft, node)
        case NodeKind.SLEEP:
            attempt = draft.node(node.name).attempt + 1
            due = draft.at_ms + (node.timeout_ms or 0)
            draft.move(node.name, NodeStatus.WAITING, attempt=attempt, due_ms=due)


def _begin_handler(draft: Draft, name: NodeName) -> None:
    """Dispatch it; one that was recalled goes on where it was in its budget of retries."""
    state = draft.node(name)
    dispatch(
        draft,
        name,
        tries=max(1, state.tries),
        losses=state.losses,
        fallback=state.fallback,
        failure=state.failure,
    )


def _begin_wait(draft: Draft, node: Node) -> None:
    for index, signalled in enumerate(draft.signals):
        if signalled.signal == node.signal:
            draft.signals = (*draft.signals[:index], *draft.signals[index + 1 :])
            complete(draft, node.name, signalled.value)
            return
    first = node.remind_ms if _reminds(node) else node.timeout_ms
    due = None if first is None else draft.at_ms + first
    attempt = draft.node(node.name).attempt + 1
    draft.move(node.name, NodeStatus.WAITING, attempt=attempt, due_ms=due, open=0)


def _reminds(node: Node) -> bool:
    """Whether the wait's first deadline is its reminder, and not its end."""
    return node.remind_ms is not None and (node.timeout_ms is None or node.remind_ms < node.timeout_ms)


def _undo_failed(draft: Draft, name: NodeName, failure: Failure) -> None:
    """A compensation failed for good: say so, and go on with the one before it."""
    if draft.failure is not None:
        told = f"{draft.failure.message}; compensation of {name} failed too: {failure.message}"
        draft.failure = replace(draft.failure, message=told)
    compensate_next(draft)
