"""The client for code without asyncio: the same calls, each of which waits.

    with connect() as beluga:
        run = beluga.start(stories, doc, idempotency_key="doc-1")
        for event in run.stream():
            ...
        report = run.result(timeout=60)

One background thread runs the event loop; leaving the `with` ends it. A client may be used from many threads.
"""

import asyncio
import builtins
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from .api import client as api
from .api.client import AS_IT_WAS, RunStatus
from .api.ref import Ref, StreamRef
from .api.retry import Seconds
from .api.signal import Signal
from .api.topic import Topic
from .api.work import Work
from .application.clients.results import Event
from .bootstrap.client import connect as connect_async
from .errors import InvalidState

__all__ = ["Client", "Run", "RunStatus", "connect"]

I = TypeVar("I")  # noqa: E741 - I and O, as everywhere for input and output
O = TypeVar("O")  # noqa: E741
R = TypeVar("R")
C = TypeVar("C")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_THREAD = "beluga-blocking"
_PATIENCE_SECONDS = 30.0


def connect(address: str | None = None, *, token: str | None = None) -> "Client":
    """A client of the engine whose broker is at `address` (default: BELUGA_BROKER). Use with `with`.

    `http://` and `https://` lead to a gateway, which may want a `token` (default: BELUGA_HTTP_TOKEN).

    Raises `InvalidConfig` for wrong settings at once, and `LogUnavailable` on entry without a broker.
    """
    return Client(connect_async(address, token=token))


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._stopped = asyncio.Event()
        self._entering = threading.Lock()
        self._over = False
        """Whether it takes nothing more: what comes while it ends would be neither done nor cancelled."""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name=_THREAD, daemon=True)
        self._thread.start()
        self._started.wait(_PATIENCE_SECONDS)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for it here. Ctrl-C here cancels it there."""
        with self._entering:
            if self._over:
                work.close()
                raise InvalidState("the client is closed: open another one with `with connect() as beluga`")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise InvalidState("the client was closed during this call") from None
        except BaseException:
            future.cancel()
            raise

    def each(self, events: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """What an asynchronous generator yields; closed there when it is left here."""
        try:
            while True:
                try:
                    event = self.wait(_next(events))
                except StopAsyncIteration:
                    return
                yield event
        finally:
            # Garbage is collected in any thread. That of the loop cannot wait for itself; it closes what nobody has.
            if not self._over and threading.current_thread() is not self._thread:
                self.wait(events.aclose())

    def stop(self) -> None:
        """End the loop and its thread; what is still waited for is cancelled."""
        with self._entering:
            self._over = True
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(_PATIENCE_SECONDS)

    async def _main(self) -> None:
        """Until it is stopped; leaving cancels the tasks that are left and closes the loop."""
        self._loop = asyncio.get_running_loop()
        self._started.set()
        await self._stopped.wait()


class Run(Generic[T_co]):
    """One run on the engine. Get it from `Client.start` or `Client.run`."""

    def __init__(self, loop: _Loop, run: api.Run[T_co]) -> None:
        self.id = run.id
        self._loop = loop
        self._run = run

    def result(self, *, timeout: Seconds | None = None) -> T_co:
        """Wait for the run's output; `timeout` in seconds or as a timedelta.

        Raises `RunFailed`, `RunRejected`, `TaskCanceled` when the run ended so, `TimedOut` when it goes on.
        """
        return self._loop.wait(self._run.result(timeout=timeout))

    def stream(self, *, after: str | None = None) -> Generator[Event, None, None]:
        """What happens in the run up to its end, from its beginning or after a cursor; `live`: only what is new."""
        return self._loop.each(self._run.stream(after=after))

    def chunks(self, node: StreamRef[C], *, after: str | None = None) -> Generator[C, None, None]:
        """The chunks of one streaming node, typed."""
        return self._loop.each(self._run.chunks(node, after=after))

    def outputs(self, node: Ref[R]) -> R:
        """What one node gave; waits for it. Raises `NotFound` when the run ended without it."""
        return self._loop.wait(self._run.outputs(node))

    def status(self) -> RunStatus:
        """Where it stands now. Raises `NotFound` for a run nobody knows (yet)."""
        return self._loop.wait(self._run.status())

    def cancel(self, reason: str = "") -> None:
        """Ask for the run's end; returns once the request is durable."""
        self._loop.wait(self._run.cancel(reason))

    def retry(self) -> None:
        """Let a failed run go on from its failed nodes, under the same id.

        Raises `InvalidState` for one that cannot go on, `Expired` for one that failed too long ago.
        """
        self._loop.wait(self._run.retry())

    def override(self, node: Ref[Any] | str, *, timeout: Seconds | None = None, attempts: int | None = None) -> None:
        """Give a node of this run another timeout or number of attempts; see `Run.override`."""
        self._loop.wait(self._run.override(node, timeout=timeout, attempts=attempts))

    def fork(
        self,
        from_node: Ref[Any] | str,
        *,
        input: object = AS_IT_WAS,  # noqa: A002 - the field's name for it
        idempotency_key: str | None = None,
    ) -> "Run[T_co]":
        """Start a new run that goes on from this one at a node, perhaps with an edited input; see `Run.fork`."""
        forking = self._run.fork(from_node, input=input, idempotency_key=idempotency_key)
        return Run(self._loop, self._loop.wait(forking))

    def signal(self, signal: Signal[R], value: R, *, id: str | None = None) -> None:  # noqa: A002 - its name everywhere
        """Send a signal; the same `id` twice is one signal."""
        self._loop.wait(self._run.signal(signal, value, id=id))


