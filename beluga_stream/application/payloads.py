"""Values and their payloads: what is short travels inline, what is long goes through the blob store.

With a cipher every value is sealed, whichever way it goes.
"""

import asyncio
import hashlib
from collections import OrderedDict

import orjson

from ..domain.payload import (
    INLINE_LIMIT_BYTES,
    Gathered,
    Inline,
    Json,
    Paged,
    Payload,
    Picked,
    Sealed,
    Stored,
    length_of,
    seals_of,
)
from ..errors import InvalidInput, KeyMissing, NotSerializable
from ..ports.blobs import Blobs
from ..ports.cipher import Cipher
from . import codec
from .depth import nests_deeper
from .execution.conversion import own
from .sealing import is_sealed, seal, unseal

_CACHED_BYTES = 16 * 1024 * 1024
"""Most encoded bytes of blobs whose values are kept; the last one is kept whatever its size."""

_INLINE_DEPTH = 100
"""Records that come in are read to a depth of 150, and a value lies some levels deep in its record."""

_SEALED_LIST_BYTES = 4 * 1024
"""A longer sealed list goes to the blob store: every item of a map over it carries the whole, since nobody on the
way can take an item out."""


_OWNER_BYTES = 200
"""No file system has names of more than 255, and some stores of objects none of more than 1,024."""


