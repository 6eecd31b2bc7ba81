"""`reduce(plan, state, event)`: all behaviour of runs, in one pure function.

It is total: every event has an answer in every state, and an event that does not apply (a
duplicate, a replay, a late one) returns the state unchanged and no commands. So a log of
events leads to the same state however often its parts are repeated.
"""

from collections.abc import Mapping
from typing import assert_never

from .commands import NotifyParent, OverrideChild, PublishRun, RejectRun
from .cover import WORKFLOW, is_cover
from .draft import Decision, Draft
from .ending import cancel_run, fail_run, give_up
from .events import (
    CancelRequested,
    ChildFinished,
    DispatchLost,
    Event,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeOverridden,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    OfExecution,
    Page,
    RetryRequested,
    RunRequested,
    RunStalled,
    SignalReceived,
    SlotGranted,
    StreamVoid,
    TimerFired,
)
from .frozen import replace
from .handing import hand_on
from .ids import NodeKey, NodeName, is_page, node_of
from .limiting import ask_for_run, awaits, granted_to_run, told, unwanted
from .mending import mend
from .plan import Plan
from .resume import resume
from .retention import without_values
from .state import RUN_ENDED, NodeStatus, Override, RunState, RunStatus, Signalled, Timer
from .steps import begin_run, settle, succeed
from .transitions import TABLE, Applied

SIGNAL_BUFFER = 64
"""Most signals kept for waits that do not exist yet; the oldest gives way."""

SIGNALS_REMEMBERED = 256
"""Most signal ids kept to recognise repeated ones."""

RETRIES_REMEMBERED = 64
"""Most retry requests kept to recognise repeated ones."""


_LISTENING = frozenset({RunStatus.RUNNING, RunStatus.LIMITED})

_AFTER_THE_END = (RetryRequested, SignalReceived, NodeOverridden)
"""What a run that has failed still listens to."""


_PAGE_GOES_ON = frozenset({NodeStatus.WAITING, NodeStatus.FAILED})
"""A page that does or, once its run is retried, may. One that was cancelled is begun anew then, and told so."""


def reduce(plan: Plan | None, state: RunState | None, event: Event) -> Decision | None:
    """Apply one event to one run.

    `plan` is the run's definition; None only when the definition is not needed (a cancel before
    its run). Returns None when there is no such run and the event does not make one. An event that
    does not apply gives the very same state, so that callers may compare by identity.
    """
    if isinstance(event, RunRequested):
        return _requested(plan, state, event)
    if state is None:
        return _born_cancelled(event) if isinstance(event, CancelRequested) else None
    if isinstance(event, SlotGranted):
        return _slot(plan, state, event)
    if plan is None or (state.status in RUN_ENDED and not isinstance(event, _AFTER_THE_END)):
        return Decision(state)
    match event:
        case (
            NodeStarted()
            | NodeStreaming()
            | NodeSucceeded()
            | NodeFailed()
            | StreamVoid()
            | NodeParked()
            | LeaseExpired()
            | NodeReleased()
            | DispatchLost()
            | ChildFinished()
        ):
            return _apply(plan, state, event.node, event)
        case TimerFired():
            return _timer(plan, state, event)
        case RunStalled():
            return mend(plan, state, event.at_ms)
        case SignalReceived():
            return _signal(plan, state, event)
        case CancelRequested():
            draft = Draft(plan, state, event.at_ms)
            cancel_run(draft, event.reason)
            return draft.freeze()
        case NodeOverridden():
            return _override(plan, state, event)
        case RetryRequested():
            return _retry(plan, state, event)
        case _:
            assert_never(event)


def _requested(plan: Plan | None, state: RunState | None, event: RunRequested) -> Decision | None:
    if state is not None:
        return _requested_again(state, event)
    if plan is None:
        return None
    fresh = RunState(
        run=event.run,
        key=event.key,
        graph=event.graph,
        definition=plan.hash,
        status=RunStatus.RUNNING,
        digest=event.digest,
        trigger=event.trigger,
        input=event.input,
        started_ms=event.at_ms,
        # Workers remember cancels and outcomes for longer than a coordinator remembers the run: what they have of an
        # earlier run of this id is of lower generations.
        generation=event.at_ms,
        tags=event.tags,
        trace=event.trace,
        parent=event.parent,
        page=event.page,
        active=len(plan.nodes),
        keys=event.keys,
        fork=event.fork,
        request=event.offset,
        overrides=_overrides_of(event.page),
        timeout_ms=event.timeout_ms,
    )
    draft = Draft(plan, fresh, event.at_ms)
    if event.page is None and plan.definition.limits:
        ask_for_run(draft)
    else:
        _go_on(draft)
    return draft.freeze()


