"""Conversations and results in Redis, which many machines may share.

The keys of a conversation have its name in braces, so that a cluster keeps them in one place. What must happen at once
is a script, which Redis runs by itself. Each use of a conversation puts off the end of all its keys: were some of them
to go before others, a summary would stand for turns that are none of it.
The client's types serve its sync and its async form at once and say neither: here it is Any, and the contract suite
checks what types cannot.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from ...domain.conversation import MOST_TURNS, Entry, check_bounds, check_name, check_size
from ...errors import InvalidConfig, StoreUnavailable

_TIMEOUT_SECONDS = 5.0
_CONNECTIONS = 50
"""Of each event loop. A call that finds none free waits for one."""

_FORM = "1"
"""The version of what is kept: part of every key."""

_KEPT = ("turns", "order", "places", "facts", "marks")
"""The keys of a conversation, as scripts have them: KEYS[1] to KEYS[5]."""

_USED = """
if ARGV[1] ~= "" then
    for _, key in ipairs(KEYS) do redis.call("EXPIRE", key, ARGV[1]) end
end
"""

_APPEND = f"""
local is_new = redis.call("HEXISTS", KEYS[1], ARGV[3]) == 0
if is_new then
    redis.call("HSET", KEYS[1], ARGV[3], ARGV[4])
    redis.call("ZADD", KEYS[2], redis.call("INCR", KEYS[3]), ARGV[3])
    for _, turn in ipairs(redis.call("ZRANGE", KEYS[2], 0, -ARGV[2] - 1)) do
        redis.call("HDEL", KEYS[1], turn)
        redis.call("ZREM", KEYS[2], turn)
    end
end
{_USED}
return is_new and 1 or 0
"""

_LOAD = f"""
local found = redis.call("ZREVRANGEBYSCORE", KEYS[2], ARGV[2], "-inf", "WITHSCORES", "LIMIT", 0, ARGV[3])
local entries = {{}}
for at = #found - 1, 1, -2 do
    local value = redis.call("HGET", KEYS[1], found[at])
    if value then entries[#entries + 1] = {{found[at + 1], found[at], value}} end
end
{_USED}
return entries
"""

_PUT = f"""
local is_new = not redis.call("ZSCORE", KEYS[5], ARGV[3])
if is_new then
    local latest = redis.call("ZREVRANGE", KEYS[5], 0, 0, "WITHSCORES")[2] or 0
    redis.call("ZADD", KEYS[5], latest + 1, ARGV[3])
    redis.call("ZREMRANGEBYRANK", KEYS[5], 0, -ARGV[2] - 1)
    for at = 4, #ARGV, 3 do
        if ARGV[at] == "set" then redis.call("HSET", KEYS[4], ARGV[at + 1], ARGV[at + 2])
        else redis.call("HDEL", KEYS[4], ARGV[at + 1]) end
    end
end
{_USED}
return is_new and 1 or 0
"""

_GET = f"""
{_USED}
return redis.call("HGETALL", KEYS[4])
"""

Connect = Callable[[], Any]


class RedisStore:
    """The ports `ConversationStore` and `ResultStore`, in the Redis at this address. Needs the extra `redis`.

    It keeps the last `keep` turns of each conversation, and forgets one that is neither read nor written for `forget`
    seconds (None: never). Its keys begin with `prefix`. Use it with `async with`, or call `aclose`; a `@resource` does
    so for each worker. Raises `InvalidConfig` for bounds below 1, an address that is none, and without the extra.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        prefix: str = "beluga",
        keep: int = MOST_TURNS,
        forget: int | None = None,
        connect: Connect | None = None,
    ) -> None:
        """`connect` makes the client and its pool, instead of the address: for sentinels, clusters and tests."""
        check_bounds("RedisStore", keep=keep, forget=forget)
        try:
            import redis.asyncio as client  # noqa: PLC0415 - an extra
            from redis import RedisError  # noqa: PLC0415
            from redis.asyncio.connection import parse_url  # noqa: PLC0415
        except ImportError as error:
            raise InvalidConfig("RedisStore needs redis: pip install 'beluga-stream[redis]'") from error
        if connect is None:
            try:
                parse_url(url)
            except (ValueError, AttributeError) as error:
                raise InvalidConfig(f"RedisStore: give an address, as 'redis://localhost': {error}") from error
        self._errors = (RedisError, OSError)
        self._name = url.rpartition("@")[2].partition("?")[0].removeprefix("redis://")  # never with its password
        self._connect = connect or (
            lambda: client.Redis.from_pool(
                client.BlockingConnectionPool.from_url(
                    url,
                    max_connections=_CONNECTIONS,
                    timeout=_TIMEOUT_SECONDS,
                    socket_timeout=_TIMEOUT_SECONDS,
                    socket_connect_timeout=_TIMEOUT_SECONDS,
                    protocol=2,
                )
            )
        )
        self._prefix, self._keep, self._forget = f"{prefix}:{_FORM}", keep, "" if forget is None else forget
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"RedisStore({self._name!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of this loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        check_name("the turn's id", turn)
        check_size("the turn", value)
        return bool(await self._run(_APPEND, conversation, self._keep, turn, value))

    async def load(
        self, conversation: str, /, *, last: int | None = None, before: int | None = None
    ) -> Sequence[Entry]:
        highest = "+inf" if before is None else f"({before}"
        found = await self._run(_LOAD, conversation, highest, -1 if last is None else last)
        return [Entry(int(place), turn.decode(), value) for place, turn, value in found]

    async def put(self, conversation: str, turn: str, facts: Mapping[str, bytes | None], /) -> bool:
        check_name("the turn's id", turn)
        given: list[str | bytes] = []
        for name, value in facts.items():
            check_name("a fact's name", name)
            check_size(f"fact {name!r}", value or b"")
            given += ("forget", name, b"") if value is None else ("set", name, value)
        return bool(await self._run(_PUT, conversation, self._keep, turn, *given))

    async def get(self, conversation: str, /) -> Mapping[str, bytes]:
        found = await self._run(_GET, conversation)
        return {name.decode(): value for name, value in zip(found[::2], found[1::2], strict=True)}

    async def clear(self, conversation: str, /) -> None:
        async with self._telling():
            await self._client().delete(*self._keys(conversation))

    async def fetch(self, key: str, /) -> bytes | None:
        async with self._telling():
            found: bytes | None = await self._client().get(f"{self._prefix}:result:{key}")
        return found

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        check_size("the result", value)
        async with self._telling():
            await self._client().set(f"{self._prefix}:result:{key}", value, px=max(1, round(seconds * 1000)))

    def _keys(self, conversation: str) -> list[str]:
        check_name("the conversation", conversation)
        return [f"{self._prefix}:{{{conversation}}}:{part}" for part in _KEPT]

    async def _run(self, script: str, conversation: str, *given: str | bytes | int) -> Any:
        keys = self._keys(conversation)
        async with self._telling():
            return await self._client().eval(script, len(keys), *keys, self._forget, *given)

    def _client(self) -> Any:
        """The client of this loop: its connections belong to one."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = self._connect()
        return self._clients[loop]

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        try:
            yield
        except self._errors as error:
            raise StoreUnavailable(
                f"the store {self!r} does not answer ({type(error).__name__}: {error}): is Redis there?", store=self
            ) from error
