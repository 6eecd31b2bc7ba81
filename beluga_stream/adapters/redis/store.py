"""Conversations and results in Redis, which many machines may share.

The keys of a conversation have its name in braces, so that a cluster keeps them in one place. What must happen at once
is a transaction on watched keys: the few commands that it takes are tried again when another process was quicker.
The client's types serve its sync and its async form at once and say neither: here it is Any, and the contract suite
checks what types cannot.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from ...domain.conversation import MOST_TURNS, Entry, check_name, check_size
from ...errors import InvalidConfig, StoreUnavailable

T = TypeVar("T")

_TIMEOUT_SECONDS = 5.0
_TRIES = 64
_FORM = "1"
"""The version of what is kept: part of every key."""

Connect = Callable[[], Any]


class RedisStore:
    """The ports `ConversationStore` and `ResultStore`, in the Redis at this address. Needs the extra `redis`.

    It keeps the last `keep` turns of each conversation, and forgets one that is not used for `forget` seconds (None:
    never). Its keys begin with `prefix`. Use it with `async with`, or call `aclose`; a `@resource` does so for each
    worker. Raises `InvalidConfig` for bounds below 1, an address that is none, and without the extra.
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
        """`connect` makes the client, instead of the address: for sentinels, clusters and tests."""
        for name, bound in (("keep", keep), ("forget", forget)):
            if bound is not None and bound < 1:
                raise InvalidConfig(f"RedisStore({name}={bound}): give at least 1")
        try:
            import redis.asyncio as client  # noqa: PLC0415 - an extra
            from redis import RedisError, WatchError  # noqa: PLC0415
            from redis.asyncio.connection import parse_url  # noqa: PLC0415
        except ImportError as error:
            raise InvalidConfig("RedisStore needs redis: pip install 'beluga-stream[redis]'") from error
        if connect is None:
            try:
                parse_url(url)
            except ValueError as error:
                raise InvalidConfig(f"RedisStore: {error}") from error
        self._errors = (RedisError, OSError)
        self._beaten = WatchError
        self._name = url.rpartition("@")[2].partition("?")[0].removeprefix("redis://")  # never with its password
        self._connect = connect or (
            lambda: client.Redis.from_url(
                url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS, protocol=2
            )
        )
        self._prefix, self._keep, self._forget = f"{prefix}:{_FORM}", keep, forget
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
        values, order, places = self._keys(conversation, "turns", "order", "places")

        async def write(pipe: Any) -> bool:
            if await pipe.hexists(values, turn):
                return False
            place = int(await pipe.get(places) or 0) + 1
            older = await pipe.zrange(order, 0, -self._keep)  # all but those that stay beside the new one
            pipe.multi()
            pipe.set(places, place)
            pipe.hset(values, turn, value)
            pipe.zadd(order, {turn: place})
            if older:
                pipe.hdel(values, *older)
                pipe.zrem(order, *older)
            self._remember(pipe, values, order, places)
            return True

        return await self._at_once(write, values, order, places)

    async def load(
        self, conversation: str, /, *, last: int | None = None, before: int | None = None
    ) -> Sequence[Entry]:
        values, order = self._keys(conversation, "turns", "order")
        if last == 0:
            return []

        async def read(pipe: Any) -> list[Entry]:
            highest = "+inf" if before is None else f"({before}"
            found = await pipe.zrange(
                order,
                highest,
                "-inf",
                desc=True,
                byscore=True,
                withscores=True,
                offset=0,
                num=-1 if last is None else last,
            )
            turns = [(one, int(place)) for one, place in reversed(found)]
            kept = await pipe.hmget(values, [one for one, _ in turns]) if turns else []
            pipe.multi()
            return [Entry(place, one.decode(), value) for (one, place), value in zip(turns, kept, strict=True)]

        return await self._at_once(read, values, order)

    async def put(self, conversation: str, turn: str, facts: Mapping[str, bytes | None], /) -> bool:
        check_name("the turn's id", turn)
        for name, value in facts.items():
            check_name("a fact's name", name)
            check_size(f"fact {name!r}", value or b"")
        values, marks = self._keys(conversation, "facts", "marks")

        async def write(pipe: Any) -> bool:
            if await pipe.zscore(marks, turn) is not None:
                return False
            latest = await pipe.zrange(marks, -1, -1, withscores=True)
            place = int(latest[0][1]) + 1 if latest else 1
            pipe.multi()
            pipe.zadd(marks, {turn: place})
            pipe.zremrangebyrank(marks, 0, -self._keep - 1)
            for name, value in facts.items():
                pipe.hdel(values, name) if value is None else pipe.hset(values, name, value)
            self._remember(pipe, values, marks)
            return True

        return await self._at_once(write, values, marks)

    async def get(self, conversation: str, /) -> Mapping[str, bytes]:
        (values,) = self._keys(conversation, "facts")
        async with self._telling():
            found: Mapping[bytes, bytes] = await self._client().hgetall(values)
        return {name.decode(): value for name, value in found.items()}

    async def clear(self, conversation: str, /) -> None:
        async with self._telling():
            await self._client().delete(*self._keys(conversation, "turns", "order", "places", "facts", "marks"))

    async def fetch(self, key: str, /) -> bytes | None:
        async with self._telling():
            found: bytes | None = await self._client().get(f"{self._prefix}:result:{key}")
        return found

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        check_size("the result", value)
        async with self._telling():
            await self._client().set(f"{self._prefix}:result:{key}", value, px=max(1, round(seconds * 1000)))

    def _keys(self, conversation: str, *parts: str) -> list[str]:
        check_name("the conversation", conversation)
        return [f"{self._prefix}:{{{conversation}}}:{part}" for part in parts]

    def _remember(self, pipe: Any, *keys: str) -> None:
        for key in keys if self._forget is not None else ():
            pipe.expire(key, self._forget or 0)

    async def _at_once(self, work: Callable[[Any], Awaitable[T]], *keys: str) -> T:
        async with self._telling(), self._client().pipeline(transaction=True) as pipe:
            for _ in range(_TRIES):
                try:
                    await pipe.watch(*keys)
                    done = await work(pipe)
                    await pipe.execute()
                except self._beaten:
                    continue
                return done
        raise StoreUnavailable(f"the store {self!r}: too many write to {keys[0]} at once", store=self)

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
