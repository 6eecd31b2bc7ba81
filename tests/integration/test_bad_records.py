"""Bad records on a live engine: where each went, what was said, and that what came after it went on."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from beluga_stream import Client, NodeChanged
from beluga_stream.adapters.files.blobs import FileBlobs
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.application.deadletters import original
from beluga_stream.application.partitioner import partition_of
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.ids import run_id
from beluga_stream.errors import InvalidInput, RecordTooLarge, RunFailed, RunRejected
from beluga_stream.ports.log import Outgoing, Record
from tests.engine import Engine
from tests.integration.bad_input import Hands, bad_engine, beside_a_good_run, hands, result_of_event

_MEGABYTES_5 = 5_000_000


@pytest.fixture(scope="module")
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    with bad_engine(broker, folder) as engine:
        yield engine


@pytest.fixture
async def by_hand(engine: Engine) -> AsyncIterator[Hands]:
    async with hands(engine) as found:
        yield found


def _request(**changes: Any) -> dict[str, Any]:
    run = uuid.uuid4().hex
    return {
        "v": 1,
        "type": "run_requested",
        "run": run,
        "key": run,
        "at_ms": 1,
        "graph": "good",
        "input": {"kind": "inline", "value": {"text": "x"}},
        "digest": "d",
        "trigger": "api",
    } | changes


# ------------------------------------------------------------------------------------- events of users' topics
_CLOUD_EVENT = [("ce_specversion", b"1.0"), ("ce_type", b"t"), ("ce_source", b"s")]
_STRUCTURED = [("content-type", b"application/cloudevents+json")]


@pytest.mark.parametrize(
    ("value", "headers", "told"),
    [
        (b"not json \xff", (), "is not JSON"),
        (b"", (), "is not JSON"),
        (None, (), "has no value: it must hold JSON"),
        (b'{"text": 5}', (), "fails its type: text: Input should be a valid string"),
        (b'{"words": "x"}', (), "fails its type: text: Field required"),
        (b"[" * 5000, (), "is not JSON"),
        (b'{"text": "x"}', _CLOUD_EVENT, "is no valid CloudEvent"),
        (b"[]", _STRUCTURED, "is no valid CloudEvent"),
        (
            b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"text": NaN}}',
            _STRUCTURED,
            "is no valid CloudEvent: it is not JSON",
        ),
    ],
    ids=["bytes", "empty", "no value", "type", "field", "depth", "no id", "no object", "only Python's JSON"],
)
async def test_an_event_that_is_no_event_is_a_dead_letter_as_it_came(
    client: Client, by_hand: Hands, value: bytes | None, headers: list[tuple[str, bytes]], told: str
) -> None:
    async with beside_a_good_run(client):
        good = await by_hand.publish("docs", {"text": "seven 77"})
        bad = await by_hand.publish("docs", value, key=b"k", headers=headers)
        letter = await by_hand.letter(bad)
        assert (letter.reason, letter.record.key, letter.value) == ("invalid_input", b"k", value)
        assert told in letter.message
        assert await result_of_event(client, by_hand.events[good]) == 16


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        ("where", "execution_failed", "where of trigger"),
        ("index", "invalid_input", "raised IndexError: a validator that raises what it should not"),
    ],
)
async def test_users_functions_that_raise_send_their_event_to_the_dead_letters(
    client: Client, by_hand: Hands, text: str, reason: str, told: str
) -> None:
    async with beside_a_good_run(client):
        letter = await by_hand.letter(await by_hand.publish("picky", {"text": text}))
    assert letter.reason == reason
    assert told in letter.message


async def test_a_broken_trace_header_is_no_reason_to_refuse_an_event(client: Client, by_hand: Hands) -> None:
    source = await by_hand.publish("docs", {"text": "ab"}, headers=[("traceparent", b"\xff" * 2_000_000)])
    assert await result_of_event(client, by_hand.events[source]) == 4


async def test_an_event_of_an_aborted_transaction_starts_nothing(
    client: Client, by_hand: Hands, engine: Engine, real_broker: str
) -> None:
    topic = f"{engine.prefix}.docs"
    writer = AIOKafkaProducer(bootstrap_servers=real_broker, transactional_id=f"{engine.prefix}-writer")
    await writer.start()
    try:
        events = []
        for ends in (writer.abort_transaction, writer.commit_transaction):
            await writer.begin_transaction()
            told = await writer.send_and_wait(topic, b'{"text": "twelve"}', partition=0)
            events.append(f"{topic}/0/{told.offset}@{told.timestamp}")
            await ends()
    finally:
        await writer.stop()
    aborted, committed = events
    assert await result_of_event(client, committed) == 12
    assert str(run_id("good", topic, aborted)) not in [run.id for run in await client.list()]


async def test_an_event_of_five_megabytes_is_a_run(client: Client, by_hand: Hands) -> None:
    async with beside_a_good_run(client):
        source = await by_hand.publish("docs", {"text": "x" * _MEGABYTES_5})
        assert await result_of_event(client, by_hand.events[source]) == 2 * _MEGABYTES_5


async def test_a_dead_letter_of_five_megabytes_is_kept_whole(client: Client, by_hand: Hands, engine: Engine) -> None:
    value = b'{"words": "' + b"x" * _MEGABYTES_5 + b'"}'
    async with beside_a_good_run(client):
        letter = await by_hand.letter(await by_hand.publish("docs", value, key=b"k", headers=[("h", b"1")]))
    assert "fails its type" in letter.message
    assert letter.value is None
    record = letter.record
    found = Record(record.topic, record.partition, record.offset, record.key, record.value, 0, tuple(record.headers))
    blobs = Payloads(FileBlobs(engine.environ["BELUGA_BLOBS"]))
    only = f"{engine.prefix}/good/{engine.prefix}.docs".encode()
    assert await original(found, blobs) == (b"k", value, (("h", b"1"), ("beluga-only", only)))


async def test_an_event_above_the_broker_s_limit_is_refused_at_its_producer(engine: Engine) -> None:
    async with KafkaAppender(KafkaConnection.parse(engine.broker)) as log:
        with pytest.raises(RecordTooLarge, match=r"of 50000\d\d bytes .* above the limit of 1000000 bytes"):
            await log.append([Outgoing(f"{engine.prefix}.docs", None, b"x" * _MEGABYTES_5)])


# ------------------------------------------------------------------------------------------- engine's topics
@pytest.mark.parametrize(
    ("changes", "reason", "told"),
    [
        ({"v": 99}, "unknown_version", "has version 99; this engine knows version 1"),
        ({"type": "run_reqested"}, "invalid_input", "is not valid"),
        ({"at_ms": "soon"}, "invalid_input", "at_ms"),
        ({"run": "../../etc", "key": "../../etc"}, "invalid_input", "a run id must have"),
        ({"key": "another"}, "invalid_input", "must have the run's id as its key"),
        ({"tags": {"much": "x" * 400_000}}, "invalid_input", "and may have 262144"),
        ({"input": {"kind": "inline", "value": {"text": "x" * 900_000}}}, "invalid_input", "into the blob store"),
    ],
    ids=["version", "type", "member", "run id", "key", "tags", "inline"],
)
async def test_a_start_that_cannot_be_read_or_answered_is_a_dead_letter(
    client: Client, by_hand: Hands, changes: dict[str, Any], reason: str, told: str
) -> None:
    request = _request(**changes)
    async with beside_a_good_run(client):
        letter = await by_hand.letter(await by_hand.publish("run-requests", request, key=str(request["key"]).encode()))
    assert letter.reason == reason
    assert told in letter.message
    if letter.value is not None:
        assert json.loads(letter.value) == request


@pytest.mark.parametrize("topic", ["run-requests", "run-events", "node-done"])
@pytest.mark.parametrize("key", [None, b"another"], ids=["no key", "another's key"])
async def test_a_record_without_its_key_is_a_dead_letter(
    client: Client, by_hand: Hands, topic: str, key: bytes | None
) -> None:
    request = _request()
    async with beside_a_good_run(client):
        source = await by_hand.publish(topic, request, key=key)
        letter = await by_hand.letter(source)
    assert letter.reason == "invalid_input"
    assert "has another record key than its member `key` says" in letter.message
    assert letter.record.key == (key or source.encode())


async def test_a_start_in_a_partition_where_nobody_looks_is_a_dead_letter(client: Client, by_hand: Hands) -> None:
    request = _request()
    elsewhere = (partition_of(request["run"].encode(), 4) + 1) % 4
    async with beside_a_good_run(client):
        source = await by_hand.publish("run-requests", request, key=request["run"].encode(), partition=elsewhere)
        letter = await by_hand.letter(source)
    assert "use Kafka's default partitioner (murmur2)" in letter.message


@pytest.mark.parametrize("value", [b"no json", None, b"[]", b'{"v": 1}'], ids=["bytes", "none", "list", "empty"])
@pytest.mark.parametrize("topic", ["run-requests", "run-events", "node-done", "node-ready.default"])
async def test_nothing_that_is_no_record_of_ours_stops_a_role(
    client: Client, by_hand: Hands, topic: str, value: bytes | None
) -> None:
    async with beside_a_good_run(client):
        letter = await by_hand.letter(await by_hand.publish(topic, value, key=b"k"))
    assert letter.reason in ("invalid_input", "unknown_version")
    assert letter.value == value


async def test_an_outcome_of_a_node_that_its_run_does_not_have_changes_nothing(client: Client, by_hand: Hands) -> None:
    run = await client.start("has_no_timeout", 1)
    async with contextlib.aclosing(run.stream()) as events:
        async for event in events:
            if isinstance(event, NodeChanged):
                break
    forged = {"v": 1, "type": "node_succeeded", "run": run.id, "key": run.id, "at_ms": 1, "node": "nowhere",
              "attempt": 1, "incarnation": "i", "output": {"kind": "inline", "value": 1}}  # fmt: skip
    async with beside_a_good_run(client):
        await by_hand.publish("node-done", forged, key=run.id.encode())
        with pytest.raises(RunFailed, match="the run did not end within 2 s"):
            await run.result(timeout=30)


# ------------------------------------------------------------------------------------------- refused starts
async def test_an_unknown_graph_is_answered(client: Client) -> None:
    async with beside_a_good_run(client):
        run = await client.start("goood", {"text": "x"})
        with pytest.raises(RunRejected, match="no graph 'goood' is deployed") as refused:
            await run.result(timeout=30)
    assert refused.value.reason == "not_found"


async def test_an_input_that_fails_the_graph_s_type_is_answered(client: Client) -> None:
    async with beside_a_good_run(client):
        run = await client.start("good", {"text": 5})
        with pytest.raises(RunRejected, match="does not fit graph 'good': text: 5 is not of type") as refused:
            await run.result(timeout=30)
    assert refused.value.reason == "invalid_input"


async def test_an_input_that_is_no_json_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(InvalidInput, match="cannot become JSON"):
        await client.start("good", {"text": object()})
    with pytest.raises(InvalidInput, match="cannot become JSON"):
        await client.start("good", {"text": 2**70})


async def test_the_same_key_is_one_run_and_with_another_payload_a_conflict(client: Client) -> None:
    async with beside_a_good_run(client):
        key = uuid.uuid4().hex
        first = await client.start("good", {"text": "once"}, idempotency_key=key)
        again = await client.start("good", {"text": "once"}, idempotency_key=key)
        assert first.id == again.id
        assert await first.result(timeout=30) == await again.result(timeout=30) == 8
        other = await client.start("good", {"text": "other"}, idempotency_key=key)
        assert other.id == first.id
        with pytest.raises(RunRejected) as refused:
            await other.result(timeout=30)
    assert refused.value.reason == "idempotency_conflict"


async def test_the_same_cloud_event_is_one_run(client: Client, by_hand: Hands, engine: Engine) -> None:
    headers = [*_CLOUD_EVENT, ("ce_id", uuid.uuid4().hex.encode()), ("content-type", b"application/json")]
    before = len(await client.list(graph="good"))
    for _ in range(3):
        await by_hand.publish("docs", {"text": "the same"}, key=b"k", headers=headers)
    last = await by_hand.publish("docs", {"text": "the last"}, key=b"k")
    assert await result_of_event(client, by_hand.events[last]) == 16
    assert len(await client.list(graph="good")) == before + 2
