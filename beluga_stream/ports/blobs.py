"""Where values above the inline limit live."""

from typing import Protocol


class Blobs(Protocol):
    """A store of immutable byte strings, addressed by owner and content."""

    async def put(self, owner: str, data: bytes) -> str:
        """Store durably, then return the reference. The same bytes of the same owner are stored once."""

    async def get(self, ref: str) -> bytes:
        """The bytes. Raises `NotFound`."""

    async def delete_owner(self, owner: str) -> None:
        """Remove everything of this owner; nothing happens when there is nothing."""
