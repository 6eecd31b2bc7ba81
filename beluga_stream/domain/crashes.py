"""Executions whose process died under them: where the next one runs, and when enough is enough.

A worker that falls silent does not say why. A handler that calls `os._exit` and a machine that loses its power
look alike, and with either go hundreds of executions that did nothing wrong. So the loss of a worker convicts
nobody: it only decides where the next attempt runs. Once lost twice in a row, a node runs in a process of its own
(*apart*). When that one dies, it was this node that did it, and all losses before it are counted as its own.
"""

from ..errors import Poisoned
from .definition import Node
from .events import Failure
from .ids import NodeKey

APART_AFTER = 2
"""Losses in a row after which a node runs apart. Not the first: the work of a killed worker must go on at once,
and all of it, while processes are few."""

LOST_MOST = 30
"""Losses in a row after which a node is given up though nothing is proven: it may be what takes whole machines."""


def runs_apart(declared: Node, losses: int) -> bool:
    """Whether the next attempt runs in a process of its own: the crash that is one too many must be proven."""
    allowed = declared.max_crashes
    return losses >= (max(1, min(APART_AFTER, allowed - 1)) if allowed else APART_AFTER)


def is_poison(declared: Node, losses: int) -> bool:
    """Whether a node whose own process has just died has now lost as many as it may."""
    return 0 < declared.max_crashes <= losses


def is_hopeless(declared: Node, losses: int) -> bool:
    """Whether so many workers were lost with it that nobody waits for a proof."""
    return declared.max_crashes > 0 and losses >= LOST_MOST


def poisoned(key: NodeKey, attempt: int, losses: int, worker: str | None) -> Failure:
    """Why such a node has failed, and what to do about it."""
    where = "" if worker is None else f", the last time on worker {worker}"
    times = "once" if losses == 1 else f"{losses} times in a row"
    message = (
        f"{key}: its process died {times}{where}: a segmentation fault, os._exit, or no memory left. "
        f"Mend the handler or give it more memory, and retry the run; executor='process' keeps such a handler "
        f"out of its worker"
    )
    return Failure(Poisoned.code, message, key, attempt)
