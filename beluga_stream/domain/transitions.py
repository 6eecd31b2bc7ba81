"""The state machine of a node, as a table, with its theory of operation.

A node *waits for its edges* (PENDING) until `flow` begins or skips it. One with limits then waits for its slots
(LIMITED), which it keeps until it has ended. A handler's node is then sent to
a queue (READY); a worker that holds it longer than a moment says so (RUNNING) and keeps a lease.
It ends by an outcome, goes to BACKOFF when another attempt is due, or is PARKED when no worker
has its code. Nodes without a handler (waits, sleeps, subgraphs, maps, loops) are WAITING.

Rules the table rests on:

1. *Only the current attempt counts.* An event that names another attempt changes nothing.
2. *The first incarnation whose outcome is applied wins.* A redelivered attempt may run twice; the
   second outcome finds the node ended and changes nothing.
3. *A pair that is not in the table changes nothing.* Duplicates, replays and late events are normal
   input, and so is everything that comes after the run's end.
4. *A timer counts only on an exact match* of node, attempt and deadline.
5. *What a pair does is asked only of events that are news*: `counts` refuses a lease when one is held,
   a stream that begins before the known one, an end of a child that was told already.
6. *Nodes that read a stream begin with it, and begin again when it proves void*: see `streams`.
7. *The loss of a worker costs no retry and convicts nobody*: see `crashes` for when it is the node's own fault. What
   had not begun there is not even suspected.

The drawing in docs/state-machine.md is generated from this table.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from .draft import Draft
from .events import (
    ChildFinished,
    DispatchLost,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    SlotGranted,
    StreamVoid,
    TimerFired,
)
from .frozen import replace
from .ids import NodeKey
from .limiting import granted
from .payload import NOTHING
from .state import NodeState, NodeStatus
from .steps import again, child_succeeded, crash, fail, hand_over, is_due, lose, no_slot, park, succeed
from .streams import misled, overtaken, streaming

Applied: TypeAlias = (
    NodeStarted
    | NodeStreaming
    | NodeSucceeded
    | NodeFailed
    | StreamVoid
    | NodeParked
    | LeaseExpired
    | NodeReleased
    | DispatchLost
    | TimerFired
    | ChildFinished
    | SlotGranted
)


class Transition(NamedTuple):
    """What happens, where it may lead, and which events of the pair it is for."""

    apply: Callable[[Draft, NodeKey, Applied], None]
    leads_to: tuple[NodeStatus, ...]
    counts: Callable[[NodeState, Applied], bool]


def _is_current(node: NodeState, event: Applied) -> bool:
    assert not isinstance(event, ChildFinished | SlotGranted)
    return node.attempt == event.attempt


def _is_first_lease(node: NodeState, event: Applied) -> bool:
    # A second worker that has the attempt runs on, and its outcome may be the first; but the lease stays
    # with the one that reported, or two that report by turns would never end.
    return _is_current(node, event) and node.worker is None


def _is_later_stream(node: NodeState, event: Applied) -> bool:
    # A run's chunks lie in one partition, so that the later incarnation's begin further on. Only who holds the attempt
    # by its lease goes on with a stream.
    assert isinstance(event, NodeStreaming)
    if not _is_current(node, event) or event.incarnation == (node.stream and node.stream.incarnation):
        return False
    if event.resumed is not None:
        return node.stream is not None and event.incarnation == node.incarnation
    return node.stream is None or event.offset > node.stream.offset


def _is_held(node: NodeState, event: Applied) -> bool:
    assert isinstance(event, LeaseExpired | NodeReleased)
    return _is_current(node, event) and node.incarnation == event.incarnation


def _is_exact(node: NodeState, event: Applied) -> bool:
    assert isinstance(event, TimerFired)
    return _is_current(node, event) and node.due_ms == event.due_ms


def _is_its_child(node: NodeState, event: Applied) -> bool:
    assert isinstance(event, ChildFinished)
    return node.child == event.child and (event.counter == 0 or event.counter > node.total)


def _is_awaited(node: NodeState, event: Applied) -> bool:
    assert isinstance(event, SlotGranted)
    return node.slot == event.number and node.limit == event.limit


def _started(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeStarted)
    told = event.details or draft.node(key).details
    draft.move(key, NodeStatus.RUNNING, incarnation=event.incarnation, worker=event.worker, details=told)


def _streaming(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeStreaming)
    streaming(draft, key, event)


def _succeeded(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeSucceeded)
    overtaken(draft, key, event)
    succeed(draft, key, event.output, event)


def _failed(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeFailed)
    node = draft.node(key)
    told = replace(node, incarnation=event.incarnation, details=event.details or node.details)
    if event.crashed_on is not None:
        draft.keep(key, told)
        crash(draft, key, event.failure, event.crashed_on, retryable=event.retryable)
        return
    draft.keep(key, replace(told, losses=0))
    fail(draft, key, event.failure, retryable=event.retryable)


def _parked(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeParked)
    park(draft, key, event.worker)


def _lost(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, LeaseExpired)
    if event.details is not None:
        draft.keep(key, replace(draft.node(key), details=event.details))
    if event.begun:
        lose(draft, key)
    else:
        hand_over(draft, key)


def _released(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeReleased)
    if event.details is not None:
        draft.keep(key, replace(draft.node(key), details=event.details))
    hand_over(draft, key)


def _misled(draft: Draft, key: NodeKey, event: Applied) -> None:
    misled(draft, key)
    hand_over(draft, key)


def _undelivered(draft: Draft, key: NodeKey, event: Applied) -> None:
    hand_over(draft, key)


def _again(draft: Draft, key: NodeKey, event: Applied) -> None:
    again(draft, key)


def _due(draft: Draft, key: NodeKey, event: Applied) -> None:
    is_due(draft, key)


def _child_finished(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, ChildFinished)
    if event.status == "succeeded":
        child_succeeded(draft, key, event.output or NOTHING)
        return
    # A child that was cancelled, refused or undone cannot go on: a later retry begins another.
    child = event.child if event.status == "failed" and event.may_go_on else None
    draft.keep(key, replace(draft.node(key), child=child, total=event.counter))
    failure = event.failure or Failure("dependency_failed", f"it ended as {event.status}")
    told = Failure(failure.code, f"run {event.child}: {failure.message}", node=key)
    fail(draft, key, told, retryable=False)


def _granted(draft: Draft, key: NodeKey, event: Applied) -> None:
    granted(draft, key)


def _no_slot(draft: Draft, key: NodeKey, event: Applied) -> None:
    no_slot(draft, key)


_S = NodeStatus
_AFTER_FAILURE = (_S.BACKOFF, _S.READY, _S.FAILED)

TABLE: Mapping[tuple[NodeStatus, type[Applied]], Transition] = {
    (_S.LIMITED, SlotGranted): Transition(_granted, (_S.LIMITED, _S.READY), _is_awaited),
    (_S.LIMITED, TimerFired): Transition(_no_slot, (_S.READY, _S.FAILED), _is_exact),
    (_S.READY, NodeStarted): Transition(_started, (_S.RUNNING,), _is_first_lease),
    (_S.READY, NodeStreaming): Transition(_streaming, (_S.RUNNING,), _is_later_stream),
    (_S.READY, NodeSucceeded): Transition(_succeeded, (_S.SUCCEEDED,), _is_current),
    (_S.READY, NodeFailed): Transition(_failed, _AFTER_FAILURE, _is_current),
    (_S.READY, NodeParked): Transition(_parked, (_S.PARKED,), _is_current),
    (_S.READY, DispatchLost): Transition(_undelivered, (_S.READY,), _is_current),
    (_S.READY, StreamVoid): Transition(_misled, (_S.READY,), _is_current),
    (_S.RUNNING, NodeStarted): Transition(_started, (_S.RUNNING,), _is_first_lease),
    (_S.RUNNING, NodeStreaming): Transition(_streaming, (_S.RUNNING,), _is_later_stream),
    (_S.RUNNING, NodeSucceeded): Transition(_succeeded, (_S.SUCCEEDED,), _is_current),
    (_S.RUNNING, NodeFailed): Transition(_failed, _AFTER_FAILURE, _is_current),
    (_S.RUNNING, NodeParked): Transition(_parked, (_S.PARKED,), _is_current),
    (_S.RUNNING, StreamVoid): Transition(_misled, (_S.READY,), _is_current),
    (_S.RUNNING, LeaseExpired): Transition(_lost, (_S.READY, _S.FAILED), _is_held),
    (_S.RUNNING, NodeReleased): Transition(_released, (_S.READY,), _is_held),
    (_S.BACKOFF, TimerFired): Transition(_again, (_S.READY,), _is_exact),
    (_S.PARKED, TimerFired): Transition(_again, (_S.READY,), _is_exact),
    (_S.WAITING, TimerFired): Transition(_due, (_S.WAITING, _S.SUCCEEDED, _S.FAILED), _is_exact),
    (_S.WAITING, ChildFinished): Transition(_child_finished, (_S.SUCCEEDED, _S.READY, _S.FAILED), _is_its_child),
}
