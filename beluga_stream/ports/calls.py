"""Where handlers that block run: threads of this process, or other processes."""

from collections.abc import Callable
from typing import Protocol, TypeVar

R = TypeVar("R")


class Calls(Protocol):
    """Calls functions elsewhere than on the event loop."""

    async def call(self, function: Callable[[], R]) -> R:
        """What the function returns or raises. Cancelling gives the call up.

        For another process it must be picklable, and what it returns too.
        """

    async def close(self) -> None:
        """Take no more calls; let go of what waits for some."""
