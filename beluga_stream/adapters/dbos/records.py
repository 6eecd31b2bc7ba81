"""What a run keeps in DBOS's database: the engine's own wire forms, as JSON.

Members that later versions add need defaults: a run may have been started by an earlier one.
"""

from collections.abc import Mapping
from typing import Any

from ...application.messages import Heartbeat
from ...domain.definition import Definition
from ...domain.events import Event, Failure
from ...domain.frozen import Frozen, field
from ...domain.ids import Incarnation, NodeKey, RunId
from ...domain.payload import Json, Payload

GRAPH = "beluga.graph"
NEXT = "beluga.next"
MAIL = "beluga.mail"
"""Names of the workflow, of its step, and of what is sent to it: they outlive every version of the code."""


class Start(Frozen, kw_only=True):
    """The workflow's input: the definitions that the run is pinned to, and what happens first."""

    definitions: tuple[Definition, ...]
    event: Event
    deadline_ms: int | None = None
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Emitted(Frozen):
    """One chunk of a streaming node."""

    run: RunId
    node: NodeKey
    attempt: int
    incarnation: Incarnation
    seq: int
    value: Json


class Told(Frozen):
    """One thing that has happened: an event for the reducer, a chunk, or what a handler tells by a heartbeat."""

    event: Event | None = None
    chunk: Emitted | None = None
    beat: Heartbeat | None = None


class Entry(Frozen, kw_only=True):
    """One entry of the journal: the time, and what has happened until then.

    With `mail` there is something to read. After the `last` of a process nothing was at work in it any more.
    """

    at_ms: int
    told: tuple[Told, ...] = ()
    mail: bool = False
    last: bool = False


class Ended(Frozen, kw_only=True):
    """How a run ended."""

    status: str
    output: Payload | None = None
    failure: Failure | None = None
