"""Results of handlers, given again while they are kept: one execution computes, others of this process wait for it."""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from pydantic import ValidationError

from ..domain.payload import Json
from ..errors import InvalidInput, StoreUnavailable
from ..ports.cache import Caching, ResultStore
from .verdict import Completed

log = logging.getLogger("beluga_stream.cache")


@dataclass(slots=True)
class _Flight:
    """What is being computed under one key. The lock is its first taker's; it goes when nobody wants it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    takers: int = 0


async def cached(
    caching: Caching,
    store: ResultStore,
    values: Mapping[str, Json],
    compute: Callable[[], Awaitable[Completed]],
    again: Callable[[Json], Completed],
) -> Completed:
    """What `again` makes of the output that is kept, else what `compute` gives. Raises what `compute` raises."""
    key = _key(caching, values)
    async with _alone(caching, key):
        try:
            found = await store.fetch(key)
        except StoreUnavailable as error:
            log.warning("no result can be looked up or kept: %s", error, extra={"action": "cache_unavailable"})
            result = await compute()
            caching.tally.misses += 1
            return result  # without waiting for the store a second time
        if found is not None:
            try:
                result = again(orjson.loads(found))
            except (ValidationError, InvalidInput, orjson.JSONDecodeError):
                log.warning("what is kept of %s does not fit its type any more: it is computed", caching.handler)
            else:
                caching.tally.hits += 1
                return result
        result = await compute()
        caching.tally.misses += 1
        await _keep(caching, store, key, result)
        return result


def _key(caching: Caching, values: Mapping[str, Json]) -> str:
    # Not orjson: it refuses whole numbers above 64 bits, which handlers may be given.
    text = json.dumps([caching.handler, caching.version, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@asynccontextmanager
async def _alone(caching: Caching, key: str) -> AsyncGenerator[None, None]:
    flights, place = caching.tally.flights, (id(asyncio.get_running_loop()), key)
    flight = flights.setdefault(place, _Flight())
    flight.takers += 1
    try:
        async with flight.lock:
            yield
    finally:
        flight.takers -= 1
        if flight.takers == 0:
            del flights[place]


async def _keep(caching: Caching, store: ResultStore, key: str, result: Completed) -> None:
    try:
        await store.keep(key, orjson.dumps(result.output), caching.seconds)
    except StoreUnavailable as error:
        log.warning("no result can be kept: %s", error, extra={"action": "cache_unavailable"})
    except (InvalidInput, orjson.JSONEncodeError) as error:  # it is too large, or has numbers above 64 bits
        log.warning("a result of %s is not kept: %s", caching.handler, error, extra={"action": "cache_refused"})
