"""CloudEvents as messages: data is what the JSON says, strings among it."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from beluga_stream.application.ingest.inbound import message_of, time_of
from beluga_stream.errors import InvalidInput
from beluga_stream.ports.log import Record

ANY: TypeAdapter[Any] = TypeAdapter(Any)
BINARY = (("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"t"))
STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def data_of(value: bytes, headers: tuple[tuple[str, bytes], ...]) -> Any:
    message, identity = message_of(Record("t", 0, 0, b"k", value, headers=headers), ANY)
    assert identity == "s\x1f1"
    return message.data


@pytest.mark.parametrize("data", ['"text"', '"3"', "3", '{"a": "b"}', "[1]", "null", "true"])
@pytest.mark.parametrize("content_type", [(), (("content-type", b"application/json"),)])
def test_the_data_is_the_json(data: str, content_type: tuple[tuple[str, bytes], ...]) -> None:
    expected = ANY.validate_json(data)
    assert data_of(data.encode(), (*BINARY, *content_type)) == expected
    event = f'{{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {data}}}'
    assert data_of(event.encode(), STRUCTURED) == expected


EVENT = b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"a": "b"}}'


def test_a_structured_event_may_repeat_itself_in_headers() -> None:
    assert data_of(EVENT, (*STRUCTURED, *BINARY)) == {"a": "b"}
    assert data_of(EVENT, (*STRUCTURED, ("ce_subject", b"x"))) == {"a": "b"}


def test_a_media_type_is_written_as_its_producer_likes() -> None:
    assert data_of(EVENT, (("Content-Type", b"Application/CloudEvents+JSON"),)) == {"a": "b"}


def test_keys_and_headers_that_are_not_the_events_hold_any_bytes() -> None:
    headers = (*BINARY, ("traced", b"\xff\x00"))
    for value, of in ((b'{"a": "b"}', headers), (EVENT, (*STRUCTURED, *headers))):
        message, identity = message_of(Record("t", 0, 0, b"\xff\x00", value, headers=of), ANY)
        assert (message.data, identity) == ({"a": "b"}, "s\x1f1")


def test_events_in_a_batch_are_no_event() -> None:
    with pytest.raises(InvalidInput, match="is no valid CloudEvent: it is no object"):
        data_of(b"[" + EVENT + b"]", (("content-type", b"application/cloudevents-batch+json"),))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is not JSON"):
        data_of(b"text", (*BINARY, ("content-type", b"application/json")))


@pytest.mark.parametrize("data", ["NaN", "Infinity", '"\\ud800"', "1" * 400])
def test_what_only_pythons_json_takes_is_no_event(data: str) -> None:
    event = f'{{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {data}}}'.encode()
    with pytest.raises(InvalidInput, match="is no valid CloudEvent"):
        data_of(event, STRUCTURED)
    with pytest.raises(InvalidInput, match="is no valid CloudEvent"):
        time_of(Record("t", 0, 0, b"k", event, headers=STRUCTURED))


@pytest.mark.parametrize("value", [b"[]", b"", b"5", None])
def test_an_event_that_is_no_object_has_no_time(value: bytes | None) -> None:
    with pytest.raises(InvalidInput, match="is no valid CloudEvent"):
        time_of(Record("t", 0, 0, b"k", value, headers=STRUCTURED))