def _requested_again(state: RunState, event: RunRequested) -> Decision:
    if state.digest == "" and state.status is RunStatus.CANCELLED:
        told = replace(
            state,
            graph=event.graph,
            digest=event.digest,
            tags=event.tags,
            trace=event.trace,
            parent=event.parent,
            counter=state.counter + 1,
        )
        shown = PublishRun(RunStatus.CANCELLED, told.counter)
        return Decision(told, (shown,) if event.parent is None else (shown, NotifyParent()))
    if state.digest != event.digest:
        message = f"run {state.run} was started with another input under the same idempotency key"
        return Decision(state, (RejectRun("idempotency_conflict", message, event.digest),))
    if event.again and state.ended and state.parent is not None:
        return Decision(state, (NotifyParent(),))
    return Decision(state)


def _overrides_of(page: Page | None) -> Mapping[NodeName, Override]:
    """What a page begins with."""
    if page is None or (page.timeout_ms is None and page.attempts is None):
        return {}
    return {page.node: Override(page.timeout_ms, page.attempts)}


def _born_cancelled(event: CancelRequested) -> Decision:
    """A cancel that came before its run: a marker, so that the run never begins."""
    marker = RunState(
        run=event.run,
        key=event.key,
        graph="",
        definition=None,
        status=RunStatus.CANCELLED,
        digest="",
        trigger="",
        input=None,
        started_ms=event.at_ms,
        ended_ms=event.at_ms,
        failure=Failure("task_canceled", event.reason or "the run was cancelled before it began"),
    )
    return Decision(marker)


def _apply(plan: Plan, state: RunState, key: NodeKey, event: Applied) -> Decision:
    node = state.nodes.get(key)
    transition = None if node is None else TABLE.get((node.status, type(event)))
    if node is None or transition is None or not transition.counts(node, event):
        return Decision(state)
    # What a run of this id has sent that is forgotten. Those of earlier versions began with generation 0.
    if isinstance(event, OfExecution) and 0 < event.generation < state.started_ms <= state.generation:
        return Decision(state)
    if isinstance(event, ChildFinished) and 0 < event.began < state.started_ms:
        return Decision(state)
    draft = Draft(plan, state, event.at_ms)
    transition.apply(draft, key, event)
    settle(draft)
    return draft.freeze()


def _timer(plan: Plan, state: RunState, event: TimerFired) -> Decision:
    return _run_is_due(plan, state, event) if event.node is None else _apply(plan, state, event.node, event)


def _run_is_due(plan: Plan, state: RunState, event: TimerFired) -> Decision:
    if state.due_ms != event.due_ms:
        return Decision(state)
    draft = Draft(plan, state, event.at_ms)
    message = f"the run did not end within {_allowed_ms(plan, state) / 1000:g} s"
    if state.status is RunStatus.LIMITED:
        message = f"the run waited too long for {told(plan, state, None)}"
    fail_run(draft, Failure("timeout", message))
    return draft.freeze()


def _slot(plan: Plan | None, state: RunState, event: SlotGranted) -> Decision:
    """The run or its node has a slot: with the last one it begins, or goes on where it had failed."""
    if plan is None or not awaits(state, event):
        return unwanted(plan, state, event)
    if event.node is not None:
        return _apply(plan, state, event.node, event)
    draft = Draft(plan, state, event.at_ms)
    if granted_to_run(draft):
        _go_on(draft)
    return draft.freeze()


def _go_on(draft: Draft) -> None:
    """Let the run begin or, once it has nodes, go on where it had failed. Each time its timeout begins anew."""
    draft.due_ms = None
    if draft.before.page is None and not _is_timed_below(draft.plan):
        draft.due_ms = draft.at_ms + _allowed_ms(draft.plan, draft.before)
        draft.timers.append(Timer(draft.due_ms, draft.run, None, 0))
    draft.announce(RunStatus.RUNNING)
    if draft.nodes:
        resume(draft)
    else:
        begin_run(draft)
    settle(draft)


