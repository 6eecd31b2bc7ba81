"""Where handlers run that must not run in the worker itself: threads of its process, or other processes."""

from collections.abc import Awaitable, Callable
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


class Isolation(Protocol):
    """Processes that have the deployment and do one task at a time each, so that a death names its task."""

    async def ask(self, task: bytes, tell: Callable[[bytes], Awaitable[None]]) -> bytes:
        """The answer to a task; what its process says meanwhile goes to `tell`, in order.

        Cancelling tells the process to stop, and ends it when it does not. Raises `ProcessLost` when it dies in
        the midst of the task, and `ResourceExhausted` when none can be started.
        """

    async def close(self) -> None:
        """End every process."""
