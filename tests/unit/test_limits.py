"""Limits through the coordinator: what is durable before what, what is told again, what is left."""

from collections.abc import Sequence

import pytest

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.coordinator.admission import Admission
from beluga_stream.application.coordinator.limits import PREFIX, Limits, LimitTimers
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import (
    CancelRequested,
    LimitDue,
    NodeSucceeded,
    RunRequested,
    SlotGranted,
    SlotReturned,
    SlotWanted,
)
from beluga_stream.domain.ids import Incarnation, LimitId, NodeKey, RunId
from beluga_stream.domain.limit import Limit, limit_id
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import LogUnavailable
from tests.unit.coordinating import NAMES, OWNED, Bench, StillClock, requested
from tests.unit.graphs import edges, node, plan
from tests.unit.test_sealed_runs import KEYS

ONE = Limit("one", key="customer", at_once=1)
PLAN = plan([node("a", limits=(ONE,))], edges("input > a"), ["a"])
SEVEN = limit_id(ONE, {"customer": "7"})


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    bench.plan = PLAN
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    return bench


async def settle(bench: Bench, upto: int = 0) -> int:
    """Hand over what the coordinator has told itself, until it tells nothing more."""
    while len(bench.written(NAMES.run_events)) > upto:
        await bench.handle(bench.written(NAMES.run_events)[upto])
        upto += 1
    return upto


async def start(bench: Bench, *runs: str, customer: object = 7) -> int:
    upto = len(bench.written(NAMES.run_events))
    for run in runs:
        await bench.tell(NAMES.run_requests, requested(run, {"customer": customer}))
        upto = await settle(bench, upto)
    return upto


def done(run: str) -> NodeSucceeded:
    return NodeSucceeded(
        run=RunId(run),
        key=run,
        at_ms=2,
        node=NodeKey("a"),
        attempt=1,
        incarnation=Incarnation("i"),
        output=Inline(1),
    )


def dispatched(bench: Bench) -> list[str]:
    return [codec.node_ready.decode(record.value).run for record in bench.written(NAMES.node_ready("default"))]


def rows(bench: Bench) -> list[str]:
    return [key for key in bench.tables.changelogs[0].rows if key.startswith(PREFIX)]


async def test_one_after_another_gets_the_slot_and_nothing_is_left(bench: Bench) -> None:
    upto = await start(bench, "r1", "r2", "r3")
    await start(bench, "other", customer=8)
    assert dispatched(bench) == ["r1", "other"]
    upto = len(bench.written(NAMES.run_events))
    for run in ("r1", "r2", "other", "r3"):
        await bench.tell(NAMES.node_done, done(run))
        upto = await settle(bench, upto)
    assert dispatched(bench) == ["r1", "other", "r2", "r3"]
    assert rows(bench) == []
    assert not bench.coordinator.owned[0].limits.all


async def test_a_slot_that_was_not_told_is_told_again_by_who_takes_over(bench: Bench) -> None:
    await bench.tell(NAMES.run_requests, requested("r1", {"customer": 7}))
    (asked,) = bench.written(NAMES.run_events)
    bench.appender.breaks = True
    with pytest.raises(LogUnavailable):
        await bench.handle(asked)
    bench.appender.breaks = False
    assert len(rows(bench)) == 2, "it is decided and durable"

    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    (granted,) = [event for event in events(bench) if isinstance(event, SlotGranted)]
    assert granted.run == "r1"
    await settle(bench)
    assert dispatched(bench) == ["r1"]
    await bench.tell(NAMES.node_done, done("r1"))
    await settle(bench, len(bench.written(NAMES.run_events)) - 1)
    assert rows(bench) == []


async def test_what_was_acknowledged_is_not_told_again(bench: Bench) -> None:
    upto = await start(bench, "r1")
    bench.group.commit(bench.group.generation, {(NAMES.run_events, 0): upto})
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    assert len(bench.written(NAMES.run_events)) == upto


def events(bench: Bench) -> Sequence[object]:
    return [codec.incoming.decode(record.value) for record in bench.written(NAMES.run_events)]


