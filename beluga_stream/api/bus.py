"""`MessageBus`: agents publish and subscribe, ask and answer, in this process or over Kafka."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType, UnionType
from typing import Any, Self, TypeVar, overload

from ..application.bus.parcels import is_ours
from ..application.bus.subscription import Handle, Subscribed, Terms
from ..application.execution.threads import Threads
from ..bounds import in_time
from ..domain.subjects import INBOX, check_subject, pattern
from ..errors import (
    BelugaError,
    InvalidConfig,
    InvalidInput,
    InvalidState,
    LogUnavailable,
    NotFound,
    TaskCanceled,
    TimedOut,
)
from ..ports.bus import Carrier, DeadLetter, Line, Parcel, Traces
from ..ports.spans import NoSpans, Spans
from .bus_data import body_of, checked, data_of, error_of, reply_of
from .bus_handler import call_of
from .bus_message import BusMessage
from .ranges import is_whole
from .retry import Retry, Seconds, check_retry, seconds
from .subscription import Subscription

T = TypeVar("T")
R = TypeVar("R")

_ONCE = Retry(1)
_RETRY = Retry(4, first=0.1, most=5)
_NO_GROUP = "~"
"""Begins the names of subscribers without a group, which live as long as their buses."""

_REPLY_SECONDS = 30.0
_START_SECONDS = 30.0
_CHECK_SECONDS = 5.0
_MOST_CONCURRENCY = 10_000
_NO_HEADERS: Mapping[str, str] = {}


class MessageBus:
    """Messages among agents. Made by `local_bus`, `kafka_bus` and `Orchestrator.message_bus`; use it with `async with`.

    Subjects are words joined by dots; in patterns `*` stands for a word and `>` for the rest. Data is JSON on its way:
    anything that pydantic writes, checked by type where it arrives. Messages of one key (by default their subject) from
    one publisher come in order, and are handled one after the other. Belongs to one event loop.
    """

    def __init__(self, carrier: Carrier, traces: Traces, spans: Spans | None = None) -> None:
        self._carrier = carrier
        self._traces = traces
        self._spans = spans or NoSpans()
        self._threads = Threads()
        self._starting = asyncio.Lock()
        self._started = self._closed = self._ended = False
        self._closing: asyncio.Task[None] | None = None
        self._subscribed: dict[Subscribed, None] = {}
        self._inbox: str | None = None
        self._asked: dict[str, asyncio.Future[Parcel]] = {}

    async def publish(
        self,
        subject: str,
        data: object,
        /,
        *,
        key: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        timeout: Seconds = 30,  # noqa: ASYNC109 - seconds or timedelta, as everywhere
    ) -> str:
        """Send a message to every subscriber, and to one of each group; return its id.

        Over Kafka it is durable then. In process it waits while a subscriber's queue is full. Raises `InvalidInput` for
        a wrong subject, key or header, `NotSerializable` and `RecordTooLarge` for such data, `ResourceExhausted` when a
        subscriber in this process has no room for `timeout`, and `LogUnavailable` when the broker does not confirm.
        """
        parcel = self._parcel(subject, data, key, headers)
        limit = _limit(timeout)
        with self._spans.span("bus.publish", {"messaging.destination.name": subject}):
            await self._send(parcel, limit)
        return parcel.id

    @overload
    async def request(
        self,
        subject: str,
        data: object,
        reply: type[R],
        /,
        *,
        key: str | None = None,
        headers: Mapping[str, str] = ...,
        timeout: Seconds = 30,  # noqa: ASYNC109 - as above
    ) -> R: ...
    @overload
    async def request(
        self,
        subject: str,
        data: object,
        reply: UnionType,
        /,
        *,
        key: str | None = None,
        headers: Mapping[str, str] = ...,
        timeout: Seconds = 30,  # noqa: ASYNC109 - as above
    ) -> Any: ...
    async def request(
        self,
        subject: str,
        data: object,
        reply: Any,
        /,
        *,
        key: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        timeout: Seconds = 30,  # noqa: ASYNC109 - as above
    ) -> Any:
        """Send a message and wait for the first reply: what a subscriber's handler returns, checked by type.

        Raises `TimedOut` without a reply, and `ExecutionFailed` when the handler failed for good; `retryable` says
        whether asking again may help. `InvalidConfig` is for a reply type that cannot be checked; for the others see
        `publish`.
        """
        parcel = self._parcel(subject, data, key, headers)
        limit = _limit(timeout)
        answers = checked(reply)

        def late() -> TimedOut:
            return TimedOut(f"nobody answered a request to {subject} within {limit:g} s", subject=subject)

        with self._spans.span("bus.request", {"messaging.destination.name": subject}):
            async with in_time(limit, late), self._expected(parcel) as (asking, answered):
                await self._send(asking, limit)
                answer = await answered
        if answer.error is not None:
            raise error_of(answer, subject)
        return data_of(answer.body, answers, f"the reply of {subject}")

    async def subscribe(  # noqa: PLR0913 - options, each given by its name
        self,
        subjects: str,
        kind: type[T] | UnionType,
        handler: Callable[[BusMessage[T]], Awaitable[object] | object],
        /,
        *,
        group: str | None = None,
        concurrency: int = 16,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - as above
        retry: Retry = _RETRY,
    ) -> Subscription:
        """Let a handler take the messages of a pattern from now on; what it returns answers a request.

        Without `group` it gets every message, as long as it is there. With one, its members share the messages, and
        the group keeps its place while none is there. A message is done when the handler returns. When it raises, it
        is called again by `retry`, and then the message becomes a dead letter; so does, at once, one of another type.
        At most `concurrency` are handled at a time, an attempt of an async handler for `timeout` at most; one that is
        not async runs in a thread. A message may come twice: its `id` tells.

        Raises `InvalidInput` for a wrong pattern, `InvalidConfig` for values out of range, a type that pydantic cannot
        check and a handler that takes no messages (a generator, or what cannot be called), and `LogUnavailable`.
        """
        wanted = pattern(subjects)
        if wanted.words[0].startswith("_"):
            raise InvalidInput(f"pattern {subjects!r}: first words that begin with _ are the bus's own")
        if group is not None and not _is_group(group):
            raise InvalidConfig(f"group={group!r}: give letters, digits, -, _ and dots")
        if not is_whole(concurrency) or not 1 <= concurrency <= _MOST_CONCURRENCY:
            raise InvalidConfig(f"concurrency={concurrency!r}: give a whole number, 1 to {_MOST_CONCURRENCY:,}")
        check_retry(f"subscribe({subjects!r})", retry)
        if timeout is not None and seconds(timeout) <= 0:
            raise InvalidConfig(f"timeout={timeout}: give more than 0")
        terms = Terms(concurrency, None if timeout is None else seconds(timeout), retry.policy(), retry.kinds)
        name = f"{group or _NO_GROUP + uuid.uuid4().hex[:12]}@{subjects}"
        subscribed = Subscribed(name, self._handling(kind, handler), self._answer, self._carrier, terms)
        await self._attach(subscribed, subjects, group)
        return Subscription(subjects, group, subscribed)

    @overload
    def receive(
        self, subjects: str, kind: type[T], /, *, group: str | None = None
    ) -> AsyncGenerator[BusMessage[T], None]: ...
    @overload
    def receive(
        self, subjects: str, kind: UnionType, /, *, group: str | None = None
    ) -> AsyncGenerator[BusMessage[Any], None]: ...
    async def receive(
        self, subjects: str, kind: Any, /, *, group: str | None = None
    ) -> AsyncGenerator[BusMessage[Any], None]:
        """The messages of a pattern, one after the other, for `async for`. Use it with `contextlib.aclosing`.

        A message is done when the loop asks for the next one. Where the loop is left, the group gets the message again.
        """
        offered: asyncio.Queue[tuple[BusMessage[Any], asyncio.Future[None]]] = asyncio.Queue(1)

        async def offer(message: BusMessage[Any]) -> None:
            taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            await offered.put((message, taken))
            await taken

        subscription = await self.subscribe(subjects, kind, offer, group=group, concurrency=1, retry=_ONCE)
        try:
            while (found := await subscription.unless_closed(offered.get())) is not None:
                message, taken = found
                yield message
                if not taken.done():
                    taken.set_result(None)
        finally:
            await subscription.close(grace=0)

    async def dead_letters(self) -> Sequence[DeadLetter]:
        """The messages that subscribers could not take, oldest first, without those that were sent again.

        Raises `LogUnavailable`.
        """
        await self._start()
        return await self._carrier.letters()

    async def replay(self, letter: DeadLetter, /, *, timeout: Seconds = 30) -> None:  # noqa: ASYNC109 - as above
        """Send a dead letter again, to the subscriber that could not take it, and list it no more.

        A group gets it even if none of its members is there now. Raises `NotFound`, and keeps the letter listed, when
        the subscriber is gone: a group that has no place any more, or a subscriber without a group that this bus does
        not have. For other errors see `publish`. After a crash in between the message comes twice, rather than never.
        """
        limit = _limit(timeout)
        await self._start(limit)
        if not await self._reaches(letter.subscriber):
            raise NotFound(
                f"{letter.subscriber}, which could not take a message of {letter.subject}, is gone: nothing was sent",
                subject=letter.subject,
            )
        await self._send(letter.parcel, limit)
        await self._carrier.settle(letter)

    async def forget(self, subjects: str, /, *, group: str) -> None:
        """Drop a group that nobody serves any more, with all that waits for it; its dead letters stay.

        In process its full queue would hold publishers up for ever. Raises `NotFound` when there is no such group,
        `InvalidState` while it has members, `AccessDenied` and `LogUnavailable`.
        """
        wanted = pattern(subjects)
        await self._start()
        await self._carrier.forget(group, wanted)

    async def check(self) -> None:
        """Return if the bus can carry messages. Raises `InvalidState` if it is closed, `LogUnavailable` within 5 s."""
        silent = f"{self._carrier.where} has not answered the message bus within {_CHECK_SECONDS:g} s"
        async with in_time(_CHECK_SECONDS, lambda: LogUnavailable(silent)):
            await self._start()
            await self._carrier.check()

    async def aclose(self) -> None:
        """Close every subscription, then the bus. Requests that wait raise `TaskCanceled`.

        It is completed even if the caller is cancelled. A handler that calls it does not wait for it, so it can end.
        """
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.create_task(self._close(), name="bus-closing")
        if not any(one.runs_here for one in self._subscribed):
            await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        await self.aclose()

    async def _close(self) -> None:
        for one in self._subscribed:
            one.closed.set()  # what fails from now on does so because of this
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(TaskCanceled("the message bus was closed while a request waited for its reply"))
        async with self._starting:  # what is just being started or opened is closed too
            try:
                await asyncio.gather(*(one.close() for one in tuple(self._subscribed)))
            finally:
                self._ended = True
                await self._threads.close()
                if self._started:
                    await self._carrier.close()

    async def _start(self, limit: float = _START_SECONDS) -> None:
        """Connect, if that is still to be done. Raises `LogUnavailable`, after so many seconds at the latest."""
        self._refuse_if(self._ended)
        if self._started:
            return
        silent = f"the message bus could not reach {self._carrier.where} within {limit:g} s"
        async with in_time(limit, lambda: LogUnavailable(silent)), self._starting:
            self._refuse_if(self._closed)
            if not self._started:
                await self._carrier.start()
                self._started = True

    def _refuse_if(self, closed: bool) -> None:  # noqa: FBT001 - reads as a sentence
        """While it closes, handlers may still send what belongs to their messages; what comes later is refused."""
        if closed:
            raise InvalidState("the message bus is closed: make another")

    async def _send(self, parcel: Parcel, limit: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._start(limit)
        await self._carrier.send(parcel, max(0, round(limit - (loop.time() - began), 3)))

    async def _reaches(self, subscriber: str) -> bool:
        """Whether what is sent to it now comes to it, soon or when it is back."""
        if any(one.subscriber == subscriber for one in self._subscribed):
            return True
        group, at, subjects = subscriber.partition("@")
        return bool(at) and not group.startswith(_NO_GROUP) and await self._carrier.keeps(group, pattern(subjects))

    async def _attach(self, subscribed: Subscribed, subjects: str, group: str | None) -> None:
        self._refuse_if(self._closed)
        await self._start()
        line = await self._carrier.attach(pattern(subjects), group, subscribed.subscriber, subscribed.release)
        if self._closed:
            await line.close()
            raise InvalidState("the message bus was closed meanwhile")
        self._began(subscribed, line)

    def _began(self, subscribed: Subscribed, line: Line) -> None:
        self._subscribed[subscribed] = None
        subscribed.begin(line, ended=lambda one: self._subscribed.pop(one, None))

    def _parcel(self, subject: str, data: object, key: str | None, headers: Mapping[str, str]) -> Parcel:
        check_subject(subject)
        for name in headers:
            if is_ours(name):
                raise InvalidInput(f"header {name!r}: names that begin with beluga- are the bus's own", subject=subject)
        if key == "":
            raise InvalidInput("key='': give what the messages that must keep their order share, or none")
        told = {**self._traces.told(), **headers}
        body = body_of(data, key or subject, told, subject)
        return Parcel(uuid.uuid4().hex, subject, key or subject, body, told)

    def _handling(self, kind: Any, handler: Callable[[BusMessage[Any]], Any]) -> Handle:
        call = call_of(handler, self._threads)
        takes = checked(kind)

        async def handle(parcel: Parcel, attempt: int) -> Any:
            data = data_of(parcel.body, takes, f"a message of {parcel.subject}")
            message: BusMessage[Any] = BusMessage(
                parcel.subject, data, parcel.id, parcel.key, dict(parcel.headers), attempt, parcel.reply is not None
            )
            attributes: dict[str, str | int] = {"messaging.destination.name": parcel.subject, "attempt": attempt}
            with self._traces.inside(parcel.headers), self._spans.span("bus.process", attributes):
                return await call(message)

        return handle

    async def _answer(self, parcel: Parcel, value: Any, error: BelugaError | None) -> None:
        assert parcel.reply is not None
        body, code = reply_of(value, error, parcel.subject)
        answer = Parcel(uuid.uuid4().hex, parcel.reply, parcel.reply, body, correlation=parcel.correlation, error=code)
        await self._send(answer, _REPLY_SECONDS)

    @asynccontextmanager
    async def _expected(self, parcel: Parcel) -> AsyncIterator[tuple[Parcel, "asyncio.Future[Parcel]"]]:
        """The parcel as a request, and its answer to come."""
        inbox = await self._opened_inbox()
        answered: asyncio.Future[Parcel] = asyncio.get_running_loop().create_future()
        self._asked[parcel.id] = answered
        try:
            asking = Parcel(
                parcel.id, parcel.subject, parcel.key, parcel.body, parcel.headers, inbox, correlation=parcel.id
            )
            yield asking, answered
        finally:
            del self._asked[parcel.id]
            if answered.done() and not answered.cancelled():
                answered.exception()  # looked at: it may have come while the request was still being sent

    async def _opened_inbox(self) -> str:
        """The subject that replies to this process go to, opened at the first request."""
        self._refuse_if(self._closed)
        await self._start()
        async with self._starting:
            self._refuse_if(self._closed)
            if self._inbox is None:
                inbox = f"{INBOX}.{uuid.uuid4().hex}"
                subscribed = Subscribed(inbox, self._arrived, self._answer, self._carrier, _INBOX_TERMS)
                self._began(subscribed, await self._carrier.attach(pattern(inbox), None, inbox, subscribed.release))
                self._inbox = inbox
        return self._inbox

    async def _arrived(self, parcel: Parcel, attempt: int) -> None:
        asked = self._asked.get(parcel.correlation or "")
        if asked is not None and not asked.done():
            asked.set_result(parcel)


def _is_group(group: object) -> bool:
    return isinstance(group, str) and group != "" and all(letter.isalnum() or letter in "-_." for letter in group)


def _limit(timeout: Seconds) -> float:
    """Seconds to wait at most. Raises `InvalidConfig` for less than none."""
    limit = seconds(timeout)
    if limit < 0:
        raise InvalidConfig(f"timeout={timeout}: give 0 or more")
    return limit


_INBOX_TERMS = Terms(64, None, Retry(1).policy(), None)
