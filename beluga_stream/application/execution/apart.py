"""Executions in a process of their own: what a worker asks of one, and how it is answered.

For nodes whose workers have died under them (see `domain.crashes`). The process has the same deployment and finds
the handler by its address; chunks and heartbeats come as they are told. `performing` is the other side.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from msgspec.json import Decoder, Encoder

from ...domain.frozen import Frozen
from ...domain.ids import GraphHash, NodeName
from ...domain.payload import Json
from ...ports.calls import Isolation
from .context import Context
from .verdict import Completed, Failed

Emit: TypeAlias = Callable[[Json], Awaitable[None]]
Role: TypeAlias = Literal["handler", "fallback", "compensate"]

_FACTS = (
    "run_id",
    "graph",
    "node",
    "attempt",
    "incarnation",
    "idempotency_key",
    "deadline_ms",
    "trace",
    "heartbeat_details",
    "_emitted",
)


class Address(NamedTuple):
    """Where a handler is found, in whatever process has the deployment."""

    definition: GraphHash
    name: NodeName
    role: Role


class Task(Frozen):
    """One execution to do. `facts` are those of its context."""

    definition: GraphHash
    name: NodeName
    role: Role
    values: Mapping[str, Any]
    facts: Mapping[str, Any]


class Yielded(Frozen, tag_field="type", tag="yielded"):
    """A chunk."""

    value: Any


class Beaten(Frozen, tag_field="type", tag="beaten"):
    """A heartbeat with its details."""

    details: Any = None


class Answer(Frozen):
    """How it ended: one of the two."""

    completed: Completed | None = None
    failed: Failed | None = None


_encoder = Encoder()
_tasks = Decoder(Task)
_said: Decoder[Yielded | Beaten] = Decoder(Yielded | Beaten)
_answers = Decoder(Answer)


def encoded(message: Task | Yielded | Beaten | Answer) -> bytes:
    """The message's JSON."""
    return _encoder.encode(message)


def task_of(data: bytes) -> Task:
    """The task in these bytes."""
    return _tasks.decode(data)


async def run_apart(
    isolation: Isolation, address: Address, values: Mapping[str, Json], context: Context, emit: Emit
) -> Completed | Failed:
    """Run it there. Raises `ProcessLost` when the process dies, and whatever `emit` and heartbeats raise here."""

    async def tell(data: bytes) -> None:
        said = _said.decode(data)
        if isinstance(said, Yielded):
            await emit(said.value)
        else:
            await context.heartbeat(said.details)

    facts = {name: getattr(context, name) for name in _FACTS}
    answer = _answers.decode(await isolation.ask(encoded(Task(*address, values, facts)), tell))
    result = answer.completed or answer.failed
    assert result is not None, "an answer is one of the two"
    return result
