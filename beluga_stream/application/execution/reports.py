"""What every event of an execution says about it, whatever else the event tells."""

from typing import TypedDict

from ...domain.events import Failure
from ...domain.ids import Incarnation, NodeKey, RunId
from ...errors import BelugaError
from ..messages import NodeReady
from .verdict import Failed


class About(TypedDict):
    """The members of `OfExecution`, as an event takes them."""

    run: RunId
    key: str
    at_ms: int
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    generation: int


def about(work: NodeReady, incarnation: Incarnation, at_ms: int) -> About:
    """For an event of the execution of this work, as in `StreamVoid(**about(work, incarnation, at_ms))`."""
    return {
        "run": work.run,
        "key": work.key,
        "at_ms": at_ms,
        "node": work.node,
        "attempt": work.attempt,
        "incarnation": incarnation,
        "generation": work.generation,
    }


def failure_of(work: NodeReady, error: BelugaError) -> Failed:
    """An error of the engine's own, as the reason why the work has no output."""
    return Failed(Failure(error.code, f"{work.node}: {error}", work.node, work.attempt), error.retryable)
