"""A client, and the engine that it connects to."""

import pytest

from beluga_stream import connect
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.cli.waits import held
from beluga_stream.errors import TopicMismatch
from beluga_stream.ports.log import TopicSpec


async def test_who_has_another_number_of_partitions_than_the_engine_is_told_so(
    broker: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = topic_prefix.rstrip(".-")
    monkeypatch.setenv("BELUGA_PREFIX", prefix)
    async with connect(broker):
        """There is no engine yet, and so nothing to compare with."""
    async with KafkaTopics(KafkaConnection.parse(broker)) as topics:
        await topics.ensure([TopicSpec(f"{prefix}.run-results", 3)])
        with pytest.raises(TopicMismatch, match=r"the engine has 3 partitions .* BELUGA_PARTITIONS is 4 here") as told:
            async with connect(broker):
                """It goes no further."""
        assert told.value.ids["actual"] == "3"
        with pytest.raises(TopicMismatch):
            await held(Settings.load(broker=broker))
        monkeypatch.setenv("BELUGA_PARTITIONS", "3")
        async with connect(broker):
            """As many as there are."""
        await topics.delete([f"{prefix}.run-results"])
