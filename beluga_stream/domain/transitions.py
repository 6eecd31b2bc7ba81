"""The state machine of a node, as a table, with its theory of operation.

A node *waits for its edges* (PENDING) until `flow` begins or skips it. A handler's node is then sent to
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

The drawing in docs/state-machine.md is generated from this table.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from .definition import NodeKind
from .draft import Draft
from .events import (
    ChildFinished,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeParked,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    TimerFired,
)
from .ids import NodeKey, node_of
from .payload import NOTHING
from .state import NodeStatus, StreamPosition
from .steps import dispatch, fail, lose, park, succeed, undone, wait_is_due

Applied: TypeAlias = (
    NodeStarted | NodeStreaming | NodeSucceeded | NodeFailed | NodeParked | LeaseExpired | TimerFired | ChildFinished
)


class Transition(NamedTuple):
    """What happens, and where it may lead."""

    apply: Callable[[Draft, NodeKey, "Applied"], None]
    leads_to: tuple[NodeStatus, ...]


def _started(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeStarted)
    draft.move(key, NodeStatus.RUNNING, incarnation=event.incarnation, worker=event.worker)


def _streaming(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeStreaming)
    position = StreamPosition(event.incarnation, event.partition, event.offset)
    draft.move(key, NodeStatus.RUNNING, incarnation=event.incarnation, stream=position)


def _succeeded(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeSucceeded)
    draft.keep(key, replace(draft.node(key), incarnation=event.incarnation))
    if key.endswith("~undo"):
        undone(draft, key, event.output)
        return
    succeed(draft, key, event.output, branches=event.branches, chunks=event.chunks, done=event.done)


def _failed(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, NodeFailed)
    draft.keep(key, replace(draft.node(key), incarnation=event.incarnation))
    fail(draft, key, event.failure, retryable=event.retryable)


def _parked(draft: Draft, key: NodeKey, event: Applied) -> None:
    park(draft, key)


def _lost(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, LeaseExpired)
    if draft.node(key).incarnation == event.incarnation:
        lose(draft, key)


def _again(draft: Draft, key: NodeKey, event: Applied) -> None:
    dispatch(draft, key, fresh=draft.node(key).status is NodeStatus.PARKED)


def _due(draft: Draft, key: NodeKey, event: Applied) -> None:
    if draft.plan.nodes[node_of(key)].kind is NodeKind.SLEEP:
        succeed(draft, key, NOTHING)
    else:
        wait_is_due(draft, key)


def _child_finished(draft: Draft, key: NodeKey, event: Applied) -> None:
    assert isinstance(event, ChildFinished)
    if event.status == "succeeded":
        done = event.output or NOTHING
        succeed(draft, key, done)
        return
    failure = event.failure or Failure("dependency_failed", f"the run {event.child} ended as {event.status}")
    told = Failure(failure.code, f"run {event.child}: {failure.message}", node=key)
    fail(draft, key, told, retryable=False)


_S = NodeStatus
_AFTER_FAILURE = (_S.BACKOFF, _S.READY, _S.FAILED)

TABLE: Mapping[tuple[NodeStatus, type[Applied]], Transition] = {
    (_S.READY, NodeStarted): Transition(_started, (_S.RUNNING,)),
    (_S.READY, NodeStreaming): Transition(_streaming, (_S.RUNNING,)),
    (_S.READY, NodeSucceeded): Transition(_succeeded, (_S.SUCCEEDED,)),
    (_S.READY, NodeFailed): Transition(_failed, _AFTER_FAILURE),
    (_S.READY, NodeParked): Transition(_parked, (_S.PARKED,)),
    (_S.RUNNING, NodeStarted): Transition(_started, (_S.RUNNING,)),
    (_S.RUNNING, NodeStreaming): Transition(_streaming, (_S.RUNNING,)),
    (_S.RUNNING, NodeSucceeded): Transition(_succeeded, (_S.SUCCEEDED,)),
    (_S.RUNNING, NodeFailed): Transition(_failed, _AFTER_FAILURE),
    (_S.RUNNING, NodeParked): Transition(_parked, (_S.PARKED,)),
    (_S.RUNNING, LeaseExpired): Transition(_lost, (_S.READY,)),
    (_S.BACKOFF, TimerFired): Transition(_again, (_S.READY,)),
    (_S.PARKED, TimerFired): Transition(_again, (_S.READY,)),
    (_S.WAITING, TimerFired): Transition(_due, (_S.WAITING, _S.SUCCEEDED, *_AFTER_FAILURE)),
    (_S.WAITING, ChildFinished): Transition(_child_finished, (_S.SUCCEEDED, *_AFTER_FAILURE)),
}
