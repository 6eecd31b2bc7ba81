"""What travels between client, interpreter and activities, as Temporal's server keeps it: the engine's own wire forms.

Members that later versions add need defaults: a workflow may have been started by an earlier one.
"""

from ...application.messages import NodeReady
from ...domain.definition import Definition
from ...domain.events import Event, Failure, Parent
from ...domain.frozen import Frozen
from ...domain.ids import Incarnation
from ...domain.payload import Payload, Stored
from ...domain.state import RunState
from ...ports.log import Outgoing
from ...ports.spans import Ended as EndedSpan

INTERPRETER = "beluga.graph"
EXECUTE = "beluga.execute"
SHOW = "beluga.show"
PUT_AWAY = "beluga.put_away"
TAKE_OUT = "beluga.take_out"
RENEW = "beluga.renew"
SHORTEN = "beluga.shorten"
"""Names of the workflow and its activities: they outlive every version of the code."""

SIGNAL, TELL = "signal", "tell"
"""The interpreter's signals: a user's, and what an activity tells meanwhile."""

STATE = "state"
"""The interpreter's query."""

HANDED_BACK = "handed_back"
"""The type of the error by which a worker that stops gives an execution back."""


class Carried(Frozen):
    """A run that goes on in a new execution of its workflow: its states, and work that was held back."""

    states: tuple[RunState, ...]
    held: tuple[NodeReady, ...] = ()


class Start(Frozen, kw_only=True):
    """The interpreter's input: the definitions that the run is pinned to, the topics, and what happens first.

    With `stored`, what is carried is in the blob store, since it is too long to be here. `renew_ms` is when the blobs
    that it names are due to count as new. `parent` is that of the run. `spans`: workers tell them.
    """

    definitions: tuple[Definition, ...]
    prefix: str
    partitions: int
    event: Event | None = None
    carried: Carried | None = None
    stored: str | None = None
    renew_ms: int | None = None
    parent: Parent | None = None
    spans: bool = False


class Told(Frozen):
    """One thing that has happened."""

    event: Event


class Given(Frozen):
    """One execution that an activity is to do."""

    work: NodeReady
    incarnation: Incarnation


class Beaten(Frozen):
    """What a heartbeat carries: the last that the handler has told."""

    details: Payload | None = None


class Records(Frozen):
    """What is appended to the log: first the first, then the others, which may only be seen after them.

    `spans` are those of runs whose end is among them.
    """

    first: tuple[Outgoing, ...]
    then: tuple[Outgoing, ...] = ()
    spans: tuple[EndedSpan, ...] = ()


class Named(Frozen):
    """Blobs that a run names, to be told to be new."""

    blobs: tuple[Stored, ...]


class Long(Frozen):
    """An output that is to be put away, for this owner."""

    owner: str
    payload: Payload


class Shortened(Frozen):
    """Where it is."""

    payload: Payload


class Ended(Frozen):
    """How the run ended. `carried` and `stored` are what a retry goes on from."""

    status: str
    output: Payload | None = None
    failure: Failure | None = None
    carried: Carried | None = None
    stored: str | None = None
