"""How the executions of a pattern are run."""

from typing import TypedDict

from ..api.retry import Retry, Seconds


class TurnOptions(TypedDict, total=False):
    """What every node of a pattern is given; see `NodeOptions`.

    `retry` is for each turn, `timeout` bounds one attempt of it (seconds or timedelta), `queue` picks the workers.
    """

    retry: Retry
    timeout: Seconds
    queue: str
