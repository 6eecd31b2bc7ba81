"""The real processes finish what an earlier engine has begun: its records and its table, put into a broker."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.application.topics import Topics
from beluga_stream.bootstrap.client import open_runs
from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.declared import changelog_topic, engine_topics, group
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.ports.log import Outgoing
from beluga_stream.testing.virtual_time import EPOCH_MS
from tests.compatibility.graphs import cases_of
from tests.compatibility.recording import NAMES, Recording
from tests.compatibility.replay import ended
from tests.engine import Engine

_SINCE_THEN_MS = 560_000
"""So long after the recording has begun it is loaded: every pause in it is over, and no run's time is."""

_WITHIN_SECONDS = 90


async def _load(recording: Recording, settings: Settings) -> None:
    connection = kafka(settings)
    shift_ms = time.time_ns() // 1_000_000 - EPOCH_MS - _SINCE_THEN_MS
    recorded = Topics()
    async with KafkaTopics(connection) as topics, KafkaAppender(connection) as appender:
        await topics.ensure(engine_topics(settings, ("default", "later")))
        await appender.append(
            [
                record._replace(topic=record.topic.replace(recorded.prefix, settings.prefix, 1))
                for record, _ in recording.records(shift_ms)
                if record.topic.startswith(f"{recorded.prefix}.")
            ]
        )
        await appender.append(
            [
                Outgoing(changelog_topic(settings), key.encode(), value, partition=partition)
                for partition, key, value, _ in recording.rows(shift_ms, prefix=settings.prefix)
            ]
        )
    offsets: dict[str, dict[TopicPartition, int]] = {}
    for role, topic, partition, offset in recording.offsets():
        if role not in ("coordinator", "worker"):
            continue  # its triggers are played by the simulated engine: their windows are of days long past
        target = TopicPartition(topic.replace(recorded.prefix, settings.prefix, 1), partition)
        offsets.setdefault(role, {})[target] = offset
    for role, committed in offsets.items():
        consumer = AIOKafkaConsumer(
            **connection.client_settings("load"), group_id=group(settings, role), enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign(list(committed))
            await consumer.commit(committed)
        finally:
            await consumer.stop()
    await asyncio.to_thread(_store, recording, Path(settings.blobs))


def _store(recording: Recording, folder: Path) -> None:
    for ref, data in recording.blobs():
        (folder / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / ref).write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_the_runs_of_an_earlier_engine_end_as_they_should(broker: str, tmp_path: Path, name: str) -> None:
    cases = cases_of(name)
    engine = Engine(broker, tmp_path, agents="tests.compatibility.graphs", partitions="2")
    settings = Settings.load(
        broker=broker, prefix=engine.prefix, partitions=2, blobs=str(tmp_path / "blobs"), topics=tmp_path / "topics"
    )
    (tmp_path / "topics").mkdir()
    await _load(Recording(name), settings)
    engine.start(groups=2)
    try:
        async with open_runs(settings) as runs, asyncio.timeout(_WITHIN_SECONDS):
            results: list[Any] = await asyncio.gather(*(ended(runs, case) for case in cases))
    finally:
        assert engine.stop() == 0, engine.tail
    assert {case.key: result for case, result in zip(cases, results, strict=True)} == {
        case.key: case.result for case in cases
    }
