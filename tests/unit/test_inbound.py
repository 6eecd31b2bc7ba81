import asyncio
import json
from dataclasses import replace
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, TypeAdapter

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.deadletters import sent_again
from beluga_stream.application.ingest.inbound import message_of
from beluga_stream.application.ingest.ingest import Ingest
from beluga_stream.application.messages import Summary
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import RunId, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import InvalidInput, LogUnavailable
from beluga_stream.ports.handlers import Message, Trigger
from beluga_stream.ports.log import Headers, Outgoing, Record, TopicSpec
from tests.unit.engines import ANY, TOPICS, Deployed, HandClock, handler, program
from tests.unit.graphs import chain_of


class Doc(BaseModel):
    id: str
    pages: int = 1


DOC = TypeAdapter(Doc)


def record(value: bytes | None, headers: Headers = ()) -> Record:
    return Record("docs", 2, 7, b"key", value, headers=headers)


BINARY: Headers = (
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/shop"),
    ("ce_type", b"doc"),
    ("content-type", b"application/json"),
)
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=utf-8"),)


def structured(**changes: object) -> bytes:
    event = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "doc", "data": {"id": "a"}}
    return json.dumps(event | changes).encode()


def test_plain_json_is_known_by_its_position_and_since_when_it_lies_there() -> None:
    told = record(b'{"id": "a", "pages": 3}')._replace(timestamp_ms=1_000)
    message, identity = message_of(told, DOC)
    assert message.data == Doc(id="a", pages=3)
    assert (message.source, identity) == ("docs", "docs/2/7@1000")


async def test_an_event_at_the_place_of_an_earlier_one_is_another() -> None:
    """The topic was deleted and created again, or a broker has lost its end."""
    log = MemoryLog()
    role = ingest(log, Trigger("t", "topic", "docs", "test", DOC))
    for logged_ms in (1_000, 1_000, 2_000):
        await role.handle([record(b'{"id": "a"}')._replace(timestamp_ms=logged_ms)])
    first, again, other = [request.run for request in requests(log)]
    assert first == again != other


def test_a_binary_cloud_event_is_known_by_source_and_id() -> None:
    message, identity = message_of(record(b'{"id": "a"}', BINARY), DOC)
    assert (message.id, message.source, message.data) == ("e-1", "/shop", Doc(id="a"))
    assert identity == "/shop\x1fe-1"
    assert message.headers["ce_type"] == "doc"


def test_a_structured_cloud_event_is_the_same_event() -> None:
    told = message_of(record(structured(), STRUCTURED), DOC)
    same = message_of(record(b'{"id": "a"}', BINARY), DOC)
    assert (told[0].data, told[1]) == (same[0].data, same[1])


def test_headers_need_neither_values_nor_a_known_encoding() -> None:
    message, _ = message_of(record(b'{"id": "a"}', (("empty", None), ("raw", b"\xff"))), DOC)  # type: ignore[arg-type]
    assert message.headers == {"empty": "", "raw": "�"}


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (None, ()),
        (b"", ()),
        (b"{", ()),
        (b'{"pages": 1}', ()),
        (b'{"id": "a"}', BINARY[:1]),
        (b"{", BINARY),
        (b"{", STRUCTURED),
        (b"[]", STRUCTURED),
        (structured(data={"pages": "x"}), STRUCTURED),
        (structured(specversion="9"), STRUCTURED),
        (structured(id=""), STRUCTURED),
        (structured(time="yesterday"), STRUCTURED),
        (structured(data=None), STRUCTURED),
        (b"\xff\xfe", STRUCTURED),
        (b'{"id": "a"}', (("ce_specversion", b"\xff"), *BINARY[1:])),
        (b'{"id": "a"}', (*BINARY, ("ce_time", b"yesterday"))),
    ],
)
def test_what_is_no_event_says_so(value: bytes | None, headers: Headers) -> None:
    with pytest.raises(InvalidInput, match="docs"):
        message_of(record(value, headers), DOC)


# ------------------------------------------------------------------------------------------ ingest


async def identity_of(value: object) -> object:
    return value


GRAPH = program(chain_of(1), {"n0": handler(identity_of)})


def ingest(log: MemoryLog, *triggers: Trigger) -> Ingest:
    log.create([*TOPICS.specs(["default"]), TopicSpec("docs", 4)])
    return Ingest(
        topics=TOPICS,
        deployment=Deployed({GRAPH.definition.hash: GRAPH}, triggers),
        appender=log,
        payloads=Payloads(MemoryBlobs()),
        clock=HandClock(),
    )


