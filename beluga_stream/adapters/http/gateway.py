"""The HTTP gateway: an ASGI application that serves the table of operations, and the streams of runs."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketState

from ...application.health import Health, RoleHealth
from ...domain.ids import RunId
from ...errors import AccessDenied, InvalidInput, NotFound
from ...ports.spans import NO_SPANS, Of, Spans
from . import problem as problems
from .allowance import Allowance, Limits
from .checking import checked
from .openapi import document
from .operation import Asked, Given, Operation
from .operations import Engine, Operations, asked_of
from .pages import page_routes
from .problem import Problem, problem_of
from .server_events import Events
from .sockets import serve_socket
from .stream import END, Frame, Pace, Wish, frames
from .table import TABLE
from .tokens import SCOPES, Caller, Tokens

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """`origins` are those of pages that may use it from a browser. Without tokens only local names are served."""

    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    pace: Pace = field(default_factory=Pace)
    stream_token_seconds: float = 900.0
    stall_seconds: float = 60.0
    wait_seconds: float = 60.0
    """Most time that a question for an output waits for it."""
    reconnect_ms: int = 1_000


class Gateway:
    """`app` is the application. `close` ends the streams, and tells their readers to connect again."""

    def __init__(
        self,
        engine: Engine,
        tokens: Tokens,
        options: GatewayOptions,
        *,
        spans: Spans = NO_SPANS,
        health: Health | None = None,
    ) -> None:
        self.engine = engine
        self.tokens = tokens
        self.options = options
        self.spans = spans
        self.allowance = Allowance(options.limits)
        self.closing = asyncio.Event()
        self.health = Health() if health is None else health
        self.health.roles = lambda: {"gateway": RoleHealth(ready=not self.closing.is_set())}
        self.operations = Operations(
            engine,
            tokens,
            self.allowance,
            self.frames,
            stream_token_seconds=options.stream_token_seconds,
            wait_seconds=options.wait_seconds,
        )
        self.app = self._application()

    def close(self) -> None:
        """End the streams and refuse what comes; `app` must still be served for a moment."""
        self.closing.set()

    def frames(self, wish: Wish) -> AsyncGenerator[Frame | None, None]:
        """A run's stream, up to its end or the gateway's."""
        return frames(self.engine.runs, wish, self.options.pace, self.closing)

    def _application(self) -> Starlette:
        described = orjson.dumps(document(TABLE))

        async def openapi(request: Request) -> Response:
            return Response(described, media_type="application/json")

        async def health(request: Request) -> Response:
            closing = self.closing.is_set()
            told = {"status": "closing" if closing else "ok", "streams": self.allowance.streams}
            return _json(Given(told, 503 if closing else 200))

        async def live(request: Request) -> Response:
            return _json(Given({"status": "ok"}))

        async def ready(request: Request) -> Response:
            is_ready, told = self.health.ready()
            return _json(Given(told, 200 if is_ready else 503))

        async def report(request: Request) -> Response:
            is_well, told = await self.health.report()
            return _json(Given(told, 200 if is_well else 503))

        routes: list[BaseRoute] = [
            *page_routes(),
            Route("/openapi.json", openapi),
            Route("/healthz", health),
            Route("/live", live),
            Route("/ready", ready),
            Route("/health", report),
        ]
        for operation in TABLE:
            routes.append(Route(operation.path, Endpoint(self, operation), methods=[operation.method]))
            if operation.call is None:
                routes.append(WebSocketRoute(operation.path, SocketEndpoint(self, operation)))
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(self.options.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "traceparent"],
            expose_headers=["Location", "Retry-After"],
        )
        return Starlette(
            routes=routes,
            middleware=[cors] if self.options.origins else [],
            exception_handlers={HTTPException: _not_routed},
        )

    def admit(self, connection: HTTPConnection, operation: Operation) -> Caller:
        """Whose request it is, if it may be made. Raises `Problem`."""
        self._check_origin(connection)
        caller = self._caller(connection, operation)
        self.allowance.take(caller.name)
        if operation.scope is not None and not caller.may(operation.scope, connection.path_params.get("run")):
            told = f"the token {caller.name!r} may not do this: it needs the scope {operation.scope!r}"
            raise Problem(403, AccessDenied(told))
        return caller

    def _caller(self, connection: HTTPConnection, operation: Operation) -> Caller:
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        stream_token = connection.query_params.get("token")
        client = connection.client
        address = client.host if client is not None else "unknown"
        if not self.tokens.wanted:
            return Caller(address, frozenset(SCOPES))
        caller = None
        if scheme.lower() == "bearer" and text:
            caller = self.tokens.caller(text.strip())
        elif operation.call is None and stream_token:
            caller = self.tokens.stream_caller(stream_token)
        if caller is None:
            # Guessing is bounded by the address, whatever is guessed.
            self.allowance.take(f"address {address}")
            raise Problem(401, AccessDenied("no token, an unknown one, or one whose time is up: send a bearer token"))
        return caller

    def _check_origin(self, connection: HTTPConnection) -> None:
        """Keep pages of other sites from using a gateway that the browser's user can reach."""
        host = connection.headers.get("host", "")
        if not self.tokens.wanted and _name_of(host) not in _LOCAL:
            told = f"without tokens the gateway answers to local names only, and not to {host[:100]!r}"
            raise Problem(403, AccessDenied(told))
        origin = connection.headers.get("origin")
        if origin is None or origin in self.options.origins or "*" in self.options.origins:
            return
        if not _is_at(origin, host):
            raise Problem(403, AccessDenied(f"pages of {origin[:100]!r} may not use the gateway: BELUGA_HTTP_ORIGINS"))


