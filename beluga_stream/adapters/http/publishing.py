"""An event that came by HTTP as a record: JSON as it is, or a CloudEvent (HTTP binding 1.0) in Kafka's binary mode."""

from collections.abc import Mapping

import orjson
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured
from cloudevents.core.bindings.kafka import to_binary
from cloudevents.core.formats.json import JSONFormat

from ...domain.payload import Json
from ...errors import InvalidInput
from ...ports.log import Outgoing

_STRUCTURED = "application/cloudevents"
_FORMAT = JSONFormat()


def outgoing(topic: str, body: bytes, headers: Mapping[str, str], key: str | None) -> Outgoing:
    """The record to append. Raises `InvalidInput` for what is no JSON, and for a broken CloudEvent."""
    keyed = None if key is None else key.encode()
    is_structured = headers.get("content-type", "").lower().startswith(_STRUCTURED)
    if "ce-specversion" not in headers and not is_structured:
        _json(body, topic)
        return Outgoing(topic, keyed, body)
    if not (_has_id(body, topic) if is_structured else headers.get("ce-id")):
        # The SDK would make one up, another for each repetition of the same event.
        raise InvalidInput(f"an event for {topic} is no valid CloudEvent: it has no id", topic=topic)
    try:
        # The SDK would go by the headers, which may repeat what a structured event says.
        read = from_structured if is_structured else from_binary
        event = read(HTTPMessage(headers=dict(headers), body=body), _FORMAT)
        message = to_binary(event, _FORMAT)
    except Exception as error:
        # The SDK raises errors of many kinds for what is no CloudEvent.
        why = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"an event for {topic} is no valid CloudEvent: {why}", topic=topic) from error
    if message.value:
        _json(bytes(message.value), topic)
    told = tuple((name, bytes(value)) for name, value in message.headers.items())
    if keyed is None and message.key is not None:
        keyed = message.key.encode() if isinstance(message.key, str) else bytes(message.key)
    return Outgoing(topic, keyed, bytes(message.value or b""), told)


def _has_id(body: bytes, topic: str) -> bool:
    event = _json(body, topic)
    return isinstance(event, dict) and bool(event.get("id"))


def _json(body: bytes, topic: str) -> Json:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"an event for {topic} is not JSON: {error}", topic=topic) from error
