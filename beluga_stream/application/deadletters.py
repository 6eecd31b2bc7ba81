"""What could not be accepted, kept as it came, with the reason and where it came from.

A record that is too large for the topic of dead letters is kept whole in the blob store, and its letter names it.
"""

import logging
from base64 import b64decode, b64encode

import orjson

from ..errors import BelugaError
from ..ports.log import Headers, Outgoing, Record
from ..ports.telemetry import Telemetry
from .execution.judging import clipped, said
from .payloads import Payloads

REASON = "beluga-reason"
MESSAGE = "beluga-message"
SOURCE = "beluga-source"
LOGGED = "beluga-logged"
"""When the source was logged, in epoch milliseconds."""

STORED = "beluga-stored"
"""Names the blob that holds the record; the letter then has no value."""

ONLY = "beluga-only"
"""Names whom a record is for when it is sent again: the one that could not take it. Others have taken it already."""

ORIGIN = "beluga-origin"
"""Names an event that is sent again by where it lay first: however often it is sent, it is that event."""

AGAIN = "beluga-again"
"""Names the place of the record that was refused, and is sent again by this one."""

HANDLED = "beluga-handled"
"""Kafka cannot delete one record: a letter that was dealt with gets a marker, a record that names it in this header."""

_LETTER_MOST_BYTES = 512 * 1024
_OWNER = "dead-letters"
_OURS = frozenset({REASON, MESSAGE, SOURCE, LOGGED, STORED})


class Refusals:
    """The dead letters for what one role cannot apply: each is logged, and counted."""

    def __init__(self, role: str, topic: str, payloads: Payloads, telemetry: Telemetry) -> None:
        self._role = role
        self._topic = topic
        self._payloads = payloads
        self._telemetry = telemetry
        self._log = logging.getLogger(f"beluga_stream.{role}")

    async def letter(self, record: Record, error: Exception) -> Outgoing:
        """The letter for this record. An error that nobody has foreseen is the engine's fault, and not the record's."""
        where = {"action": "dead_letter", "topic": record.topic, "offset": record.offset}
        if isinstance(error, BelugaError):
            self._log.warning("refused a record: %s", error, extra=where)
        else:
            told = "a defect of the engine: refused a record that it cannot apply"
            self._log.error(told, exc_info=error, extra=where)
            error = BelugaError(f"the engine could not apply it: {error!r}")
        self._telemetry.dead_letter(self._role, error.code)
        return await dead_letter(self._topic, record, error, self._payloads)


async def dead_letter(topic: str, record: Record, error: BelugaError, payloads: Payloads) -> Outgoing:
    """The record as it came, with the reason and its source (topic/partition/offset) in headers."""
    source = _place(record)
    told: Headers = (
        (REASON, clipped(error.code).encode()),
        (MESSAGE, said(error).encode()),
        (SOURCE, source.encode()),
        (LOGGED, str(record.timestamp_ms).encode()),
    )
    if _size(record) <= _LETTER_MOST_BYTES:
        return Outgoing(topic, record.key or source.encode(), record.value, (*record.headers, *told))
    ref = await payloads.keep(_OWNER, _packed(record))
    return Outgoing(topic, source.encode(), None, (*told, (STORED, ref.encode())))


async def sent_again(letter: Record, payloads: Payloads) -> tuple[bytes | None, bytes | None, Headers]:
    """`original`, as it is sent again: what is for one trigger or subscriber alone says which event it is.

    Without that an event which is known by its place would be another each time that its letter is sent.
    """
    key, value, headers = await original(letter, payloads)
    if not any(name == ONLY for name, _ in headers):
        return key, value, headers
    source, logged = dict(letter.headers)[SOURCE], dict(letter.headers).get(LOGGED)
    told = tuple(header for header in headers if header[0] != AGAIN)
    # Earlier versions did not say when, and knew events without it.
    event = source if logged is None else b"%b@%b" % (source, logged)
    first = () if any(name == ORIGIN for name, _ in told) else ((ORIGIN, event),)
    return key, value, (*told, *first, (AGAIN, source))


async def original(letter: Record, payloads: Payloads) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of the record that a letter is about, with whom alone it is for.

    Raises `NotFound` when its blob is gone.
    """
    headers = dict(letter.headers)
    stored = headers.get(STORED)
    if stored is not None:
        return _unpacked(await payloads.kept(stored.decode()))
    own = tuple((name, value) for name, value in letter.headers if name not in _OURS)
    key = None if letter.key == headers.get(SOURCE) else letter.key
    return key, letter.value, own


def only_for(record: Record, whom: str) -> Record:
    """The record as it came, with a name on it: sent again, it is for nobody else."""
    others = tuple(header for header in record.headers if header[0] != ONLY)
    return record._replace(headers=(*others, (ONLY, whom.encode())))


def meant_for(record: Record) -> str | None:
    """Whom alone a record is for that was sent again; None: it is for all."""
    return _header(record, ONLY)


def event_of(record: Record) -> str:
    """What tells an event from all others that has no id of its own: topic/partition/offset@time, where it lay first.

    The time is the record's, in epoch milliseconds, and never changes. In a topic that was deleted and created again,
    and where a broker has lost the end of one, other events lie at the same places.
    """
    first = _header(record, ORIGIN)
    # Of another topic it tells nothing here: who forwards events may copy their headers.
    if first is not None and first.rsplit("/", 2)[0] == record.topic:
        return first
    return f"{_place(record)}@{record.timestamp_ms}"


def refused_place(record: Record) -> str | None:
    """Where the record lay that this one sends again; None: it is the first."""
    if meant_for(record) is None:
        return None
    # Earlier versions did not tell: then each time counts as another.
    return _header(record, AGAIN) or _place(record)


def is_for(record: Record, whom: str) -> bool:
    """Whether a record is for this one: it is for all, or was sent again for this one alone."""
    return meant_for(record) in (None, whom)


def letter_id(letter: Record) -> str:
    """A letter's id: its place in the topic."""
    return f"{letter.partition}-{letter.offset}"


def marker(topic: str, letter: str, how: str, now_ms: int) -> Outgoing:
    """Says how the letter of this id was dealt with."""
    value = orjson.dumps({"handled": how, "at_ms": now_ms})
    return Outgoing(topic, letter.encode(), value, ((HANDLED, letter.encode()),))


def marked(record: Record) -> str | None:
    """The id of the letter that this record marks; None for a letter, whatever headers it came with."""
    headers = dict(record.headers)
    mark = headers.get(HANDLED)
    return None if mark is None or SOURCE in headers else mark.decode("utf-8", "replace")


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _header(record: Record, name: str) -> str | None:
    for header in record.headers:
        if header[0] == name:
            return (header[1] or b"").decode("utf-8", "replace")
    return None


def _size(record: Record) -> int:
    size = len(record.key or b"") + len(record.value or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers)


def _packed(record: Record) -> bytes:
    headers = [(name, _text(value)) for name, value in record.headers]
    return orjson.dumps({"key": _text(record.key), "value": _text(record.value), "headers": headers})


def _unpacked(data: bytes) -> tuple[bytes | None, bytes | None, Headers]:
    tree = orjson.loads(data)
    headers = tuple((name, _bytes(value) or b"") for name, value in tree["headers"])
    return _bytes(tree["key"]), _bytes(tree["value"]), headers


def _text(data: bytes | None) -> str | None:
    return None if data is None else b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
