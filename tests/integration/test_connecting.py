"""A client, and the engine that it connects to."""

import asyncio
import ssl
from pathlib import Path

import pytest

from beluga_stream import connect
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.cli.waits import held
from beluga_stream.errors import AccessDenied, TopicMismatch
from beluga_stream.ports.log import TopicSpec
from tests.brokers import HOST
from tests.certificates import Authority


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


@pytest.mark.parametrize(
    ("protocol", "login", "other"),
    [("SSL", {}, "PLAINTEXT"), ("SASL_SSL", {"username": "ann", "password": "x"}, "SASL_PLAINTEXT")],
)
async def test_who_speaks_tls_to_a_broker_that_does_not_is_told_so(
    broker: str, protocol: str, login: dict[str, str], other: str
) -> None:
    connection = KafkaConnection.parse(broker, security_protocol=protocol, **login)
    told = (
        rf"at {broker} speaks no TLS, .* is {protocol}: give the address of a listener that does, or set it to {other};"
    )
    with pytest.raises(AccessDenied, match=told):
        await KafkaTopics(connection, patience=60).start()


async def test_who_speaks_no_tls_to_a_broker_that_does_is_told_so(tmp_path: Path) -> None:
    signed = Authority(tmp_path / "ca.pem").signs("a broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*signed.written_to(tmp_path, "broker"))

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(listen, HOST, 0, ssl=context)
    async with server:
        connection = KafkaConnection.parse(f"{HOST}:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(AccessDenied, match=r"speaks TLS, and .* is PLAINTEXT: set it to SSL;"):
            await KafkaTopics(connection, patience=60).start()
