"""What it means for a run that a process no longer has what was at work in it: it gave it back, or it died."""

import secrets
from collections.abc import Sequence

from ...application.execution.reports import about
from ...application.messages import NodeReady
from ...domain.events import Event, LeaseExpired, NodeReleased, NodeStarted
from ...domain.ids import Incarnation

_WORKER = "dbos"


def released(work: NodeReady, incarnation: Incarnation, at_ms: int) -> Event:
    """It stops, and its execution held the attempt."""
    return NodeReleased(**about(work, incarnation, at_ms))


def lost(work: NodeReady, held: Incarnation | None, at_ms: int) -> Sequence[Event]:
    """It died. `held` is the execution that held the attempt, as far as the run knows of one."""
    incarnation = held or Incarnation(secrets.token_hex(6))
    told = about(work, incarnation, at_ms)
    expired = LeaseExpired(**told)
    return [NodeStarted(**told, worker=_WORKER), expired] if held is None else [expired]
