"""Requests to a gateway, asked again while it is away, and streams that go on where they were."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Self

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from ...errors import BelugaError, InvalidInput, LogUnavailable, ResourceExhausted
from . import sse
from .problem import error_of
from .stream import CLOSING, END, PROBLEM, Frame

_AGAIN_SECONDS = 0.2
_AGAIN_MOST_SECONDS = 5.0
_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 90.0
_PRESENT_SECONDS = 5.0
_SILENT_SECONDS = 60.0
"""A stream that gives no sign of life for so long is taken for cut."""


class Wire:
    """One gateway. Use it with `async with`.

    `patience` is how long it may be away (seconds), and `present_within` how long at first.
    Raises `LogUnavailable` on entry when nobody answers.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        patience: float = 60.0,
        present_within: float = _PRESENT_SECONDS,
    ) -> None:
        self._base = address.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._patience = patience
        self._present_within = present_within
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        limits = ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        # By itself aiohttp has a hundred connections and no more: streams of so many runs would keep out the signal
        # that they wait for. It is the gateway that says when there are too many.
        self._session = ClientSession(headers=self._headers, timeout=limits, connector=TCPConnector(limit=0))
        try:
            await self.ask("GET", "/healthz", patience=self._present_within)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float | None = None,
    ) -> Any:
        """The answer's JSON. Raises the error that the gateway tells of, and `LogUnavailable` when patience ends."""
        trying = _Trying(self._patience if patience is None else patience, self._base)
        sent = {**(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        data = None if body is None else orjson.dumps(body)
        while True:
            try:
                async with self._open.request(
                    method,
                    self._url(path, query or {}),
                    data=data,
                    headers=sent,
                    allow_redirects=False,  # the token goes to the gateway and nowhere else
                    timeout=ClientTimeout(total=_ANSWER_SECONDS, sock_connect=_CONNECT_SECONDS),
                ) as response:
                    await _check(response)
                    return _parsed(await response.read())
            except BelugaError:
                raise
            except _FAILURES as error:
                await trying.again(error)

    async def stream(self, path: str, query: Mapping[str, str], after: str | None) -> AsyncGenerator[Frame, None]:
        """Everything up to `end`, which comes last, across cut connections and restarts of the gateway.

        Raises the error that the gateway tells of, and `LogUnavailable` when patience ends.
        """
        trying = _Trying(self._patience, self._base)
        while True:
            wanted = {**query, **({} if after is None else {"after": after})}
            try:
                async with contextlib.aclosing(self._connected(path, wanted)) as frames:
                    async for frame in frames:
                        trying.heard()
                        after = frame.cursor or after
                        yield frame
                        if frame.kind == END:
                            return
                cut: Exception = _Away("the stream was cut")
            except BelugaError:
                raise
            except _FAILURES as error:
                cut = error
            await trying.again(cut)

    async def _connected(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[Frame, None]:
        """What one connection gives; it is over at an end, when the gateway closes, and when it is cut."""
        async with self._open.get(
            self._url(path, query),
            headers={"Accept": sse.MEDIA_TYPE},
            allow_redirects=False,
            timeout=ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS),
        ) as response:
            await _check(response)
            if response.status == 204:  # noqa: PLR2004 - nothing follows the cursor
                yield Frame(END, {"status": None})
                return
            parser = sse.Parser()
            async for data in response.content.iter_any():
                for sent in parser.feed(data):
                    told = orjson.loads(sent.data)
                    if sent.event == PROBLEM:
                        raise _away_or_wrong(error_of(response.status, told))
                    if sent.event == CLOSING:
                        return
                    yield Frame(sent.event, told, sent.id)

    @property
    def _open(self) -> ClientSession:
        if self._session is None:
            raise LogUnavailable("the client of the gateway is not open")
        return self._session

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        return URL(f"{self._base}{path}", encoded=True).with_query(query)


class _Away(Exception):
    """The gateway does not serve now; it may after `seconds`."""

    def __init__(self, message: str, error: BelugaError | None = None, seconds: float | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.seconds = seconds


_FAILURES = (ClientError, OSError, _Away)
"""After which another try may help. A timeout is an OSError too."""


class _Trying:
    """How long to go on, and how long to wait between."""

    def __init__(self, patience: float, where: str) -> None:
        self._patience = patience
        self._where = where
        self._since: float | None = time.monotonic()
        """Since when it has not answered; None: it has, last."""
        self._wait = _AGAIN_SECONDS

    def heard(self) -> None:
        """It has answered: patience begins when it fails next, however long it was silent, or not read, before."""
        self._since, self._wait = None, _AGAIN_SECONDS

    async def again(self, error: Exception) -> None:
        """Wait before the next try. Raises what it said, or `LogUnavailable`, when it has been away for too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since > self._patience:
            if isinstance(error, _Away) and error.error is not None:
                raise error.error
            why = str(error) or repr(error)
            raise LogUnavailable(f"the gateway at {self._where} does not answer: {why}") from error
        wait = self._wait
        if isinstance(error, _Away) and error.seconds is not None:
            wait = min(error.seconds, _AGAIN_MOST_SECONDS)
        await asyncio.sleep(wait)
        self._wait = min(self._wait * 2, _AGAIN_MOST_SECONDS)


async def _check(response: ClientResponse) -> None:
    """Raises what an answer that is none means."""
    if response.status < 300:  # noqa: PLR2004 - any success
        return
    try:
        document = orjson.loads(await response.read())
    except orjson.JSONDecodeError:
        document = {}
    error = error_of(response.status, document if isinstance(document, dict) else {})
    after = response.headers.get("Retry-After", "")
    raise _away_or_wrong(error, float(after) if after.isdecimal() else None)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the answer is not JSON: does a gateway listen there? {error}") from error


def _away_or_wrong(error: BelugaError, seconds: float | None = None) -> Exception:
    """Whether to ask again for what the gateway said."""
    if isinstance(error, LogUnavailable | ResourceExhausted) and error.retryable:
        return _Away(error.message, error, seconds)
    return error