def requests(log: MemoryLog) -> list[RunRequested]:
    return [codec.incoming.decode(found.value) for found in log.records(TOPICS.run_requests, 0)]


def letters(log: MemoryLog) -> list[dict[str, bytes]]:
    return [dict(found.headers) for found in log.records(TOPICS.dead_letters, 0)]


async def test_an_event_starts_one_run_however_often_it_comes() -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "topic", "docs", "test", DOC, map=lambda message: message.data.id))
    assert await role.handle([record(b'{"id": "a"}', BINARY), record(b'{"id": "a"}', BINARY)]) is None
    first, second = requests(log)
    assert first == second
    assert (first.run, first.input) == (run_id("test", "t", "/shop\x1fe-1"), Inline("a"))


async def test_filters_and_keys_are_the_users() -> None:
    log = MemoryLog()
    role = ingest(
        log,
        Trigger(
            "t",
            "topic",
            "docs",
            "test",
            DOC,
            where=lambda message: message.data.pages > 1,
            map=lambda message: message.data.pages,
            idempotency_key=lambda message: message.data.id,
        ),
    )
    await role.handle([record(b'{"id": "a"}'), record(b'{"id": "b", "pages": 2}')])
    assert [request.run for request in requests(log)] == [run_id("test", "t", "b")]


@pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("broken", ["where", "map", "idempotency_key", "adapter"])
async def test_a_users_function_that_raises_costs_its_event_and_no_other(
    broken: str, raised: type[BaseException]
) -> None:
    def breaks(_: object) -> object:
        raise raised("no good")

    log = MemoryLog()
    good = Trigger("good", "topic", "docs", "test", ANY)
    bad = Trigger("bad", "topic", "docs", "test", ANY)
    validating: TypeAdapter[Any] = TypeAdapter(Annotated[Any, AfterValidator(breaks)])
    bad = replace(bad, **{broken: validating if broken == "adapter" else breaks})
    await ingest(log, bad, good).handle([record(b"1")])
    assert len(requests(log)) == 1
    assert letters(log)[0]["beluga-reason"] == (b"invalid_input" if broken == "adapter" else b"execution_failed")
    assert f"{raised.__name__}: no good".encode() in letters(log)[0]["beluga-message"]


@pytest.mark.parametrize(
    ("missing", "told"), [(None, b"TypeError: it gave None"), ("", b"ValueError: it gave an empty text")]
)
async def test_events_without_a_key_are_not_one_event(missing: str | None, told: bytes) -> None:
    log = MemoryLog()
    keyed = Trigger(
        "t", "topic", "docs", "test", ANY, idempotency_key=lambda message: message.headers.get("id", missing)
    )
    await ingest(log, keyed).handle([record(b"1"), record(b"2"), record(b"3", (("id", b"x"),))])
    assert [each.run for each in requests(log)] == [run_id("test", "t", "x")]
    told = b"idempotency_key of trigger t raised " + told
    assert [told in letter["beluga-message"] for letter in letters(log)] == [True, True]


async def test_a_value_that_the_graph_does_not_take_goes_to_the_dead_letters() -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "topic", "docs", "test", ANY, map=lambda message: object()))
    await role.handle([record(b"1"), record(b"{")])
    assert [letter["beluga-reason"] for letter in letters(log)] == [b"execution_failed", b"invalid_input"]


async def test_what_nobody_has_foreseen_costs_its_event_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "topic", "docs", "test", ANY))
    answer = role.answer

    async def fails(trigger: Trigger, side: int, event: Record) -> Outgoing | None:
        if event.value == b"2":
            raise RuntimeError("nobody has foreseen it")
        return await answer(trigger, side, event)

    monkeypatch.setattr(role, "answer", fails)
    await role.handle([record(b"1", BINARY), record(b"2"), record(b"3")])
    assert [request.input for request in requests(log)] == [Inline(1), Inline(3)]
    (letter,) = letters(log)
    assert letter["beluga-reason"] == b"internal"
    assert b"RuntimeError: nobody has foreseen it" in letter["beluga-message"]
    (told,) = [one for one in caplog.records if one.levelname == "ERROR"]
    assert told.exc_info is not None