async def test_a_run_that_is_not_known_gives_its_slot_back_and_the_fence_is_asked(bench: Bench) -> None:
    granted = SlotGranted(run=RunId("gone"), key="gone", at_ms=1, limit=SEVEN, node=NodeKey("a"), number=1)
    await bench.tell(NAMES.run_events, granted)
    back = events(bench)[-1]
    assert isinstance(back, SlotReturned)
    assert (back.key, back.run, back.node, back.number) == (SEVEN, "gone", "a", 1)
    assert bench.tables.changelogs[0].rows.get("~answered") is not None


async def test_a_cancelled_run_waits_no_longer_and_a_late_slot_goes_on_to_the_next(bench: Bench) -> None:
    upto = await start(bench, "r1", "r2", "r3")
    await bench.tell(NAMES.run_events, CancelRequested(run=RunId("r2"), key="r2", at_ms=3))
    upto = await settle(bench, upto + 1)
    asked = next(event for event in events(bench) if isinstance(event, SlotWanted) and event.run == "r2")
    await bench.tell(NAMES.run_events, asked, key=asked.key)  # a request that was on its way twice
    upto = await settle(bench, upto + 1)
    await bench.tell(NAMES.node_done, done("r1"))
    upto = await settle(bench, upto)
    await bench.tell(NAMES.node_done, done("r3"))
    await settle(bench, upto)
    assert dispatched(bench) == ["r1", "r3"]
    assert rows(bench) == []


async def test_a_run_whose_state_outgrows_its_record_keeps_no_slot() -> None:
    bench = Bench(state_limit_bytes=5_000)
    bench.plan = plan([node("a", limits=(ONE,)), node("b")], edges("input > a > b"), ["b"])
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    upto = await start(bench, "r1")
    long = NodeSucceeded(
        run=RunId("r1"),
        key="r1",
        at_ms=2,
        node=NodeKey("a"),
        attempt=1,
        incarnation=Incarnation("i"),
        output=Inline("x" * 6_000),
    )
    await bench.tell(NAMES.node_done, long)
    await settle(bench, upto)
    assert rows(bench) == []


async def test_a_key_is_found_in_an_input_that_is_stored() -> None:
    bench = Bench()
    bench.plan = PLAN
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    payloads = bench.coordinator._payloads
    stored = await payloads.store("r1", {"customer": 7, "text": "x" * 100_000})
    event = RunRequested(run=RunId("r1"), key="r1", at_ms=1, graph="test", input=stored, digest="d")
    await bench.tell(NAMES.run_requests, event)
    (asked,) = events(bench)
    assert isinstance(asked, SlotWanted)
    assert (asked.key, asked.value) == (SEVEN, "7")


async def test_a_key_in_an_encrypted_input_needs_its_key_and_is_kept_as_a_digest() -> None:
    sealed = Payloads(MemoryBlobs(), cipher=KEYS)
    event = RunRequested(
        run=RunId("r1"),
        key="r1",
        at_ms=1,
        graph="test",
        input=await sealed.store("r1", {"customer": 7}),
        digest="d",
    )
    catalog = Catalog(MemoryLog(), NAMES)
    catalog.add(PLAN.definition)
    taken, _, refusal = await Admission(NAMES, catalog, sealed).admit(event, 1)
    assert refusal is None
    assert taken.keys["customer"].startswith("#")
    _, _, refusal = await Admission(NAMES, catalog, Payloads(MemoryBlobs())).admit(event, 1)
    assert refusal is not None
    assert codec.results.decode(refusal[0].value).code == "key_missing"


async def test_a_rate_goes_on_by_the_clock_and_leaves_nothing() -> None:
    bench = Bench()
    rate = Limit("rate", rate=10, per_ms=1_000)
    bench.plan = plan([node("a", limits=(rate,))], edges("input > a"), ["a"])
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    clock = StillClock()
    timers = LimitTimers(NAMES, bench.log, clock)
    upto = await start(bench, "r1", "r2", "r3")
    assert dispatched(bench) == ["r1"]
    while len(dispatched(bench)) < 3:
        bench.coordinator._clock.now = clock.now  # type: ignore[attr-defined]
        upto = await settle(bench, upto)
        await timers.rest(bench.coordinator.owned, 200)
    assert clock.now < 2_000
    for run in ("r1", "r2", "r3"):
        await bench.tell(NAMES.node_done, done(run))
    bench.coordinator._clock.now = clock.now = clock.now + 1_000  # type: ignore[attr-defined]
    upto = await settle(bench, upto)
    await timers.rest(bench.coordinator.owned, 200)
    await settle(bench, upto)
    assert [event for event in events(bench) if isinstance(event, LimitDue)]
    assert rows(bench) == []


