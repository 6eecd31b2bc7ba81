"""How the executions of a pattern are run."""

from typing import TypedDict

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
    """Raises `InvalidGraph` for a number below 1, by the name under which it was given."""
    for name, bound in bounds.items():
        if bound < 1:
            raise InvalidGraph(f"graph {graph!r}: {name}={bound} must be at least 1", graph=graph)