class Client:
    """Starts and follows runs. Use it with `with`; `connect()` makes it."""

    def __init__(self, client: api.Client) -> None:
        self._client = client
        self._loop: _Loop | None = None

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise InvalidState("the client is open already")
        self._loop = _Loop()
        try:
            self._loop.wait(self._client.__aenter__())
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, a: type[BaseException] | None, b: BaseException | None, c: TracebackType | None) -> None:
        try:
            self._running.wait(self._client.__aexit__(a, b, c))
        finally:
            self._close()

    @overload
    def start(
        self,
        graph: Work[I, O],
        input: I,
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,
    ) -> Run[O]: ...
    @overload
    def start(
        self,
        graph: str,
        input: object,
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,
    ) -> Run[Any]: ...
    def start(
        self,
        graph: Work[Any, Any] | str,
        input: Any,  # noqa: A002 - the field's name for it
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        timeout: Seconds | None = None,
    ) -> Run[Any]:
        """Request a run; returns once the request is durable. The same `idempotency_key` is the same run.

        `timeout` is how long the run may take, if its graph does not allow less. Raises `InvalidInput` here for a value
        that is not the graph's input.
        """
        loop = self._running
        starting = self._client.start(graph, input, idempotency_key=idempotency_key, tags=tags, timeout=timeout)
        return Run(loop, loop.wait(starting))

    @overload
    def run(self, graph: Work[Any, O], id: str) -> Run[O]: ...
    @overload
    def run(self, graph: Work[Any, O], *, idempotency_key: str, topic: Topic[Any] | None = None) -> Run[O]: ...
    def run(self, graph: Work[Any, O], id: Any = None, **key: Any) -> Run[O]:  # noqa: A002 - a run's id
        """A run that somebody has started, by its id, or by the key that it was started with."""
        return Run(self._running, self._client.run(graph, id, **key))

    def list(
        self,
        *,
        graph: str | None = None,
        status: str | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> builtins.list[RunStatus]:  # `list` is this method, to whoever reads the annotation later
        """The runs that are remembered, oldest first: those of a graph, status, tags or parent (a run's id) only."""
        return self._running.wait(self._client.list(graph=graph, status=status, tags=tags, parent=parent))

    @property
    def _running(self) -> _Loop:
        if self._loop is None:
            raise InvalidState("the client is not connected: use it inside `with connect() as beluga`")
        return self._loop

    def _close(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()


async def _next(events: AsyncGenerator[T, None]) -> T:
    return await anext(events)