async def test_an_event_that_is_sent_again_is_for_the_trigger_alone_that_could_not_take_it() -> None:
    log, blobs = MemoryLog(), Payloads(MemoryBlobs())
    asked: list[str] = []

    def broken(message: object) -> object:
        if len(asked) < 2:
            asked.append("once")
            raise ValueError("not yet")
        return "mended"

    good = Trigger("good", "topic", "docs", "test", DOC, map=lambda message: message.data.id)
    role = ingest(log, good, Trigger("bad", "topic", "docs", "test", DOC, map=broken))
    await role.handle([record(b'{"id": "a"}', (("h", b"1"),))])
    for _ in range(2):  # what is refused once more is for no other trigger either
        letter = log.records(TOPICS.dead_letters, 0)[-1]
        await log.append([Outgoing("docs", *await sent_again(letter, blobs))])
        again = next(found for number in range(4) for found in reversed(log.records("docs", number)))
        assert again.headers[0] == ("h", b"1")
        await role.handle([again])
    assert [(each.trigger, each.input) for each in requests(log)] == [("good", Inline("a")), ("bad", Inline("mended"))]
    assert len(letters(log)) == 2


async def test_a_letter_that_is_sent_twice_starts_the_run_that_its_event_would_have_started() -> None:
    log, blobs, broken = MemoryLog(), Payloads(MemoryBlobs()), [True]

    def mapped(message: Message) -> object:
        if broken:
            raise ValueError("not yet")
        return message.id

    role = ingest(log, Trigger("t", "topic", "docs", "test", DOC, map=mapped))
    await role.handle([record(b'{"id": "a"}')])
    read = dict.fromkeys(range(4), 0)

    async def send(letter: Record) -> None:
        await log.append([Outgoing("docs", *await sent_again(letter, blobs))])
        for number, offset in read.items():
            found = log.records("docs", number, offset)
            read[number] += len(found)
            await role.handle(found)

    await send(log.records(TOPICS.dead_letters, 0)[0])
    broken.clear()
    for letter in log.records(TOPICS.dead_letters, 0):  # the first one once more, and that of the first time
        await send(letter)
    assert {each.run for each in requests(log)} == {run_id("test", "t", "docs/2/7@0")}
    assert [each.input for each in requests(log)] == [Inline("docs/2/7@0")] * 2


async def test_an_event_that_is_sent_again_for_who_is_gone_stays_a_dead_letter() -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "topic", "docs", "test", DOC, map=lambda message: message.data.id))
    await role.handle([record(b'{"id": "a"}', (("beluga-only", b"beluga/gone/docs"),))])
    (letter,) = letters(log)
    assert b"was sent again for the trigger gone/docs, which is not deployed" in letter["beluga-message"]
    assert letter["beluga-only"] == b"beluga/gone/docs"
    await role.handle([record(b'{"id": "a"}', (("beluga-only", b"another/gone/docs"),))])
    assert len(letters(log)) == 1, "another engine listens to the topic, too"
    assert not requests(log)


async def test_an_event_waits_for_a_log_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "topic", "docs", "test", ANY))

    async def fails(*_: object) -> None:
        raise LogUnavailable("away")

    monkeypatch.setattr(role, "answer", fails)
    with pytest.raises(LogUnavailable):
        await role.handle([record(b"1")])


async def test_the_end_of_a_run_starts_another_once() -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "run_finished", "first", "test", TypeAdapter(int)))
    summary = Summary(
        run=RunId("r"),
        graph="first",
        definition=None,
        status="succeeded",
        trigger="api",
        started_ms=1,
        ended_ms=2,
        output=Inline(5),
    )
    ended = Outgoing(TOPICS.runs, b"r", codec.summaries.encode(summary))
    await log.append([ended, ended])
    await role.handle(log.records(TOPICS.runs, 0))
    first, second = requests(log)
    assert first.run == second.run
    assert first.input == Inline(5)


async def test_only_ends_that_a_trigger_waits_for_start_something() -> None:
    log = MemoryLog()
    role = ingest(log, Trigger("t", "run_finished", "first", "test", TypeAdapter(int)))
    known: dict[str, Any] = {"definition": None, "trigger": "api", "started_ms": 1, "output": Inline(5)}
    for run, graph, status in (
        ("a", "other", "succeeded"),
        ("b", "first", "failed"),
        ("c", "first", "cancelled"),
        ("d", "first", "running"),
        ("e", "first", "succeeded"),
    ):
        summary = Summary(run=RunId(run), graph=graph, status=status, ended_ms=2, **known)
        await log.append([Outgoing(TOPICS.runs, b"r", codec.summaries.encode(summary))])
    await log.append([Outgoing(TOPICS.runs, b"r", None)])  # a run that is forgotten
    await role.handle(log.records(TOPICS.runs, 0))
    assert [each.input for each in requests(log)] == [Inline(5)]
    assert not letters(log)
