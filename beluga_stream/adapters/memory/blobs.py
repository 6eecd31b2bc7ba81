"""Blobs in a dictionary."""

import hashlib
from collections.abc import AsyncGenerator, Sequence

from ...errors import NotFound
from ...ports.clock import Clock
from .clock import SystemClock

_AT_ONCE = 100


class MemoryBlobs:
    """The port `SweptBlobs`, kept in this process. `missed` are the references that were asked for and not there."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.stored: dict[str, bytes] = {}
        self.missed: list[str] = []
        self._clock = clock or SystemClock()
        self._new_ms: dict[str, int] = {}

    async def put(self, owner: str, data: bytes) -> str:
        ref = f"{owner}/{hashlib.sha256(data).hexdigest()}"
        self.stored[ref] = data
        self._new_ms[ref] = self._clock.now_ms()
        return ref

    async def get(self, ref: str) -> bytes:
        if ref not in self.stored:
            self.missed.append(ref)
            raise NotFound(f"there is no blob {ref}", ref=ref)
        return self.stored[ref]

    async def older(self, before_ms: int) -> AsyncGenerator[Sequence[str], None]:
        found = [ref for ref, new_ms in self._new_ms.items() if new_ms < before_ms]
        for at in range(0, len(found), _AT_ONCE):
            yield found[at : at + _AT_ONCE]

    async def touch(self, refs: Sequence[str]) -> None:
        self._new_ms.update((ref, self._clock.now_ms()) for ref in refs if ref in self.stored)

    async def delete(self, refs: Sequence[str], before_ms: int) -> int:
        old = [ref for ref in refs if self._new_ms.get(ref, before_ms) < before_ms]
        for ref in old:
            del self.stored[ref], self._new_ms[ref]
        return len(old)
