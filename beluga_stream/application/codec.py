"""Records as bytes: JSON with a version in front, checked by type on the way in.

The first member is always `"v"`, so that its value is known from the first bytes.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from msgspec.json import Decoder, Encoder

from ..domain.commands import Command
from ..domain.definition import Definition
from ..domain.frozen import Frozen, field
from ..domain.gathering import FiredRow, GatheringRow, ItemRow
from ..domain.payload import Payload
from ..domain.slots import LimitRow, SlotRow
from ..domain.state import RunState
from ..domain.ticks import ScheduleRow
from ..errors import InvalidInput, UnknownVersion
from .depth import nests_deeper
from .messages import Incoming, NodeReady, Notice, Result, Summary, TriggerEvent, WorkflowRequest

VERSION = 1
_PREFIX = b'{"v":1,'
_DEPTH_IN, _DEPTH_ON, _DEPTH_KEPT = 150, 175, 200
"""Deeper records are refused, since readers recurse: those that come in sooner than those made of them."""

T = TypeVar("T")

_encoder = Encoder()
_any: Decoder[Any] = Decoder()


class Codec(Generic[T]):
    """Bytes of one family of records."""

    def __init__(self, kind: Any, what: str, depth: int = _DEPTH_ON) -> None:
        self._decoder: Decoder[T] = Decoder(kind)
        self._what = what
        self._depth = depth

    def encode(self, value: T) -> bytes:
        return _PREFIX + _encoder.encode(value)[1:]

    def decode(self, data: bytes | None) -> T:
        """Raises `UnknownVersion`, or `InvalidInput` that says which member is wrong."""
        if data is None:
            raise InvalidInput(f"a record of {self._what} has no value: it must hold a JSON object")
        if nests_deeper(data, self._depth):
            raise InvalidInput(f"a record of {self._what} is not valid: it nests deeper than {self._depth} levels")
        try:
            if not data.startswith(_PREFIX):
                self._check_version(data)
            return self._decoder.decode(data)
        except ValueError as error:  # of the syntax, the letters, or a member's type
            raise InvalidInput(f"a record of {self._what} is not valid: {error}") from error

    def _check_version(self, data: bytes) -> None:
        tree = _any.decode(data)
        if not isinstance(tree, dict):
            raise InvalidInput(f"a record of {self._what} is no JSON object")
        version = tree.get("v")
        if version != VERSION:
            raise UnknownVersion(
                f"a record of {self._what} has version {version!r}; this engine knows version {VERSION}"
            )


class Kept(Frozen):
    """A run's table value: its state, what is decided and not yet known to be sent, and from where.

    `source` maps topics to the offset of the last event that changed the run: once the group has committed past all of
    them, the intents were sent; and none up to it is news to the run, however often it is read.
    """

    state: RunState
    intents: tuple[Command, ...] = ()
    source: Mapping[str, int] = field(default_factory=dict)


incoming: Codec[Any] = Codec(Incoming, "run events", _DEPTH_IN)
node_ready: Codec[NodeReady] = Codec(NodeReady, "node-ready")
results: Codec[Any] = Codec(Result, "run-results")
control: Codec[Notice] = Codec(Notice, "control")
summaries: Codec[Summary] = Codec(Summary, "runs")
payloads: Codec[Payload] = Codec(Payload, "payloads", _DEPTH_KEPT)
definitions: Codec[Definition] = Codec(Definition, "graphs")
limits: Codec[LimitRow] = Codec(LimitRow, "the limits of the run table")
slots: Codec[SlotRow] = Codec(SlotRow, "the slots of the run table")
gathering_events: Codec[TriggerEvent] = Codec(TriggerEvent, "trigger-events")
workflow_requests: Codec[WorkflowRequest] = Codec(WorkflowRequest, "workflow-requests")
schedules: Codec[ScheduleRow] = Codec(ScheduleRow, "the schedules of the table of triggers")
gatherings: Codec[GatheringRow] = Codec(GatheringRow, "the gatherings of the table of triggers")
items: Codec[ItemRow] = Codec(ItemRow, "the events of the table of triggers", _DEPTH_KEPT)
fired: Codec[FiredRow] = Codec(FiredRow, "the starts of the table of triggers")
kept: Codec[Kept] = Codec(Kept, "the run table", _DEPTH_KEPT)
