"""Values and their payloads: what is short travels inline, what is long goes through the blob store."""

import asyncio
from collections import OrderedDict

import orjson

from ..domain.payload import INLINE_LIMIT_BYTES, Gathered, Inline, Json, Paged, Payload, Picked, Stored
from ..errors import InvalidInput, NotSerializable
from ..ports.blobs import Blobs
from .depth import nests_deeper

_CACHED_BYTES = 16 * 1024 * 1024
"""Most encoded bytes of blobs whose values are kept; the last one is kept whatever its size."""

_INLINE_DEPTH = 100
"""Records that come in are read to a depth of 150, and a value lies some levels deep in its record."""


class Payloads:
    """Turns JSON values into payloads and back. Keeps the last decoded blobs, for maps over long lists."""

    def __init__(self, blobs: Blobs, *, inline_limit_bytes: int = INLINE_LIMIT_BYTES) -> None:
        self._blobs = blobs
        self._limit = inline_limit_bytes
        self._cache: OrderedDict[str, tuple[Json, int]] = OrderedDict()
        self._cached_bytes = 0
        self._reading: dict[str, asyncio.Future[Json]] = {}

    async def store(self, owner: str, value: Json, *, limit_bytes: int | None = None) -> Payload:
        """The payload of a JSON value; a long one is durable in the blob store before this returns.

        Raises `NotSerializable`.
        """
        try:
            data = orjson.dumps(value)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise NotSerializable(f"the value cannot become JSON: {error}") from error
        limit = self._limit if limit_bytes is None else limit_bytes
        if len(data) <= limit and not nests_deeper(data, _INLINE_DEPTH):
            return Inline(value)
        ref = await self._blobs.put(owner, data)
        return Stored(ref, len(data), len(value) if isinstance(value, list) else None)

    async def load(self, payload: Payload, item: int | None = None) -> Json:
        """The JSON value, or one item of a list. Raises `NotFound` when a blob is gone."""
        match payload:
            case Inline(value):
                return value if item is None else value[item]
            case Stored(ref):
                value = await self._blob(ref)
                return value if item is None else value[item]
            case Gathered(items, names):
                if item is not None:
                    return await self.load(items[item])
                values = [await self.load(part) for part in items]
                return values if names is None else dict(zip(names, values, strict=True))
            case Picked(source, index):
                value = await self.load(source, index)
                return value if item is None else value[item]
            case Paged(pages):
                if item is not None:
                    return await self._paged_item(payload, item)
                return [value for page in pages for value in await self.load(page)]

    async def keep(self, owner: str, data: bytes) -> str:
        """Store bytes that are no value of a run; returns their reference."""
        return await self._blobs.put(owner, data)

    async def kept(self, ref: str) -> bytes:
        """What `keep` has stored. Raises `NotFound`."""
        return await self._blobs.get(ref)

    async def _paged_item(self, payload: Paged, item: int) -> Json:
        for page in payload.pages:
            value = await self.load(page)
            if item < len(value):
                return value[item]
            item -= len(value)
        raise IndexError(item)

    async def _blob(self, ref: str) -> Json:
        """A blob's value. Many items of a map ask for the same one at once: it is read and decoded once."""
        if ref in self._cache:
            self._cache.move_to_end(ref)
            return self._cache[ref][0]
        reading = self._reading.get(ref)
        if reading is None:
            reading = self._reading[ref] = asyncio.ensure_future(self._read(ref))
            reading.add_done_callback(lambda _: self._reading.pop(ref, None))
        return await asyncio.shield(reading)

    async def _read(self, ref: str) -> Json:
        data = await self._blobs.get(ref)
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"the blob {ref} is not JSON: {error}", ref=ref) from error
        self._cache[ref] = (value, len(data))
        self._cached_bytes += len(data)
        while self._cached_bytes > _CACHED_BYTES and len(self._cache) > 1:
            _, (_, size) = self._cache.popitem(last=False)
            self._cached_bytes -= size
        return value
