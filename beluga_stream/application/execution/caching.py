"""Results of handlers, given again while they are kept: one execution computes, others of its event loop wait for it.

When that one fails, those that waited compute side by side: one after the other they would wait for all before them.
A store that is silent costs one execution its timeout. Then nobody asks it for a while, and nobody waits for another.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from ...bounds import within
from ...domain.payload import Json
from ...errors import InvalidInput, StoreUnavailable
from ...ports.cache import Caching, ResultStore
from .verdict import Completed

log = logging.getLogger("beluga_stream.cache")

_QUIET_SECONDS = 5.0
"""How long a store that was silent is not asked."""

_SELDOM_SECONDS = 30.0
"""A silence is told of so often at most."""

T = TypeVar("T")


@dataclass(slots=True)
class _Flight:
    """What is being computed under one key. The lock is its first taker's; it goes when nobody wants it.

    One that `failed` is over: executions that come later share another one.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    takers: int = 0
    failed: bool = False


async def cached(
    caching: Caching,
    store: ResultStore,
    values: Mapping[str, Json],
    compute: Callable[[], Awaitable[Completed]],
    again: Callable[[Json], Completed],
) -> Completed:
    """What `again` makes of the output that is kept, else what `compute` gives. Raises what `compute` raises."""
    if _is_quiet(caching):
        return await _computed(caching, compute)
    key = _key(caching, values)
    async with _in_turn(caching, key) as failed:
        if _is_quiet(caching):  # it has become so while this one waited
            return await _computed(caching, compute)
        try:
            found = None if failed else await _answer(caching, store, store.fetch(key))
        except _Silent:
            return await _computed(caching, compute)
        except StoreUnavailable as error:
            log.warning("no result can be looked up or kept: %s", error, extra={"action": "cache_unavailable"})
            return await _computed(caching, compute)  # without waiting for the store a second time
        if found is not None:
            try:
                result = again(orjson.loads(found))
            except (ValidationError, InvalidInput, orjson.JSONDecodeError):
                log.warning("what is kept of %s does not fit its type any more: it is computed", caching.handler)
            else:
                caching.tally.hits += 1
                return result
        result = await _computed(caching, compute)
        await _keep(caching, store, key, result)
        return result


class _Silent(Exception):
    """The store did not answer in time."""


def _is_quiet(caching: Caching) -> bool:
    return asyncio.get_running_loop().time() < caching.tally.quiet_until


async def _computed(caching: Caching, compute: Callable[[], Awaitable[Completed]]) -> Completed:
    result = await compute()
    caching.tally.misses += 1
    return result


async def _answer(caching: Caching, store: ResultStore, asked: Coroutine[Any, Any, T]) -> T:
    """What the store answers. Raises `_Silent` when that takes too long, and whatever the store raises."""
    patience = within(caching.timeout)
    try:
        async with patience:
            return await asked
    except TimeoutError as error:
        if not patience.expired():
            raise
        _note_silence(caching, store)
        raise _Silent from error


def _note_silence(caching: Caching, store: ResultStore) -> None:
    tally, now = caching.tally, asyncio.get_running_loop().time()
    tally.silences += 1
    tally.quiet_until = now + _QUIET_SECONDS
    if now >= tally.tell_from:
        tally.tell_from = now + _SELDOM_SECONDS
        log.warning(
            "%r was silent for %g s, %d times so far: what it keeps is computed meanwhile, it is asked every %g s",
            store,
            caching.timeout,
            tally.silences,
            _QUIET_SECONDS,
            extra={"action": "cache_unavailable"},
        )


def _key(caching: Caching, values: Mapping[str, Json]) -> str:
    # Not orjson: it refuses whole numbers above 64 bits, which handlers may be given.
    text = json.dumps([caching.handler, caching.version, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@asynccontextmanager
async def _in_turn(caching: Caching, key: str) -> AsyncGenerator[bool, None]:
    """One at a time, until one has failed: those that have waited for it go on at once, and are told so."""
    flights, place = caching.tally.flights, (id(asyncio.get_running_loop()), key)
    flight = flights.setdefault(place, _Flight())
    flight.takers += 1
    try:
        async with flight.lock:
            if not flight.failed:
                try:
                    yield False
                except Exception:
                    flight.failed = True
                    del flights[place]
                    raise
                return
        yield True
    finally:
        flight.takers -= 1
        if flight.takers == 0 and not flight.failed:
            del flights[place]


async def _keep(caching: Caching, store: ResultStore, key: str, result: Completed) -> None:
    try:
        await _answer(caching, store, store.keep(key, orjson.dumps(result.output), caching.seconds))
    except _Silent:
        return
    except StoreUnavailable as error:
        log.warning("no result can be kept: %s", error, extra={"action": "cache_unavailable"})
    except (InvalidInput, orjson.JSONEncodeError) as error:  # it is too large, or has numbers above 64 bits
        log.warning("a result of %s is not kept: %s", caching.handler, error, extra={"action": "cache_refused"})
