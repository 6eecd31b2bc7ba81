"""What a running handler may know of its run: `context()`. Outside a run it is inert."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter

X = TypeVar("X")

NODE_LOG = logging.getLogger("beluga_stream.node")
"""What handlers say."""


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the ids of an execution to each line, beside what the line says in `extra`."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


@dataclass(slots=True)
class Context:
    """Facts of this execution. Ids are empty and the key is `local` outside a run.

    `idempotency_key` is the same for every attempt and incarnation: pass it to the services that you call.
    `deadline_ms` is when the attempt times out (epoch milliseconds), or None. `heartbeat_details` is what an
    earlier attempt reported last by `heartbeat`, as JSON, or None. `cancelled` becomes True when the node has timed out
    or its run is cancelled: a function in a thread, which nobody can stop, should look at it from time to time and
    return.
    """

    run_id: str = ""
    graph: str = ""
    node: str = ""
    attempt: int = 1
    incarnation: str = ""
    idempotency_key: str = "local"
    deadline_ms: int | None = None
    trace: str | None = None
    heartbeat_details: Any = None
    cancelled: bool = False
    logger: logging.Logger | logging.LoggerAdapter[Any] = NODE_LOG
    _beat: Callable[[object], Awaitable[None]] | None = None
    _emitted: Sequence[Any] = ()

    async def heartbeat(self, details: object = None) -> None:
        """Tell the coordinator that the work goes on, and how far it is: the next attempt gets the last `details`.

        They must be JSON, and enough to go on from. Raises `NotSerializable`.
        """
        if self._beat is not None:
            await self._beat(details)

    def emitted(self, kind: type[X]) -> list[X]:
        """What earlier attempts of a `resume=True` node have emitted, checked as this type; empty for all others.

        The node goes on after them: what it yields now follows on them in its stream and in its output.
        """
        if not self._emitted:
            return []
        adapter: TypeAdapter[X] = TypeAdapter(kind)
        return [adapter.validate_python(chunk, by_alias=True, by_name=True) for chunk in self._emitted]


def emitted_by(context: Context) -> Sequence[Any]:
    """What the node has emitted before this attempt, as JSON."""
    return context._emitted  # noqa: SLF001 - the engine's part of it


def resume(context: Context, emitted: Sequence[Any]) -> None:
    """Let a node know what it has emitted before this attempt, as JSON."""
    context._emitted = emitted  # noqa: SLF001 - the engine's part of it


current: ContextVar[Context | None] = ContextVar("beluga_context", default=None)


def context() -> Context:
    """The context of the running handler; an inert one outside a run."""
    return current.get() or Context()
