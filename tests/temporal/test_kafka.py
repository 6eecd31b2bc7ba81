"""A durable graph over Kafka: its workers tell the engine's topics, and anybody reads its stream there."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from temporalio.client import Client

from beluga_stream import Chunk, Graph, Orchestrator, RunChanged, Stream, connect, temporal_worker
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.declared import engine_topics
from beluga_stream.bootstrap.settings import Settings


async def letters(text: str) -> AsyncIterator[str]:
    for letter in text:
        yield letter


async def shouted(found: Stream[str]) -> AsyncIterator[str]:
    async for letter in found:
        yield letter.upper()


spelled = Graph[str, list[str]]("durable-spelled", durable=True)
spelled.set_finish_point(spelled.add_node(shouted, spelled.add_node(letters, spelled.input).stream))


async def test_two_workers_and_a_reader_share_the_log(
    broker: str, topic_prefix: str, temporal: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.load(
        broker=broker,
        prefix=topic_prefix.rstrip("."),
        partitions=2,
        blobs=str(tmp_path),
        temporal_address=temporal.service_client.config.target_host,
        temporal_task_queue=secrets.token_hex(8),
        shutdown_grace_seconds=0.5,
    )
    monkeypatch.setenv("BELUGA_PREFIX", settings.prefix)
    monkeypatch.setenv("BELUGA_PARTITIONS", "2")
    monkeypatch.setenv("BELUGA_BLOBS", settings.blobs)
    async with KafkaTopics(kafka(settings), patience=60) as admin:
        await admin.ensure(engine_topics(settings, ["default"]))
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(temporal_worker(spelled, settings=settings))
        orch = await stack.enter_async_context(Orchestrator(settings))
        client = await stack.enter_async_context(connect(broker))
        workflow = orch.create_workflow(spelled)
        run = await workflow.execute("abc")
        assert await workflow.get_result(run, timeout=60) == ["A", "B", "C"]
        async with aclosing(client.run(spelled, run.workflow_id).stream()) as events:
            told = [event async for event in events]
        shown = [event.value for event in told if isinstance(event, Chunk) and event.node == "shouted"]
        assert shown == ["A", "B", "C"]
        assert isinstance(told[-1], RunChanged)
        assert told[-1].status == "succeeded"
        [summary] = await client.list(graph="durable-spelled")
        assert summary.status == "succeeded"
