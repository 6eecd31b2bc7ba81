"""Parcels of the bus as records of a topic, and back. The value is the message's JSON; all else is headers."""

from ...domain.subjects import INBOX, check_subject
from ...errors import InvalidInput
from ...ports.bus import DeadLetter, Parcel
from ...ports.log import Outgoing, Record
from ..deadletters import MESSAGE, ONLY, REASON, SOURCE, letter_id

ID = "beluga-id"
SUBJECT = "beluga-subject"
REPLY = "beluga-reply"
CORRELATION = "beluga-correlation"
ERROR = "beluga-error"

_OURS = {ID: "id", SUBJECT: "subject", REPLY: "reply", CORRELATION: "correlation", ERROR: "error", ONLY: "only"}


def is_ours(header: str) -> bool:
    """Whether the name of a header is the engine's own."""
    return header.lower().startswith("beluga-")


def record_of(topic: str, parcel: Parcel) -> Outgoing:
    """The record, keyed by what keeps its order."""
    told = tuple((name, getattr(parcel, field)) for name, field in _OURS.items())
    headers = (*((name, value) for name, value in told if value is not None), *parcel.headers.items())
    return Outgoing(topic, parcel.key.encode(), parcel.body, tuple((name, value.encode()) for name, value in headers))


def parcel_of(record: Record) -> Parcel | None:
    """The parcel; None for a record that has no subject. Without the header, the record's key is the subject."""
    headers = _texts(record)
    key = (record.key or b"").decode("utf-8", "replace")
    subject = headers.get(SUBJECT, key)
    try:
        if not subject.startswith(f"{INBOX}."):
            check_subject(subject)
    except InvalidInput:
        return None
    return Parcel(
        headers.get(ID, f"{record.topic}/{record.partition}/{record.offset}"),
        subject,
        key or subject,
        record.value or b"",
        {name: value for name, value in headers.items() if not is_ours(name)},
        headers.get(REPLY),
        headers.get(CORRELATION),
        headers.get(ERROR),
        headers.get(ONLY),
    )


def is_letter_of(letter: Record, topic: str) -> bool:
    """Whether a record of the dead letters is about one of this topic."""
    return _texts(letter).get(SOURCE, "").rsplit("/", 2)[0] == topic


def letter_of(letter: Record, record: Record) -> DeadLetter | None:
    """What a record of the dead letters tells of the record that could not be taken; None when that was no parcel."""
    parcel, told = parcel_of(record), _texts(letter)
    if parcel is None:
        return None
    return DeadLetter(
        parcel.subject,
        parcel.only or "",
        told.get(REASON, ""),
        told.get(MESSAGE, ""),
        told.get(SOURCE, ""),
        parcel,
        letter_id(letter),
    )


def _texts(record: Record) -> dict[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
