"""The engine's front desk through the HTTP gateway: what a client with a URL talks to."""

import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any
from urllib.parse import quote

from ...application.clients.answer import Asked
from ...application.clients.event_json import event_of, failure_of
from ...application.clients.results import Event
from ...application.messages import Summary
from ...bounds import within
from ...domain.ids import RunId
from ...domain.payload import Inline, Json, Payload
from ...errors import InvalidInput, NotFound, TimedOut
from .form import KEY_MOST
from .result import Result
from .stream import LIVE, Frame
from .wire import Wire

_WAIT_SECONDS = 50.0
"""How long one question for an output waits; then it is asked again."""

_REMEMBERED = 100_000


class HttpDesk:
    """Port `Desk` over HTTP. A gateway that is away is waited for as long as `Wire` is patient."""

    def __init__(self, wire: Wire, new_id: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self._wire = wire
        self._new_id = new_id
        self._asked: dict[RunId, Asked] = {}

    async def start(
        self,
        graph: str,
        value: Json,
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout_ms: int | None = None,
    ) -> RunId:
        """See the port. Without a key it makes one up, so that asking again is harmless."""
        key = self._new_id() if idempotency_key is None else _key(idempotency_key)
        body = {"input": value, "tags": dict(tags or {})}
        told = await self._wire.ask(
            "POST",
            f"/v1/graphs/{_part(graph)}/runs",
            # An earlier gateway refuses what it does not know, and a run that needs no timeout is none of that.
            body=body if timeout_ms is None else body | {"timeout_ms": timeout_ms},
            headers={"Idempotency-Key": key},
        )
        run = RunId(told["run"])
        self._remember(run, Asked(told["digest"], told["since"], self.asked(run).retried))
        return run

    async def fork(
        self, run: RunId, node: str, *, edited: Inline | None = None, idempotency_key: str | None = None
    ) -> RunId:
        """See the port. Without a key it makes one up, so that asking again is harmless."""
        key = self._new_id() if idempotency_key is None else _key(idempotency_key)
        body = {"node": node} if edited is None else {"node": node, "input": edited.value}
        told = await self._wire.ask("POST", f"{_path(run)}/fork", body=body, headers={"Idempotency-Key": key})
        forked = RunId(told["run"])
        self._remember(forked, Asked(told["digest"], told["since"], self.asked(forked).retried))
        return forked

    async def cancel(self, run: RunId, reason: str = "") -> None:
        """See the port."""
        await self._wire.ask("POST", f"{_path(run)}/cancel", body={"reason": reason})

    async def retry(self, run: RunId) -> None:
        """See the port."""
        told = await self._wire.ask("POST", f"{_path(run)}/retry", body={})
        known = self.asked(run)
        self._remember(run, Asked(known.digest, known.started, told["ends_after"]))

    async def override(
        self, run: RunId, node: str, *, timeout_ms: int | None = None, attempts: int | None = None
    ) -> None:
        """See the port."""
        body = {"timeout_ms": timeout_ms, "attempts": attempts}
        await self._wire.ask("POST", f"{_path(run)}/nodes/{_part(node)}/override", body=body)

    async def signal(
        self,
        run: RunId,
        signal: str,
        value: Json,
        *,
        id: str | None = None,  # noqa: A002 - the field's name
        checked: bool = False,
    ) -> None:
        """See the port."""
        body = {"value": value, "id": id or self._new_id()}
        await self._wire.ask("POST", f"{_path(run)}/signals/{_part(signal)}", body=body)

    def asked(self, run: RunId) -> Asked:
        """See the port."""
        return self._asked.get(run, Asked())

    async def follow(
        self, run: RunId, *, after: str | None = None, asked: Asked | None = None
    ) -> AsyncGenerator[Event, None]:
        """See the port. Goes on where it was when the connection ends, or the gateway restarts."""
        async with contextlib.aclosing(self.listen(run, after=after, asked=asked)) as events:
            async for event in events:
                if event is not None:
                    yield event

    async def listen(
        self, run: RunId, *, after: str | None = None, asked: Asked | None = None
    ) -> AsyncGenerator[Event | None, None]:
        """See the port."""
        async with contextlib.aclosing(self._frames(run, after, asked, outputs=True)) as frames:
            async for frame in frames:
                if frame.cursor is not None:
                    yield event_of(frame.data)
                elif frame.kind == LIVE:
                    yield None

    async def load(self, payload: Payload) -> Json:
        """See the port. The gateway has put the value into the event."""
        if not isinstance(payload, Inline):
            raise NotFound("the gateway has told of a value that it did not give")
        return payload.value

    async def result(self, run: RunId, *, timeout_seconds: float | None = None, asked: Asked | None = None) -> Json:
        """See the port."""
        try:
            async with within(timeout_seconds):
                return await self._result(run, asked)
        except TimeoutError as error:
            if isinstance(error, TimedOut):
                raise
            raise TimedOut(f"run {run} did not end within {timeout_seconds:g} s; it goes on", run=run) from error

    async def _result(self, run: RunId, asked: Asked | None) -> Json:
        while True:
            result = Result(run)
            async with contextlib.aclosing(self._frames(run, None, asked)) as frames:
                async for frame in frames:
                    result.hear(frame)
            if result.is_told:
                return result.value()
            # It was cut after a refusal, and what ended the run lies before that: it is read from the beginning.

    async def outputs(self, run: RunId, node: str, *, asked: Asked | None = None) -> Json:
        """See the port."""
        path, query = f"{_path(run)}/nodes/{_part(node)}/output", self._asking(run, asked)
        while True:
            try:
                told = await self._wire.ask("GET", path, query={"timeout": str(_WAIT_SECONDS), **query})
            except TimedOut:
                continue
            return told["output"]

    async def summary(self, run: RunId) -> Summary | None:
        """See the port."""
        try:
            return _summary(await self._wire.ask("GET", _path(run)))
        except NotFound:
            return None

    async def summaries(self) -> list[Summary]:
        """See the port."""
        found: list[Summary] = []
        query: dict[str, str] = {}
        while True:
            page = await self._wire.ask("GET", "/v1/runs", query=query)
            found += [_summary(each) for each in page["runs"]]
            if page["next"] is None:
                return found
            query = {"after": page["next"]}

    async def _frames(
        self, run: RunId, after: str | None, asked: Asked | None, *, outputs: bool = False
    ) -> AsyncGenerator[Frame, None]:
        query = self._asking(run, asked)
        if outputs:
            query["outputs"] = "true"
        async with contextlib.aclosing(self._wire.stream(f"{_path(run)}/events", query, after)) as frames:
            async for frame in frames:
                yield frame

    def _asking(self, run: RunId, asked: Asked | None) -> dict[str, str]:
        """What was asked for the run, as a gateway is told it: another one may have taken the start, or the retry."""
        mine = self.asked(run)
        asked = mine if asked is None else asked
        query = {"since": str(asked.started), "ends_after": str(max(mine.retried, asked.retried))}
        return query if asked.digest is None else {**query, "digest": asked.digest}

    def _remember(self, run: RunId, asked: Asked) -> None:
        self._asked.pop(run, None)
        self._asked[run] = asked
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]


def _summary(told: Mapping[str, Any]) -> Summary:
    return Summary(
        run=RunId(told["run"]),
        graph=told["graph"],
        status=told["status"],
        trigger=told["trigger"],
        started_ms=told["started_ms"],
        ended_ms=told["ended_ms"],
        tags=told["tags"],
        parent=None if told["parent"] is None else RunId(told["parent"]),
        failure=failure_of(told["error"]),
        forked_from=None if told.get("forked_from") is None else RunId(told["forked_from"]),
        retry_until_ms=told.get("retry_until_ms"),
    )


def _key(given: str) -> str:
    """An idempotency key that a header carries as it is. Raises `InvalidInput`."""
    if not (0 < len(given) <= KEY_MOST and given.isascii() and given.isprintable() and given == given.strip()):
        raise InvalidInput(
            f"a gateway takes no idempotency key {given[:100]!r}: it must have 1 to {KEY_MOST} printable ASCII "
            f"characters, and no space at an end"
        )
    return given


def _path(run: RunId) -> str:
    return f"/v1/runs/{_part(run)}"


def _part(name: str) -> str:
    return quote(name, safe="")
