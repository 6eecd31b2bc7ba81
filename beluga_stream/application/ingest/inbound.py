"""A record of a user's topic as a message: CloudEvents in binary or structured mode, or plain JSON.

The CloudEvents side is the official SDK's (CloudEvents 1.0, Kafka protocol binding).
"""

from datetime import UTC, datetime
from typing import Any

import orjson
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from pydantic import TypeAdapter, ValidationError

from ...errors import InvalidInput
from ...ports.handlers import Message
from ...ports.log import Record
from ..deadletters import event_of
from ..execution.judging import first_of, said

_STRUCTURED = b"application/cloudevents"
_FORMAT = JSONFormat()


def message_of(record: Record, adapter: TypeAdapter[Any]) -> tuple[Message, str]:
    """The message and its identity: CloudEvents source and id, else where it lay first and since when.

    Raises `InvalidInput` for bytes that are no JSON, a broken CloudEvent, and data that fails its type.
    """
    headers = {name.lower(): value or b"" for name, value in record.headers}
    if "ce_specversion" in headers or _is_structured(headers):
        event_id, source, data = _cloud_event(record, headers)
        identity = f"{source}\x1f{event_id}"
    else:
        event_id = event_of(record)
        source, data, identity = record.topic, _json(record), event_id
    try:
        checked = adapter.validate_python(data)
    except ValidationError as error:
        raise InvalidInput(f"an event of {record.topic} fails its type: {first_of(error)}") from error
    except KeyboardInterrupt:
        raise  # somebody ends the process
    except BaseException as error:
        # A validator of the user's own may raise anything.
        why = f"{type(error).__name__}: {said(error)}"
        raise InvalidInput(f"the type of an event of {record.topic} raised {why}") from error
    told = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    return Message(event_id, source, told, checked), identity


def time_of(record: Record) -> int | None:
    """When a CloudEvent says that it happened, in epoch milliseconds; None for one that does not, and plain JSON.

    Raises `InvalidInput` for what is no time.
    """
    headers = {name.lower(): value or b"" for name, value in record.headers}
    if _is_structured(headers):
        told = _envelope(record).get("time")
    elif "ce_specversion" in headers:
        told = headers["ce_time"].decode("utf-8", "replace") if "ce_time" in headers else None
    else:
        return None
    if told is None:
        return None
    try:
        moment = datetime.fromisoformat(str(told))
    except ValueError as error:
        raise InvalidInput(f"an event of {record.topic} has {told!r} as its time, which is none") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _json(record: Record) -> Any:
    if record.value is None:
        raise InvalidInput(f"an event of {record.topic} has no value: it must hold JSON")
    try:
        return orjson.loads(record.value)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"an event of {record.topic} is not JSON: {error}") from error


def _envelope(record: Record) -> dict[str, Any]:
    """A structured CloudEvent as JSON. The SDK reads it with Python's `json`, which takes more than JSON is."""
    try:
        envelope = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"an event of {record.topic} is no valid CloudEvent: it is not JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise InvalidInput(f"an event of {record.topic} is no valid CloudEvent: it is no object")
    return envelope


def _cloud_event(record: Record, headers: dict[str, bytes]) -> tuple[str, str, Any]:
    envelope = _envelope(record) if _is_structured(headers) else None
    try:
        event = _binary(record, headers) if envelope is None else _structured(record)
    except Exception as error:
        # The SDK raises errors of many kinds for what is no CloudEvent.
        why = f"{type(error).__name__}: {said(error)}"
        raise InvalidInput(f"an event of {record.topic} is no valid CloudEvent: {why}") from error
    if not (headers.get("ce_id") if envelope is None else envelope.get("id")):
        # The SDK makes a new one up at each reading: the same event would be another run each time.
        raise InvalidInput(f"an event of {record.topic} is no valid CloudEvent: it has no id")
    # Of the SDK's data a string may be JSON's own or what was no JSON: only the record itself can tell.
    if envelope is None:
        data = _json(record) if record.value else None
    else:
        data = event.get_data()
        if isinstance(data, bytes):
            try:
                data = orjson.loads(data)
            except orjson.JSONDecodeError as error:
                raise InvalidInput(f"the data of a CloudEvent of {record.topic} is not JSON: {error}") from error
    return str(event.get_id()), str(event.get_source()), data


def _is_structured(headers: dict[str, bytes]) -> bool:
    return headers.get("content-type", b"").lower().startswith(_STRUCTURED)


def _structured(record: Record) -> BaseCloudEvent:
    """The event in the value. Headers may repeat what it says, and the key is no part of it."""
    return from_structured(KafkaMessage(headers={}, key=None, value=record.value or b""), _FORMAT)


def _binary(record: Record, headers: dict[str, bytes]) -> BaseCloudEvent:
    """The event in headers and value. Other headers, and the key, are whatever their producer likes: bytes."""
    own = {name: value for name, value in headers.items() if name.startswith("ce_") or name == "content-type"}
    return from_binary(KafkaMessage(headers=own, key=None, value=record.value or b""), _FORMAT)
