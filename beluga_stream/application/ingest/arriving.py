"""An event that starts no run alone, on its way to those that start one together with it.

Ingest takes its key, and for a join its window, and writes the whole of it under the id of its gathering.
"""

from base64 import b64decode, b64encode
from datetime import UTC, datetime
from typing import Any

from ...domain.gathering import Batch, Burst, EventArrived, Rule, Window
from ...domain.ids import digest, gathering_id
from ...domain.payload import Json
from ...errors import InvalidInput
from ...ports.handlers import Gathers, Trigger
from ...ports.log import Outgoing, Record
from .. import codec
from ..deadletters import refused_place
from ..payloads import Payloads
from ..topics import Topics
from ..tracing import trace_of
from .inbound import message_of, time_of
from .requesting import called, key_text

_PARTS = 3
_LONGEST_KEY = 1_000
"""A longer key is told by its hash: rows and records name it, and none of them may become too large."""

_AHEAD_MS = 3_600_000
"""How far ahead of this process's clock a record's timestamp may be."""


async def arrival(
    trigger: Trigger, side: int, record: Record, topics: Topics, payloads: Payloads, now_ms: int
) -> Outgoing:
    """The record that takes an event to its gathering.

    Raises `InvalidInput` for what is no event of its type, or says that it happened long after it was logged, and
    `ExecutionFailed` when the user's key raises.
    """
    gathers = trigger.gathers
    assert gathers is not None, "ingest asks for those that gather"
    found = gathers.sides[side]
    message, identity = message_of(record, found.adapter)
    place = f"{record.topic}/{record.partition}/{record.offset}"
    refused = refused_place(record)
    again = () if refused is None else (refused,)
    of = called(trigger.name, "the key", lambda: key_text(found.key(message.data)))
    if len(of) > _LONGEST_KEY:
        of = f"#{digest(of)}"
    logged_ms = record.timestamp_ms
    happened_ms = time_of(record)
    at_ms = logged_ms if happened_ms is None else happened_ms
    rule = _rule(gathers, at_ms)
    # An event that claims to happen in years to come must not keep its window open until then.
    if logged_ms > now_ms + _AHEAD_MS or (
        isinstance(rule, Window) and rule.start_ms > logged_ms + gathers.within_ms + gathers.lateness_ms
    ):
        raise InvalidInput(
            f"an event of {record.topic} says that it happens at {_moment(at_ms)}, and that it was logged at "
            f"{_moment(logged_ms)}: its producer's clock, or its unit of time, is wrong",
            trigger=trigger.name,
        )
    window = f"{rule.start_ms}+{gathers.within_ms}" if isinstance(rule, Window) else ""
    gathering = gathering_id(trigger.graph, trigger.name, of, window)
    data: Any = called(trigger.name, "the type", found.adapter.dump_python, message.data, mode="json")
    event = EventArrived(
        key=gathering,
        at_ms=now_ms,
        graph=trigger.graph,
        trigger=trigger.name,
        of=of,
        rule=rule,
        side=side,
        # A dead letter that is sent again has come before: under the same id it would be left out as a repeat.
        event=digest("event", str(side), identity, *again),
        digest=payloads.digest([data, *again] if again else data),
        logged_ms=logged_ms,
        place=place,
        record=await payloads.store(str(gathering), _packed(record)),
        trace=trace_of(record.headers),
    )
    key, partition = topics.place(gathering)
    return Outgoing(topics.trigger_events, key, codec.gathering_events.encode(event), partition=partition)


def check_place(place: str) -> None:
    """Raises `InvalidInput` for what is no record's place: nobody could tell of the event."""
    parts = place.rsplit("/", 2)
    if len(parts) != _PARTS or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise InvalidInput(f"{place[:300]!r} is no place of an event: it must be topic/partition/offset")


def record_of(place: str, kept: Json) -> Record:
    """The record of an event as it came, from what `arrival` has kept of it (None: nothing is left)."""
    topic, partition, offset = place.rsplit("/", 2)
    if kept is None:
        return Record(topic, int(partition), int(offset), None, None)
    key = None if kept["key"] is None else b64decode(kept["key"])
    headers = tuple((name, b64decode(value)) for name, value in kept["headers"])
    # Earlier versions did not keep when it was logged.
    return Record(topic, int(partition), int(offset), key, kept["value"].encode(), kept.get("logged_ms", 0), headers)


def _packed(record: Record) -> Json:
    """The record as JSON. Its value is text: it has been read as JSON."""
    return {
        "key": None if record.key is None else b64encode(record.key).decode(),
        "value": (record.value or b"").decode(),
        "headers": [[name, b64encode(value or b"").decode()] for name, value in record.headers],
        "logged_ms": record.timestamp_ms,
    }


def _rule(gathers: Gathers, at_ms: int) -> Rule:
    match gathers.kind:
        case "join":
            start_ms = at_ms - at_ms % gathers.within_ms
            return Window(len(gathers.sides), start_ms, start_ms + gathers.within_ms, gathers.lateness_ms)
        case "batch":
            return Batch(gathers.size, gathers.wait_ms)
        case "burst":
            return Burst(gathers.quiet_ms, gathers.most_ms)


def _moment(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"  # a time that no calendar has
