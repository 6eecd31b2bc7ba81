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
