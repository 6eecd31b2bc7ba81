"""An ordinary Faust app that hosts two roles, for `faust -A tests.contract.hosting_app worker`.

With `PLAIN_AGENT` set it also has an agent, a table and a timer of its own, with stock delivery.
"""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import faust

from beluga_stream.adapters.faust.app import RoleApp, RoleOptions, role_app
from beluga_stream.adapters.faust.host import host
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.ports.log import Record
from tests.contract.recording import RecordingRole

_connection = KafkaConnection.parse(os.environ["BROKER"])
_prefix = os.environ["PREFIX"]


def _say(words: str) -> None:
    # One write: Faust makes each a line of its log.
    sys.stdout.write(words)
    sys.stdout.flush()


class Reporting(RecordingRole):
    """Says what it sees; fails at the record `boom`."""

    async def acquire(self, partitions: frozenset[int]) -> None:
        await super().acquire(partitions)
        _say(f"role acquired {' '.join(map(str, sorted(partitions)))}")

    async def release(self, partitions: frozenset[int]) -> None:
        await super().release(partitions)
        _say("role released")

    async def handle(self, records: Sequence[Record]) -> None:
        if any(record.value == b"boom" for record in records):
            raise ValueError("boom")
        _say(f"role took {len(records)}")

    async def close(self) -> None:
        _say("role closed")


@asynccontextmanager
async def roles() -> AsyncIterator[Sequence[RoleApp]]:
    yield [
        role_app(
            Reporting(f"{_prefix}work"),
            group=f"{_prefix}{name}",
            broker=_connection.faust_settings(),
            options=RoleOptions(session_timeout=6.0),
        )
        for name in ("one", "two")
    ]
    _say("all closed")


app = faust.App(
    f"{_prefix}host",
    **_connection.faust_settings(),
    autodiscover=False,
    datadir=os.environ["DATA"],
    topic_disable_leader=True,
    topic_partitions=1,
    web_enabled=False,
)

if "PLAIN_AGENT" in os.environ:
    counts = app.Table("counts", default=int)

    @app.agent(app.topic(f"{_prefix}plain", value_type=str, value_serializer="raw"))
    async def plain(stream: "faust.Stream[str]") -> None:
        async for word in stream:
            counts[word] += 1
            _say(f"agent counted {counts[word]}")

    @app.timer(0.2)
    async def ticking() -> None:
        _say("timer ticked")


async def wait_for_the_broker() -> None:
    async with KafkaTopics(_connection):
        return


host(app, roles, prepare=wait_for_the_broker)
