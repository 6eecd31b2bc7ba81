"""Work that the workers' group has passed without a word is dispatched again by the real processes."""

from pathlib import Path

import pytest

from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.groups import skip_to_end
from beluga_stream.adapters.kafka.reader import KafkaReader
from beluga_stream.application.catalog import publish
from beluga_stream.bootstrap.client import open_runs
from beluga_stream.bootstrap.connection import kafka, topics
from beluga_stream.bootstrap.declared import engine_topics, group
from beluga_stream.bootstrap.settings import Settings
from tests.compatibility.graphs import ready
from tests.contract.recording import eventually
from tests.engine import Engine


@pytest.mark.slow
async def test_work_that_was_skipped_is_dispatched_again(broker: str, tmp_path: Path) -> None:
    engine = Engine(
        broker,
        tmp_path,
        agents="tests.compatibility.graphs",
        role="coordinator",
        redispatch_seconds="1",
        partitions="2",
    )
    settings = Settings.load(
        broker=broker, prefix=engine.prefix, partitions=2, blobs=str(tmp_path / "blobs"), topics=tmp_path / "topics"
    )
    connection, names, definition = kafka(settings), topics(settings), ready.compile().definition
    (tmp_path / "topics").mkdir()
    async with KafkaTopics(connection) as admin, KafkaAppender(connection) as appender:
        await admin.ensure(engine_topics(settings, ("default", "later")))
        await publish(appender, names, [definition])
    engine.start(groups=1)
    try:
        async with open_runs(settings) as runs, KafkaReader(connection) as reader:
            run = await runs.start(definition.name, 3, definition=definition.hash)
            queue = names.node_ready("later")

            async def is_dispatched() -> bool:
                return sum((await reader.end(queue)).values()) == 1

            await eventually(is_dispatched)
            await skip_to_end(connection, group(settings, "worker"), queue, 2)
            assert engine.stop() == 0
            engine.environ["BELUGA_ROLE"] = "coordinator,worker"
            engine.start(groups=2)
            assert await runs.result(run, timeout_seconds=90) == 5
            (told,) = engine.said("dispatch_lost")
            assert (told["run"], told["node"]) == (run, "elsewhere")
    finally:
        assert engine.stop() == 0, engine.tail
