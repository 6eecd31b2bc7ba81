"""Fetch sessions (KIP-227): a consumer says what has changed since its last fetch, and hears of what there is.

aiokafka names every partition in every fetch, and hears of every one of them. An engine at rest but for one run would
have a dozen of each for every event. A broker that grants no sessions is asked for everything, as before.
"""

# ruff: noqa: SLF001 - aiokafka has no place for it; tests/contract/test_fetch_session.py looks after it

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import for_code
from aiokafka.protocol.fetch import FetchRequest

from .exchange import Exchange
from .fetch_packet import Asked, FetchAnswer, FetchPacket, Limits
from .packet import Packable, Versions

log = logging.getLogger(__name__)

_NO_SESSION, _FIRST_EPOCH = 0, 0
_LAST_EPOCH = 2**31 - 1
_SESSION_NOT_FOUND, _INVALID_SESSION_EPOCH = 70, 71
_LOST = (_SESSION_NOT_FOUND, _INVALID_SESSION_EPOCH)
"""The broker has forgotten the session, or an answer of it went astray."""


def in_sessions(consumer: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """The consumer, with a session at every broker that it fetches from. To be called before it starts."""
    client: Any = consumer._client
    send = Exchange(client).send
    sessions: dict[int, FetchSession] = {}
    assigned: Any = None

    async def send_in_session(node_id: int, request: Any, **more: Any) -> Any:
        nonlocal assigned
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **more)
        subscription = consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is not assigned:
            # It knows nothing yet, and of a partition at rest a session would not say how long it is.
            assigned = assignment
            for each in sessions.values():
                each.begin_anew()
        session = sessions.get(node_id)
        if session is None:
            session = sessions[node_id] = FetchSession()
        return await session.fetch(request, lambda asking: send(node_id, asking, **more))

    client.send = send_in_session
    return consumer


class FetchSession:
    """What one broker knows of what one consumer wants. One fetch is under way at a time."""

    def __init__(self) -> None:
        self.id = _NO_SESSION
        self.epoch = _FIRST_EPOCH
        self._known: dict[tuple[str, int], tuple[int, int]] = {}
        """For each partition of the session the offset and the max_bytes that the broker has."""

    async def fetch(self, request: FetchRequest, send: Callable[[Any], Awaitable[Any]]) -> Any:
        """The broker's answer. Raises what `send` does, and aiokafka's error for one that concerns the whole fetch."""
        answer = await self._ask(request, send)
        if isinstance(answer, FetchAnswer) and answer.error_code in _LOST:
            log.debug("fetch session %d is over: error %d", self.id, answer.error_code)
            self.begin_anew()
            answer = await self._ask(request, send)
        if isinstance(answer, FetchAnswer) and answer.error_code:
            self.begin_anew()
            raise for_code(answer.error_code)
        return answer

    async def _ask(self, request: FetchRequest, send: Callable[[Any], Awaitable[Any]]) -> Any:
        try:
            answer = await send(_Asking(self, request))
        except BaseException:
            # Whether the broker has heard it is not known.
            self.begin_anew()
            raise
        if not isinstance(answer, FetchAnswer) or answer.session_id == _NO_SESSION:
            self.id, self.epoch = _NO_SESSION, _FIRST_EPOCH
            self._known.clear()
        elif not answer.error_code:
            self.id = answer.session_id
            self.epoch = self.epoch + 1 if self.epoch < _LAST_EPOCH else _FIRST_EPOCH + 1
        return answer

    def begin_anew(self) -> None:
        """Ask for everything with the next fetch, which ends what there may be at the broker."""
        self.epoch = _FIRST_EPOCH
        self._known.clear()

    def packet(self, request: FetchRequest) -> FetchPacket:
        """The request as what has changed. From here on the broker is held to know it."""
        known = self._known
        asked: dict[str, list[Asked]] = {}
        wanted = 0
        for topic, partitions in request.topics:
            for each in partitions:
                wanted += 1
                target, state = (topic, each[0]), each[1:]
                if known.get(target) != state:
                    known[target] = state
                    asked.setdefault(topic, []).append(each)
        return FetchPacket(
            Limits(request._max_wait_ms, request._min_bytes, request._max_bytes, request._isolation_level),
            session=self.id,
            epoch=self.epoch,
            asked=asked,
            gone=self._gone(request.topics) if len(known) > wanted else {},
            rack=request._rack_id,
        )

    def _gone(self, topics: Iterable[tuple[str, Sequence[Asked]]]) -> Mapping[str, Sequence[int]]:
        wanted = {(topic, each[0]) for topic, partitions in topics for each in partitions}
        gone: dict[str, list[int]] = {}
        for topic, number in [target for target in self._known if target not in wanted]:
            del self._known[topic, number]
            gone.setdefault(topic, []).append(number)
        return gone


class _Asking(Packable):
    """Stands for a request until it is known which versions of it the broker has."""

    API_KEY = FetchRequest.API_KEY

    def __init__(self, session: FetchSession, request: FetchRequest) -> None:
        self._session = session
        self._request = request

    def packed(self, versions: Versions) -> FetchPacket | None:
        return self._session.packet(self._request) if FetchPacket.fits(versions) else None

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """What aiokafka asks for where there is no packet."""
        return self._request.prepare(versions)
