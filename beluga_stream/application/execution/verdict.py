"""What an execution of a handler gave: its output, or why there is none."""

from dataclasses import dataclass, field

from ...domain.events import Failure
from ...domain.payload import Json


@dataclass(frozen=True, slots=True)
class Completed:
    """What a handler gave: its output as JSON, the branches that hold, and whether a loop is done."""

    output: Json
    branches: tuple[int, ...] = ()
    done: bool = True
    chunks: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Why it gave nothing, and whether another attempt may help. `crashed`: the process that it had to itself died.

    `error` is what was raised: a failure travels, and this does not.
    """

    failure: Failure
    retryable: bool
    crashed: bool = False
    error: BaseException | None = field(default=None, compare=False)