async def test_a_clock_that_is_set_back_lets_nobody_rest_for_longer_than_a_tick() -> None:
    class SetBack(StillClock):
        slept = 0.0

        async def sleep(self, seconds: float) -> None:
            self.slept += seconds
            self.now += int(seconds * 1000)
            if self.slept < 0.5:
                self.now -= 3_600_000

    clock = SetBack()
    timers = LimitTimers(NAMES, MemoryLog(), clock)
    for _ in range(5):
        await timers.rest({}, 200)
    assert clock.slept == pytest.approx(1.0)


async def test_a_limit_event_under_another_key_is_refused(bench: Bench) -> None:
    await bench.tell(NAMES.run_events, LimitDue(key=SEVEN, at_ms=1), key="elsewhere")  # type: ignore[arg-type]
    assert len(bench.written(NAMES.dead_letters)) == 1


def test_few_rows_are_written_for_an_event_however_many_wait() -> None:
    limits = Limits()
    for number in range(10_000):
        limits.apply(_wanted(number), number, 0)
    limits.rows.clear()
    limits.apply(SlotReturned(key=SEVEN, at_ms=0, run=RunId("r0"), number=1), 1, 0)
    assert len(limits.rows) == 2
    assert sum(len(row) for row in limits.rows.values() if row is not None) < 300


def test_no_ticket_is_ever_there_without_its_limit() -> None:
    """Wherever the write of its rows is cut off: whoever reads them then must be able to go on."""
    limits = Limits()
    table: dict[str, bytes] = {}
    for offset, event in enumerate((_wanted(1), _wanted(2), _returned(1), _wanted(3), _returned(2), _returned(3))):
        limits.apply(event, offset, 0)
        changes = list(limits.changes())
        for cut in range(len(changes) + 1):
            torn = dict(table)
            for key, value in changes[:cut]:
                if value is None:
                    torn.pop(key, None)
                else:
                    torn[key] = value
            again = Limits()
            for key, value in torn.items():
                again.recover(key, value)
            again.recovered()
        if offset % 2:
            table = torn
            limits.rows.clear()
    assert not table


def test_what_is_read_again_is_what_was_there() -> None:
    limits = Limits()
    for number in range(3):
        limits.apply(_wanted(number), number, 0)
    again = Limits()
    for key, value in reversed(limits.rows.items()):
        assert value is not None
        again.recover(key, value)
    again.recovered()
    assert [event.run for event in again.unconfirmed(0, 5)] == ["r0"]
    assert list(again.unconfirmed(1, 5)) == []
    (granted,) = again.apply(SlotReturned(key=SEVEN, at_ms=0, run=RunId("r0"), number=1), 9, 5)
    assert granted.run == "r1"


def _wanted(number: int) -> SlotWanted:
    return SlotWanted(key=LimitId(SEVEN), at_ms=0, run=RunId(f"r{number}"), number=1, reply=f"r{number}", limit=ONE)


def _returned(number: int) -> SlotReturned:
    return SlotReturned(key=LimitId(SEVEN), at_ms=0, run=RunId(f"r{number}"), number=1)


async def test_a_run_and_its_sleep_may_be_due_at_once(bench: Bench) -> None:
    """Their deadlines lie in one heap, and None is no text."""
    bench.plan = plan([node("a", NodeKind.SLEEP, timeout_ms=600_000)], edges("input > a"), ["a"], timeout_ms=600_000)
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    await bench.tell(NAMES.run_requests, requested("r1"))
    run, sleep = bench.coordinator.owned[0].timers
    assert run.due_ms == sleep.due_ms
