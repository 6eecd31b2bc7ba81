"""A record that nobody can apply is kept as a dead letter: it ends no coordinator, and stops no partition."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application import codec
from beluga_stream.application.coordinator.coordinator import CoordinatorOptions
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import CancelRequested, RunRequested, SignalReceived, SlotWanted
from beluga_stream.domain.ids import LimitId, NodeKey, RunId
from beluga_stream.domain.limit import Limit
from beluga_stream.domain.payload import Gathered, Inline, Paged, Payload, Picked
from beluga_stream.domain.plan import Plan
from beluga_stream.errors import InvalidInput, RecordTooLarge
from beluga_stream.ports.log import Outgoing
from tests.unit.coordinating import NAMES, OWNED, Bench, bench_of, done, requested
from tests.unit.desks import Desk
from tests.unit.graphs import edge, edges, node, plan

LIMIT = LimitId(f"~limit/{'5e' * 16}")


def over_a_list() -> Plan:
    return plan([node("a"), node("over", NodeKind.MAP)], edges("input > a > over"), ["over"])


async def tell(bench: Bench, topic: str, value: dict[str, Any]) -> None:
    data = json.dumps({"v": 1, **value}).encode()
    await bench.log.append([Outgoing(topic, value["key"].encode(), data)])
    await bench.handle(bench.written(topic)[-1])


async def is_at_work(bench: Bench) -> bool:
    """Whether another run begins, here and after a restart, with all that came before it."""
    before = len(bench.written(NAMES.node_ready("default")))
    await bench.tell(NAMES.run_requests, requested("other"))
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    for topic in (NAMES.run_requests, NAMES.run_events, NAMES.node_done):
        for record in bench.written(topic):
            await bench.handle(record)
    return len(bench.written(NAMES.node_ready("default"))) > before


@pytest.mark.parametrize(
    "brought",
    [
        {"page": {"node": "nowhere", "start": 0, "stop": 1}},
        {"page": {"node": "a", "start": 0, "stop": 1}},
        {"page": {"node": "over", "start": 0, "stop": 1}},
        {"page": {"node": "over", "start": 0, "stop": 1, "stream": {"node": "a", "incarnation": "i", "partition": 0,
                                                                     "offset": 0, "counter": 1}}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("parent", [None, {"run": "p", "key": "p", "node": "over[0:2]"}])
async def test_a_page_that_no_run_has_asked_for_is_refused(brought: Any, parent: Any) -> None:
    bench = await bench_of(over_a_list())
    start = json.loads(codec.incoming.encode(requested("r", [1])))
    await tell(bench, NAMES.run_requests, {**start, **brought, **({} if parent is None else {"parent": parent})})
    assert bench.written(NAMES.node_ready("default")) == []
    assert len(bench.written(NAMES.dead_letters)) == 1
    assert await is_at_work(bench)


@pytest.mark.parametrize(
    ("name", "value", "stream"),
    [
        ("nowhere", [1], None),
        ("a", [1], None),
        ("over", 1, None),
        ("over", [1], {"node": "a", "incarnation": "i", "partition": 0, "offset": 0, "counter": 1}),
    ],
)
async def test_a_page_of_what_is_no_such_map_is_rejected(name: str, value: Any, stream: Any) -> None:
    bench = await bench_of(over_a_list())
    run, page = (
        f"p.{name}[0:1]",
        {"node": name, "start": 0, "stop": 1, **({} if stream is None else {"stream": stream})},
    )
    start = json.loads(codec.incoming.encode(requested(run, value)))
    await tell(
        bench,
        NAMES.run_events,
        {**start, "key": "p", "page": page, "parent": {"run": "p", "key": "p", "node": f"{name}[0:1]"}},
    )
    (rejected,) = bench.written(NAMES.run_results)
    assert codec.results.decode(rejected.value).code == "invalid_input"
    assert await is_at_work(bench)


BROKEN = [
    Picked(Inline(7), 0),
    Picked(Inline([7]), 1),
    Picked(Inline([7]), -1),
    Picked(Inline({"a": 1}), 0),
    Gathered((Inline(1),), ("a", "b")),
    Picked(Gathered((Inline(1),), ("a",)), 0),
    Picked(Gathered((Inline(1),)), 1),
    Paged((Inline(1),), 1),
    Picked(Paged((Inline([1]),), 2), 1),
    Picked(Paged((Inline({}),), 2), 0),
]


@pytest.mark.parametrize("payload", BROKEN)
async def test_a_value_put_together_from_what_is_not_there_is_invalid(payload: Payload) -> None:
    with pytest.raises(InvalidInput):
        await Payloads(MemoryBlobs()).load(payload)


@pytest.mark.parametrize("payload", BROKEN)
async def test_a_start_with_such_a_value_harms_nobody(payload: Payload) -> None:
    bench = await bench_of()
    start = RunRequested(run=RunId("r"), key="r", at_ms=1, graph="test", input=payload, digest="d")
    await bench.tell(NAMES.run_requests, start)
    assert await is_at_work(bench)


@pytest.mark.parametrize("bound", [{"rate": 0}, {"rate": 1, "per_ms": 0}, {"at_once": 0}, {"rate": 1 << 2000}])
async def test_a_limit_that_no_graph_may_have_is_refused(bound: dict[str, int]) -> None:
    bench = await bench_of()
    for number in (1, 2):
        wanted = SlotWanted(
            key=LIMIT,
            at_ms=0,
            run=RunId("r"),
            node=NodeKey("a"),
            number=number,
            reply="r",
            limit=Limit("orders", **({"rate": 5} if number == 1 else bound)),
        )
        await bench.log.append([Outgoing(NAMES.run_events, LIMIT.encode(), codec.incoming.encode(wanted))])
        await bench.handle(bench.written(NAMES.run_events)[-1])
    assert len(bench.written(NAMES.dead_letters)) == 1
    assert await is_at_work(bench)


@pytest.mark.parametrize(
    "asked",
    [
        CancelRequested(run=RunId("r"), key="r", at_ms=1, reason="x" * 950_000),
        CancelRequested(run=RunId("r"), key="r", at_ms=1, reason="x" * 5_000),
        SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="go", id="1", value=Inline("x" * 990_000)),
        SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="go", id="y" * 1_000, value=Inline(1)),
        SignalReceived(run=RunId("r"), key="r", at_ms=1, signal="g" * 1_000, id="1", value=Inline(1)),
    ],
)
async def test_what_is_asked_of_a_run_that_is_not_there_yet_must_be_short(asked: Any) -> None:
    bench = await bench_of()
    await bench.tell(NAMES.run_events, asked)
    assert [row for row in bench.tables.changelogs[0].rows if not row.startswith(("~read", "~answered"))] == []
    assert len(bench.written(NAMES.dead_letters)) == 1
    assert await is_at_work(bench)


async def test_what_is_remembered_of_a_run_that_never_began_is_bounded() -> None:
    bench = await bench_of(state_limit_bytes=4_500)
    await bench.tell(NAMES.run_events, CancelRequested(run=RunId("r"), key="r", at_ms=1, reason="x" * 4_096))
    await bench.tell(NAMES.run_requests, replace(requested("r"), tags={"team": "x" * 4_000}))
    kept = codec.kept.decode(bench.tables.changelogs[0].rows["r"]).state
    assert (kept.status, kept.failure and kept.failure.code) == ("cancelled", "resource_exhausted")
    assert await is_at_work(bench)


async def test_an_event_that_the_engine_cannot_apply_is_a_dead_letter_and_the_log_says_where(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> object:
        raise KeyError("a defect")

    bench = await bench_of()
    monkeypatch.setattr("beluga_stream.application.coordinator.deciding.reduce", broken)
    await bench.tell(NAMES.run_requests, requested())
    monkeypatch.undo()
    (letter,) = bench.written(NAMES.dead_letters)
    assert dict(letter.headers)["beluga-reason"] == b"internal"
    (told,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert told.exc_info is not None
    assert await is_at_work(bench)


async def test_a_run_whose_records_cannot_be_made_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise KeyError("a defect")

    bench = await bench_of()
    monkeypatch.setattr("beluga_stream.application.coordinator.rendering.node_ready", broken)
    await bench.tell(NAMES.run_requests, requested())
    monkeypatch.undo()
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]
    assert await is_at_work(bench)


def wide(parameters: int) -> Plan:
    """Its second node takes what the first gave by so many parameters."""
    wires = [replace(edge("a", "b"), into=f"p{number}") for number in range(parameters)]
    return plan([node("a"), node("b")], [edge("input", "a"), *wires], ["b"])


async def test_work_that_does_not_fit_its_record_fails_its_run_before_that_is_decided() -> None:
    bench = await bench_of(wide(18))
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a", "x" * 60_000))
    assert [codec.node_ready.decode(r.value).node for r in bench.written(NAMES.node_ready("default"))] == ["a"]
    ended = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (ended.status.status, ended.status.failure.code) == ("failed", "resource_exhausted")
    assert "fewer parameters" in ended.status.failure.message
    assert await is_at_work(bench)


async def test_a_long_value_for_few_parameters_fits() -> None:
    bench = await bench_of(wide(14))
    await bench.tell(NAMES.run_requests, requested())
    await bench.tell(NAMES.node_done, done("r", "a", "x" * 60_000))
    assert [codec.node_ready.decode(r.value).node for r in bench.written(NAMES.node_ready("default"))] == ["a", "b"]


async def test_work_that_an_earlier_version_decided_and_could_not_send_stops_no_takeover() -> None:
    bench = await bench_of(wide(18), record_limit_bytes=2_000_000)
    await bench.tell(NAMES.run_requests, requested())
    with pytest.raises(RecordTooLarge):
        await bench.tell(NAMES.node_done, done("r", "a", "x" * 60_000))
    bench.options = CoordinatorOptions()
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    assert await is_at_work(bench)


async def test_a_definition_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    newer = codec.definitions.encode(plan([node("a")], edges("input > a"), ["a"], "newer").definition)
    known = plan([node("a")], edges("input > a"), ["a"], "known").definition
    for value in (b"garbage", b"{}", newer.replace(b'{"v":1', b'{"v":2'), codec.definitions.encode(known)):
        await bench.log.append([Outgoing(NAMES.graphs, b"0" * 16, value, partition=0)])
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested("r", graph="known"))
    await bench.tell(NAMES.run_requests, requested("n", graph="newer"))
    assert [codec.node_ready.decode(each.value).run for each in bench.written(NAMES.node_ready("default"))] == ["r"]
    rejected = codec.results.decode(bench.written(NAMES.run_results)[-1].value)
    assert (rejected.run, rejected.code) == ("n", "not_found")
    told = [record for record in caplog.records if getattr(record, "action", "") == "definition_unknown"]
    assert len(told) == 3, "each of them once"


_KEYS = ("~limit/x", LIMIT, "~early/x", "~read", "~answered", "~claim", "~", "")
"""Under which rows of other kinds lie, or none."""


@pytest.mark.parametrize("run", _KEYS)
@pytest.mark.parametrize("kind", ["cancel_requested", "run_requested", "signal_received"])
async def test_nothing_is_asked_of_what_is_no_run(kind: str, run: str) -> None:
    bench = await bench_of()
    start = json.loads(codec.incoming.encode(requested(run)))
    known = {"run": run, "key": run, "at_ms": 0}
    asked: dict[str, dict[str, Any]] = {
        "cancel_requested": {"type": kind, **known},
        "run_requested": {**start, "parent": {"run": "p", "key": "p", "node": "n"}},
        "signal_received": {
            "type": kind, **known, "signal": "s", "id": "1", "value": {"kind": "inline", "value": 1},
        },
    }  # fmt: skip
    await tell(bench, NAMES.run_events, asked[kind])
    assert len(bench.written(NAMES.dead_letters)) == 1
    assert await is_at_work(bench)


@pytest.mark.parametrize("key", ["r", *_KEYS[2:], f"{LIMIT}/r/a/1", "~limit/x"])
async def test_a_row_of_a_limit_is_never_anothers(key: str) -> None:
    bench = await bench_of()
    await bench.tell(NAMES.run_requests, requested())
    limit = {"name": "test/a", "at_once": 1}
    wanted = {"type": "slot_wanted", "key": key, "at_ms": 0, "run": "r", "node": "a", "number": 1, "reply": "r"}
    await tell(bench, NAMES.run_events, {**wanted, "limit": limit})
    assert len(bench.written(NAMES.dead_letters)) == 1
    assert await is_at_work(bench)


async def test_nobody_can_ask_a_client_for_what_is_no_run() -> None:
    desk = Desk()
    async with desk.client() as runs:
        for run in _KEYS:
            with pytest.raises(InvalidInput, match="is no run's id"):
                await runs.cancel(RunId(run))
            with pytest.raises(InvalidInput, match="is no run's id"):
                await runs.signal(RunId(run), "go", 1)
        assert not any((await desk.log.end(desk.topics.run_events)).values())