def _allowed_ms(plan: Plan, state: RunState) -> int:
    """How long the run may take: as its graph says, or as who started it does, whichever is shorter."""
    own = plan.definition.timeout_ms
    return own if state.timeout_ms is None else min(own, state.timeout_ms)


def _is_timed_below(plan: Plan) -> bool:
    """Whether the run stands for a durable one that undoes what it did when its time is up.

    That one has the same time, but begins later. Were it cancelled from here, nothing of it would be undone.
    """
    stands_for = plan.child(WORKFLOW) if is_cover(plan.definition) else None
    return stands_for is not None and stands_for.definition.undoes


def _signal(plan: Plan, state: RunState, event: SignalReceived) -> Decision:
    if event.id in state.signals_seen or not (state.status in _LISTENING or _may_go_on(state)):
        return Decision(state)
    draft = Draft(plan, state, event.at_ms)
    draft.signals_seen = (*state.signals_seen, event.id)[-SIGNALS_REMEMBERED:]
    for name in plan.waits.get(event.signal, ()):
        if draft.node(name).status is NodeStatus.WAITING:
            succeed(draft, name, event.value)
            settle(draft)
            return draft.freeze()
    signalled = Signalled(event.signal, event.id, event.value)
    if not hand_on(draft, signalled):
        draft.signals = (*state.signals, signalled)[-SIGNAL_BUFFER:]
    return draft.freeze()


def _may_go_on(state: RunState) -> bool:
    """Whether the run has failed in a way that `retry` can mend; what is undone cannot be taken up again."""
    return state.status is RunStatus.FAILED and not state.compensated


def _override(plan: Plan, state: RunState, event: NodeOverridden) -> Decision:
    override = Override(event.timeout_ms, event.attempts)
    goes_on = not state.ended or state.status is RunStatus.FAILED
    if event.node not in plan.nodes or not goes_on or state.overrides.get(event.node) == override:
        return Decision(state)
    pages = tuple(
        OverrideChild(key, node.child)
        for key, node in state.nodes.items()
        if is_page(key) and node_of(key) == event.node and node.child is not None and node.status in _PAGE_GOES_ON
    )
    return Decision(replace(state, overrides={**state.overrides, event.node: override}), pages)


def _retry(plan: Plan, state: RunState, event: RetryRequested) -> Decision:
    request = event.id or str(event.at_ms)
    if state.status not in RUN_ENDED or request in state.retries_seen:
        return Decision(state)
    draft = Draft(plan, state, event.at_ms)
    draft.retries_seen = (*state.retries_seen, request)[-RETRIES_REMEMBERED:]
    if _may_go_on(state):
        draft.failure = None
        draft.ended_ms = None
        if state.page is None and plan.definition.limits:
            ask_for_run(draft)
        else:
            _go_on(draft)
    elif state.parent is not None:
        # The parent waits for this run again: tell it how it stands, as news (with a higher counter).
        draft.announce(state.status)
        draft.commands.append(NotifyParent())
    else:
        return Decision(state)
    return draft.freeze()


def outgrown(size_bytes: int, limit_bytes: int) -> str:
    """Why a run fails whose encoded state is too large to be written."""
    return (
        f"the run's state has grown to {size_bytes} bytes, above the limit of {limit_bytes}: "
        f"let nodes return less, or map over fewer items at a time"
    )


def overlong(what: str, size_bytes: int, limit_bytes: int) -> str:
    """Why a run fails of which a record, or the work for a node, is too large to be sent.

    A value is in the run's state once, and in the work for a node as often as it has parameters that take it.
    """
    return (
        f"{what} of {size_bytes} bytes is above the limit of {limit_bytes}: "
        f"let nodes return less, or hand a long value to fewer parameters of a node"
    )


def overflow(plan: Plan | None, state: RunState, message: str, at_ms: int) -> Decision:
    """Fail a run that is too large to be written, or to be sent. What is only remembered keeps less."""
    failure = Failure("resource_exhausted", message)
    if plan is None:
        return Decision(replace(state, failure=failure, tags={}, trace=None))
    draft = Draft(plan, state, at_ms)
    give_up(draft, failure)
    decision = draft.freeze()
    # Nothing goes on from it any more.
    return decision._replace(state=replace(decision.state, input=None, fork=without_values(state.fork)))