class Endpoint:
    """One operation as an ASGI application."""

    def __init__(self, gateway: Gateway, operation: Operation) -> None:
        self._gateway = gateway
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            if self._operation.call is None:
                await self._stream(request, send)
                return
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - a defect is answered, and logged
            response = _told(problem_of(error, self._operation.name))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        assert self._operation.call is not None
        caller = self._gateway.admit(request, self._operation)
        most = self._gateway.options.limits.body_bytes
        asked = await checked(self._operation, request, caller, most)
        operation, spans = self._operation, self._gateway.spans
        facts = {"http.request.method": operation.method, "http.route": operation.path}
        of = Of(asked.headers.get("traceparent"), "server")
        with spans.span(f"{operation.method} {operation.path}", facts, of=of) as span:
            given = await self._operation.call(self._gateway.operations, traced(asked, span.trace))
            span.tell({"http.response.status_code": given.status})
            return _json(given)

    async def _stream(self, request: Request, send: Send) -> None:
        """A stream that cannot be had is a problem with a status of its own; later it is an event."""
        gateway = self._gateway
        caller = gateway.admit(request, self._operation)
        asked = await checked(self._operation, request, caller, 0)
        wish = wish_of(asked)
        with gateway.allowance.stream(caller.name):
            async with contextlib.aclosing(gateway.frames(wish)) as coming:
                first = await anext(coming)
                if first is not None and first.kind == END and wish.after is not None:
                    response: Response | Events = Response(status_code=204)
                else:
                    response = Events(
                        first,
                        coming,
                        reconnect_ms=gateway.options.reconnect_ms,
                        stall_seconds=gateway.options.stall_seconds,
                    )
                await response(request.scope, request.receive, send)


class SocketEndpoint:
    """The stream of a run as a WebSocket."""

    def __init__(self, gateway: Gateway, operation: Operation) -> None:
        self._gateway = gateway
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        gateway = self._gateway
        try:
            caller = gateway.admit(socket, self._operation)
            wish = wish_of(await checked(self._operation, socket, caller, 0))
            with gateway.allowance.stream(caller.name):
                async with contextlib.aclosing(gateway.frames(wish)) as coming:
                    first = await anext(coming)
                    await serve_socket(socket, first, coming, gateway.options.stall_seconds)
        except Exception as error:  # noqa: BLE001 - a defect is answered, and logged
            if socket.application_state is WebSocketState.CONNECTING:
                await socket.send_denial_response(_told(problem_of(error, self._operation.name)))
            else:
                problem_of(error, self._operation.name)


def traced(asked: Asked, trace: str | None) -> Asked:
    """The request as it goes on inside this span."""
    return asked if trace is None else replace(asked, headers={**asked.headers, "traceparent": trace})


def wish_of(asked: Asked) -> Wish:
    """What the request for a stream asks for. The header counts, since the URL stays as it was when it came first."""
    after = asked.headers.get("last-event-id") or asked.query.get("after")
    return Wish(RunId(asked.path["run"]), after, asked_of(asked), outputs=asked.query.get("outputs", False))


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 405:  # noqa: PLR2004 - Method Not Allowed
        answer = _told(Problem(405, InvalidInput(f"{request.method} is not possible on {path}")))
        answer.headers.update(error.headers or {})
        return answer
    return _told(Problem(error.status_code, NotFound(f"there is nothing at {path}: see /openapi.json")))


def _is_at(origin: str, host: str) -> bool:
    """Whether a page's origin is the host that it was asked of."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:  # half of an IPv6 address: no browser sends it
        return False


def _name_of(host: str) -> str:
    """A Host header without the port."""
    name, _, port = host.rpartition(":")
    return name if port.isdecimal() and name else host


def _json(given: Given) -> Response:
    body = orjson.dumps(given.value)
    return Response(body, given.status, dict(given.headers), media_type="application/json")


def _told(problem: Problem) -> Response:
    body = orjson.dumps(problem.document)
    return Response(body, problem.status, problem.headers, media_type=problems.MEDIA_TYPE)
