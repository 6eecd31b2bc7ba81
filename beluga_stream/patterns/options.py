"""How the executions of a pattern are run."""

from typing import TypedDict

from ..api.ranges import is_whole
from ..api.retry import Retry, Seconds
from ..api.work import Work
from ..errors import InvalidGraph


class TurnOptions(TypedDict, total=False):
    """What every node of a pattern is given; see `NodeOptions`.

    `retry` is for each turn, `timeout` bounds one attempt of it (seconds or timedelta), `queue` picks the workers.
    """

    retry: Retry
    timeout: Seconds
    queue: str


def options_for(handler: object, options: TurnOptions) -> TurnOptions:
    """Those for a node of this handler: a graph or a chain has none, its own nodes have theirs."""
    return TurnOptions() if isinstance(handler, Work) else options


def check_bound(graph: str, **bounds: int) -> None:
    """Raises `InvalidGraph` for what is no whole number from 1 on, by the name under which it was given."""
    for name, bound in bounds.items():
        if not (is_whole(bound) and bound >= 1):
            raise InvalidGraph(f"graph {graph!r}: {name}={bound!r} must be at least 1, and whole", graph=graph)
