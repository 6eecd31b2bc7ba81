"""What it means for a run that a process no longer has what was at work in it: it gave it back, or it died."""

import secrets
from collections.abc import Sequence

from ...application.messages import NodeReady
from ...domain.events import Event, LeaseExpired, NodeReleased, NodeStarted
from ...domain.ids import Incarnation

_WORKER = "dbos"


def released(work: NodeReady, incarnation: Incarnation, at_ms: int) -> Event:
    """It stops, and its execution held the attempt."""
    return NodeReleased(
        run=work.run, key=work.key, at_ms=at_ms, node=work.node, attempt=work.attempt, incarnation=incarnation
    )


def lost(work: NodeReady, held: Incarnation | None, at_ms: int) -> Sequence[Event]:
    """It died. `held` is the execution that held the attempt, as far as the run knows of one."""
    incarnation = held or Incarnation(secrets.token_hex(6))
    expired = LeaseExpired(
        run=work.run, key=work.key, at_ms=at_ms, node=work.node, attempt=work.attempt, incarnation=incarnation
    )
    if held is not None:
        return [expired]
    started = NodeStarted(
        run=work.run,
        key=work.key,
        at_ms=at_ms,
        node=work.node,
        attempt=work.attempt,
        incarnation=incarnation,
        worker=_WORKER,
    )
    return [started, expired]
