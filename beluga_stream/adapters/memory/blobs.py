"""Blobs in a dictionary."""

import hashlib

from ...errors import NotFound


class MemoryBlobs:
    """The port `Blobs`, kept in this process."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    async def put(self, owner: str, data: bytes) -> str:
        ref = f"{owner}/{hashlib.sha256(data).hexdigest()}"
        self.stored[ref] = data
        return ref

    async def get(self, ref: str) -> bytes:
        if ref not in self.stored:
            raise NotFound(f"there is no blob {ref}", ref=ref)
        return self.stored[ref]

    async def delete_owner(self, owner: str) -> None:
        for ref in [ref for ref in self.stored if ref.startswith(f"{owner}/")]:
            del self.stored[ref]