class Payloads:
    """Turns JSON values into payloads and back. Keeps the last decoded blobs, for maps over long lists.

    With `shows_sealed`, what is encrypted with a key that is not here loads as a text that says so: for people.
    """

    def __init__(
        self,
        blobs: Blobs,
        *,
        inline_limit_bytes: int = INLINE_LIMIT_BYTES,
        cipher: Cipher | None = None,
        shows_sealed: bool = False,
    ) -> None:
        self._blobs = blobs
        self._cipher = cipher
        self._shows_sealed = shows_sealed
        self._limit = inline_limit_bytes
        self._cache: OrderedDict[str, tuple[Json, int]] = OrderedDict()
        self._cached_bytes = 0
        self._reading: dict[str, asyncio.Future[Json]] = {}

    async def store(self, owner: str, value: Json, *, limit_bytes: int | None = None) -> Payload:
        """The payload of a JSON value; a long one is durable in the blob store before this returns.

        Raises `NotSerializable`.
        """
        owner = _place_of(owner)
        try:
            data = orjson.dumps(value)
        except (TypeError, orjson.JSONEncodeError) as error:
            raise NotSerializable(f"the value cannot become JSON: {error}") from error
        limit = self._limit if limit_bytes is None else limit_bytes
        if self._cipher is not None:
            return await self._seal(self._cipher, owner, data, len(value) if isinstance(value, list) else None, limit)
        if len(data) <= limit and not nests_deeper(data, _INLINE_DEPTH):
            return Inline(value)
        ref = await self._blobs.put(owner, data)
        return Stored(ref, len(data), len(value) if isinstance(value, list) else None)

    async def shortened(self, owner: str, payload: Payload, *, limit_bytes: int | None = None) -> Payload:
        """The payload, or when it is a list or mapping above the limit its reference in the blob store.

        Parts that nobody here can join are put away as they are only when they are sealed: an engine of an earlier
        version would take them for the value.
        """
        match payload:
            case Inline(list() | dict() as value):
                return await self.store(owner, value, limit_bytes=limit_bytes)
            case Gathered() | Paged() if any(seals_of(payload)):
                data = codec.payloads.encode(payload)
                if len(data) > (self._limit if limit_bytes is None else limit_bytes):
                    ref = await self._blobs.put(_place_of(owner), data)
                    return Stored(ref, len(data), length_of(payload), parts=True)
            case _:
                pass
        return payload

    def digest(self, value: Json) -> str:
        """What equal values have in common. With a cipher it tells nobody else what they are."""
        return input_digest(value) if self._cipher is None else self._cipher.digest(_sorted_json(value))

    async def load(self, payload: Payload, item: int | None = None) -> Json:
        """The JSON value, or one item of a list. Of what is kept here everybody gets one of their own.

        Raises `NotFound` when a blob is gone, `KeyMissing` and `Tampered` for what is encrypted, and `InvalidInput` for
        what is put together from parts that are not there: others than the engine may write payloads, too;
        `NotSerializable` for one of theirs that nests too deep.
        """
        try:
            value = await self._load(payload, item)
            return own(value) if isinstance(payload, Stored | Picked | Paged) else value
        except KeyMissing as error:
            if not self._shows_sealed:
                raise
            return f"encrypted ({error.ids['key']})"

    async def _load(self, payload: Payload, item: int | None) -> Json:
        match payload:
            case Inline(value):
                return value if item is None else _item(value, item)
            case Stored(parts=True):
                return await self._load(codec.payloads.decode(await self._blobs.get(payload.ref)), item)
            case Stored():
                value = await self._blob(payload)
                return value if item is None else _item(value, item)
            case Sealed(owner, data):
                value = _parsed(unseal(self._cipher, data, owner), f"a value of {owner}")
                return value if item is None else _item(value, item)
            case Gathered(items, names):
                if names is not None and (item is not None or len(names) != len(items)):
                    raise InvalidInput(f"a mapping of {len(names)} names was put together from {len(items)} values")
                if item is not None:
                    return await self.load(_item(items, item))
                values = [await self.load(part) for part in items]
                return values if names is None else dict(zip(names, values, strict=True))
            case Picked(source, index):
                value = await self._load(source, index)
                return value if item is None else _item(value, item)
            case Paged(pages):
                if item is not None:
                    return await self._paged_item(payload, item)
                return [value for page in pages for value in await self._page(page)]

    async def keep(self, owner: str, data: bytes) -> str:
        """Store bytes that are no value of a run; returns their reference."""
        owner = _place_of(owner)
        return await self._blobs.put(owner, data if self._cipher is None else seal(self._cipher, data, owner))

    async def kept(self, ref: str) -> bytes:
        """What `keep` has stored. Raises `NotFound`, `KeyMissing` and `Tampered`."""
        data = await self._blobs.get(ref)
        return unseal(self._cipher, data, _owner_of(ref)) if is_sealed(data) else data

    async def _seal(self, cipher: Cipher, owner: str, data: bytes, length: int | None, limit: int) -> Payload:
        sealed = seal(cipher, data, owner)
        # In base64 it is longer by a third.
        most = limit * 3 // 4 if length is None else min(limit * 3 // 4, _SEALED_LIST_BYTES)
        if len(sealed) <= most:
            return Sealed(owner, sealed, length)
        ref = await self._blobs.put(owner, sealed)
        return Stored(ref, len(sealed), length, sealed=True)

    async def _paged_item(self, payload: Paged, item: int) -> Json:
        left = item
        for page in payload.pages:
            value = await self._page(page)
            if left < len(value):
                return _item(value, left)
            left -= len(value)
        raise InvalidInput(f"item {item} was picked from pages that have none of this number")

    async def _page(self, page: Payload) -> list[Json]:
        value = await self._load(page, None)
        if not isinstance(value, list):
            raise InvalidInput("a list was put together from pages of which one is no list")
        return value

    async def _blob(self, stored: Stored) -> Json:
        """A blob's value. Many items of a map ask for the same one at once: it is read and decoded once."""
        ref = stored.ref
        if ref in self._cache:
            self._cache.move_to_end(ref)
            return self._cache[ref][0]
        reading = self._reading.get(ref)
        if reading is None:
            reading = self._reading[ref] = asyncio.ensure_future(self._read(stored))
            reading.add_done_callback(lambda _: self._reading.pop(ref, None))
        return await asyncio.shield(reading)

    async def _read(self, stored: Stored) -> Json:
        ref = stored.ref
        data = await self._blobs.get(ref)
        if stored.sealed:
            data = unseal(self._cipher, data, _owner_of(ref))
        value = _parsed(data, f"the blob {ref}")
        self._cache[ref] = (value, len(data))
        self._cached_bytes += len(data)
        while self._cached_bytes > _CACHED_BYTES and len(self._cache) > 1:
            _, (_, size) = self._cache.popitem(last=False)
            self._cached_bytes -= size
        return value


def _place_of(owner: str) -> str:
    """The owner where it can be a folder, else a name for it: users choose ids of durable runs."""
    can_be = all(part not in ("", ".", "..") for part in owner.split("/")) and "\0" not in owner
    data = owner.encode()
    if can_be and len(data) <= _OWNER_BYTES:
        return owner
    return f"~{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _owner_of(ref: str) -> str:
    return ref.rpartition("/")[0]


def _item(value: Json, index: int) -> Json:
    if not isinstance(value, list | tuple) or not 0 <= index < len(value):
        raise InvalidInput(f"item {index} was picked from a value that is no list with an item of this number")
    return value[index]


def _parsed(data: bytes, what: str) -> Json:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{what} is not JSON: {error}") from error


def input_digest(value: Json) -> str:
    """A hash of the input, so that a reused idempotency key with another payload is recognised."""
    return hashlib.blake2b(_sorted_json(value), digest_size=16).hexdigest()


def _sorted_json(value: Json) -> bytes:
    """The same bytes for equal values. Raises `NotSerializable`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # orjson.JSONEncodeError is one
        raise NotSerializable(f"the input cannot become JSON: {error}") from error
