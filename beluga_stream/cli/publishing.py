"""Publishing one event to a user's topic."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime

from ..adapters.kafka.admin import KafkaTopics
from ..adapters.kafka.appender import KafkaAppender
from ..bootstrap.connection import kafka
from ..domain.misspelt import meant
from ..errors import InvalidInput, TopicMissing
from ..ports.log import Outgoing
from .screen import console, print_json
from .values import parse, settings_with

_PATIENCE = 2.0


async def publish(
    topic: str,
    value: bytes | None,
    *,
    key: str | None,
    headers: Mapping[str, str],
    cloudevent: Mapping[str, str | None] | None,
    broker: str | None,
    as_json: bool,
) -> None:
    """Append the value as it is, once it was found to be JSON."""
    if value is None:
        raise InvalidInput("there is nothing to publish: give the event as JSON, with --file, or - for standard input")
    parse(value)
    sent = tuple((name, text.encode()) for name, text in headers.items())
    if cloudevent is not None:
        sent = (*_attributes(cloudevent), *sent)
    connection = kafka(settings_with(broker=broker))
    async with KafkaTopics(connection, patience=_PATIENCE) as topics:
        # Asked for by name, a producer would let the broker create it.
        there = await topics.describe()
        if topic not in there:
            close = meant(topic, there)
            hint = "" if close is None else f"is {close} meant? If not, "
            raise TopicMissing(
                f"topic {topic} does not exist: {hint}declare it in topics/ and run `beluga topics apply`",
                topic=topic,
            )
    async with KafkaAppender(connection) as appender:
        record = Outgoing(topic, None if key is None else key.encode(), value, sent)
        (position,) = await appender.append([record])
    if as_json:
        print_json({"topic": position.topic, "partition": position.partition, "offset": position.offset})
    else:
        console.print(f"{position.topic}/{position.partition}/{position.offset}")


def _attributes(given: Mapping[str, str | None]) -> list[tuple[str, bytes]]:
    """The CloudEvents headers of the Kafka binding, in binary mode."""
    attributes = {
        "ce_specversion": "1.0",
        "ce_id": given["id"] or secrets.token_hex(8),
        "ce_source": given["source"] or "",
        "ce_type": given["type"] or "",
        "ce_time": datetime.now(UTC).isoformat(),
        "content-type": "application/json",
    }
    return [(name, text.encode()) for name, text in attributes.items()]
