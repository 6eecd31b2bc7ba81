"""Where values above the inline limit live."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol


class Blobs(Protocol):
    """A store of immutable byte strings, addressed by owner and content."""

    async def put(self, owner: str, data: bytes) -> str:
        """Store durably, then return the reference. The same bytes of the same owner are stored once.

        Bytes that were there already count as new from now on.
        """

    async def get(self, ref: str) -> bytes:
        """The bytes. Raises `NotFound`."""


class SweptBlobs(Blobs, Protocol):
    """A store as its sweeper sees it. Times in epoch milliseconds."""

    def older(self, before_ms: int) -> AsyncGenerator[Sequence[str], None]:
        """References of what has not been new since then, some at a time."""

    async def touch(self, refs: Sequence[str]) -> None:
        """Let these count as new from now on; those that are gone stay so."""

    async def delete(self, refs: Sequence[str], before_ms: int) -> int:
        """Remove those of them that have still not been new since then; returns how many."""
