"""What it means for a run that an execution has no outcome. Pure: the interpreter asks."""

from collections.abc import Sequence
from typing import Any

import msgspec
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType
from temporalio.exceptions import TimeoutError as ActivityTimeout

from ...application.execution.reports import about
from ...application.messages import NodeReady
from ...domain.events import DispatchLost, Event, LeaseExpired, NodeReleased, NodeStarted
from ...domain.ids import Incarnation
from ...domain.payload import Payload
from ...domain.state import NodeState, NodeStatus
from .envelopes import HANDED_BACK, Beaten

_WORKER = "temporal"


def needs_pause(error: ActivityError) -> bool:
    """Whether its worker could not do it, since its log or store was away: the next one should not try at once."""
    cause = error.cause
    return not (_worker_died(cause) or (isinstance(cause, ApplicationError) and cause.type == HANDED_BACK))


def events_of(
    work: NodeReady, incarnation: Incarnation, error: ActivityError, node: NodeState | None, at_ms: int
) -> Sequence[Event]:
    """A lost lease when its worker died (which may be the node's fault); else work that another is given.

    `node` is how the run has it now.
    """
    cause = error.cause
    details = _last_told(cause)
    holds = node is not None and node.status is NodeStatus.RUNNING and node.incarnation == incarnation
    told = about(work, incarnation, at_ms)
    if _worker_died(cause):
        expired = LeaseExpired(**told, details=details)
        return [expired] if holds else [started(work, incarnation, at_ms), expired]
    if holds or details is not None:
        released = NodeReleased(**told, details=details)
        return [released] if holds else [started(work, incarnation, at_ms), released]
    return [DispatchLost(run=work.run, key=work.key, at_ms=at_ms, node=work.node, attempt=work.attempt)]


def started(work: NodeReady, incarnation: Incarnation, at_ms: int) -> NodeStarted:
    """The execution holds its attempt from now on."""
    return NodeStarted(**about(work, incarnation, at_ms), worker=_WORKER)


def _last_told(cause: BaseException | None) -> Payload | None:
    """What its handler told last by a heartbeat. A worker of an earlier version does not say it when it stops."""
    told: Sequence[Any] = ()
    if isinstance(cause, ActivityTimeout):
        told = cause.last_heartbeat_details
    elif isinstance(cause, ApplicationError):
        told = cause.details
    return msgspec.convert(told[0], Beaten).details if told else None


def _worker_died(cause: BaseException | None) -> bool:
    return isinstance(cause, ActivityTimeout) and cause.type is not TimeoutType.SCHEDULE_TO_START
