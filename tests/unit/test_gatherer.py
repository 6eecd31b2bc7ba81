"""The gatherer over a log in memory, stepped by hand: what becomes of events that start a run together."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import pytest
from pydantic import PlainSerializer, TypeAdapter

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.groups import MemoryGroup, MemoryWorkers
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import MemoryTables
from beluga_stream.application import codec
from beluga_stream.application.deadletters import sent_again
from beluga_stream.application.ingest import gatherings
from beluga_stream.application.ingest.gatherer import Gatherer, GathererOptions
from beluga_stream.application.ingest.ingest import Ingest
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import digest, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import LogUnavailable, TopicMismatch
from beluga_stream.ports.handlers import Gathers, Program, Schedule, Side, Trigger
from beluga_stream.ports.log import Outgoing, Record, TopicSpec
from tests.unit.engines import ANY, TOPICS, Deployed, HandClock, handler, program
from tests.unit.graphs import edges, node, plan

_MINUTE = 60_000


async def _same(value: Any) -> Any:
    return value


def _program(name: str) -> Program:
    return program(plan([node("n0")], edges("input > n0"), ["n0"], name), {"n0": handler(_same)})


def _join(**how: Any) -> Trigger:
    sides = tuple(Side(topic, ANY, lambda data: data["key"]) for topic in "ab")
    gathers = replace(Gathers("join", sides, within_ms=_MINUTE, lateness_ms=1_000), **how)
    return Trigger("a+b", "gathered", "a+b", "pairs", ANY, gathers=gathers)


@dataclass
class Bench:
    """Ingest and a gatherer; the test moves the clock, and says when each reads."""

    trigger: Trigger = field(default_factory=_join)
    keep_ms: int = 5 * _MINUTE
    keep_most: int = 100
    deployed: bool = True

    def __post_init__(self) -> None:
        self.clock = HandClock()
        self.clock.now = 100 * _MINUTE
        self.log = MemoryLog(clock=self.clock)
        self.log.create([*TOPICS.specs(["default"]), TopicSpec("a", 2), TopicSpec("b", 1)])
        self.blobs = MemoryBlobs()
        self.payloads = Payloads(self.blobs)
        self.groups = {name: MemoryGroup(name) for name in ("ingest", "gatherer")}
        self.tables = MemoryTables(self.groups["gatherer"], [TOPICS.trigger_events], self.log)
        programs = [_program("pairs"), _program("other")]
        self.programs = {each.definition.hash: each for each in programs}
        self.ingest = Ingest(
            topics=TOPICS,
            deployment=Deployed(self.programs, [self.trigger]),
            appender=self.log,
            payloads=self.payloads,
            clock=self.clock,
        )
        self.gatherer = self.another()
        self._read: dict[str, dict[int, int]] = {}

    def another(self, *, deployed: bool = True) -> Gatherer:
        return Gatherer(
            topics=TOPICS,
            deployment=Deployed(self.programs, [self.trigger] if deployed else []),
            tables=self.tables,
            appender=self.log,
            reader=self.log,
            ingest=MemoryWorkers(self.groups["ingest"], 2),
            payloads=self.payloads,
            clock=self.clock,
            options=GathererOptions(keep_ms=self.keep_ms, keep_most=self.keep_most),
        )

    async def publish(self, topic: str, key: str = "k", n: int = 1, headers: Any = ()) -> None:
        value = orjson.dumps({"key": key, "n": n})
        await self.log.append([Outgoing(topic, key.encode(), value, headers)])

    async def ingested(self) -> None:
        """Ingest reads all there is, and commits."""
        group = self.groups["ingest"]
        for topic, partitions in (("a", 2), ("b", 1)):
            for number in range(partitions):
                records = self.log.records(topic, number, group.committed(topic, number) or 0)
                if records:
                    await self.ingest.handle(records)
                    group.commit(group.generation, {(topic, number): records[-1].offset + 1})

    async def gathered(self, *, commits: bool = True) -> None:
        """The gatherer reads all there is."""
        for record in self._unread():
            await self.gatherer.handle([record])
        if commits:
            self.commit()

    def _unread(self) -> list[Record]:
        owned = self.gatherer.owned[0]
        return list(self.log.records(TOPICS.trigger_events, 0, owned.read))

    def commit(self) -> None:
        group = self.groups["gatherer"]
        group.commit(group.generation, {(TOPICS.trigger_events, 0): self.gatherer.owned[0].read})

    async def look(self) -> None:
        await self.gatherer._tick(self.clock.now)
        await self.gatherer._horizon.look(self.gatherer.owned, self.gatherer._sources, self.clock.now)

    async def taken_over(self, *, deployed: bool = True) -> None:
        """Another gatherer has the partition now."""
        self.gatherer = self.another(deployed=deployed)
        await self.gatherer.acquire(frozenset({0}))

    def starts(self) -> list[RunRequested]:
        return [codec.incoming.decode(record.value) for record in self.log.records(TOPICS.run_requests, 0)]

    def letters(self) -> list[tuple[Any, str]]:
        records = self.log.records(TOPICS.dead_letters, 0)
        return [(orjson.loads(r.value or b"null"), dict(r.headers)["beluga-message"].decode()) for r in records]

    def window(self) -> str:
        return f"k\x1f{100 * _MINUTE}+{_MINUTE}"


async def _opened(trigger: Trigger | None = None) -> Bench:
    bench = Bench(trigger or _join())
    await bench.gatherer.acquire(frozenset({0}))
    return bench


async def test_a_complete_window_starts_one_run_with_its_own_id() -> None:
    bench = await _opened()
    await bench.publish("b", n=2)
    await bench.publish("a", n=1)
    await bench.ingested()
    await bench.gathered()
    (start,) = bench.starts()
    assert start.run == run_id("pairs", "a+b", bench.window())
    assert await bench.payloads.load(start.input) == [{"key": "k", "n": 1}, {"key": "k", "n": 2}]
    assert start.trigger == "a+b"


async def test_a_trace_is_carried_on() -> None:
    bench = await _opened()
    trace = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    await bench.publish("a", headers=(("traceparent", trace),))
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered()
    assert bench.starts()[0].trace == trace.decode()


async def test_a_window_does_not_end_while_its_events_wait_unread() -> None:
    bench = await _opened()
    await bench.publish("a")
    await bench.ingested()
    await bench.gathered()
    await bench.publish("b")  # in time, and ingest is away
    bench.clock.now += 10 * _MINUTE
    for _ in range(3):
        await bench.look()
        await bench.gathered()
    assert bench.starts() == []
    assert bench.letters() == []
    await bench.ingested()
    bench.clock.now += 500
    await bench.look()  # ingest is through, and what it wrote is unread here
    assert len(bench._unread()) == 1
    await bench.gathered()
    assert len(bench.starts()) == 1
    await bench.look()
    await bench.gathered()
    assert len(bench.starts()) == 1


async def test_a_silent_topic_stops_no_time() -> None:
    bench = await _opened()
    await bench.publish("a")
    await bench.ingested()
    await bench.gathered()
    bench.clock.now += _MINUTE + 999
    await bench.look()
    await bench.gathered()
    assert bench.letters() == []
    bench.clock.now += 1
    await bench.look()
    await bench.gathered()
    assert bench.letters() == [({"key": "k", "n": 1}, "the window of a+b for key 'k' ended without an event of b")]


@pytest.mark.parametrize("missing", ["start", "graph", "drop"])
async def test_what_is_missing_has_its_answer(missing: Any) -> None:
    bench = await _opened(_join(missing=missing, graph="other" if missing == "graph" else None))
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered()
    bench.clock.now += 2 * _MINUTE
    await bench.look()
    await bench.gathered()
    found = [(start.graph, await bench.payloads.load(start.input)) for start in bench.starts()]
    value = [None, {"key": "k", "n": 1}]
    assert found == {"start": [("pairs", value)], "graph": [("other", value)], "drop": []}[missing]
    assert bench.letters() == []


async def test_a_start_that_may_not_have_been_sent_is_sent_again_and_no_other() -> None:
    bench = await _opened()
    await bench.publish("a")
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered(commits=False)
    await bench.taken_over()
    first, again = bench.starts()
    assert (first.run, first.digest) == (again.run, again.digest)
    await bench.gathered()
    await bench.taken_over()
    assert len(bench.starts()) == 2


async def test_events_of_a_trigger_that_is_not_deployed_wait_until_it_is() -> None:
    bench = Bench()
    await bench.taken_over(deployed=False)
    await bench.publish("a")
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered()
    await bench.taken_over(deployed=False)
    assert bench.starts() == []
    await bench.taken_over()
    assert len(bench.starts()) == 1
    await bench.taken_over()
    assert len(bench.starts()) == 1


async def test_a_start_that_may_not_have_been_sent_waits_when_its_trigger_is_gone() -> None:
    """A deploy that takes a trigger away, or an older process, must be able to take the partition over."""
    bench = await _opened()
    await bench.publish("a")
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered(commits=False)
    await bench.taken_over(deployed=False)
    await bench.gathered()
    assert len(bench.starts()) == 1
    await bench.taken_over()
    first, again = bench.starts()
    assert first.run == again.run
    await bench.taken_over()
    assert len(bench.starts()) == 2


async def test_a_map_that_raises_sends_each_event_to_the_dead_letters_as_it_came() -> None:
    def no(both: Any) -> Any:
        raise ValueError("not these")

    bench = await _opened(replace(_join(), map=no))
    await bench.publish("a", n=1, headers=(("h", b"1"),))
    await bench.publish("b", n=2)
    await bench.ingested()
    await bench.gathered()
    assert [value["n"] for value, _ in bench.letters()] == [1, 2]
    assert all("map of trigger a+b raised ValueError: not these" in told for _, told in bench.letters())
    letter = bench.log.records(TOPICS.dead_letters, 0)[0]
    assert letter.headers[0] == ("h", b"1")
    assert letter.key == b"k"
    assert dict(letter.headers)["beluga-source"].startswith(b"a/")


async def test_a_key_of_any_length_makes_no_record_too_large() -> None:
    bench = await _opened()
    key = "k" * 200_000
    for topic in "ab":
        await bench.publish(topic, key=key)
    await bench.publish("a", key=f"{key}x")
    await bench.ingested()
    assert all(len(record.value or b"") < 2_000 for record in bench.log.records(TOPICS.trigger_events, 0))
    await bench.gathered()
    (start,) = bench.starts()
    assert start.run == run_id("pairs", "a+b", f"#{digest(key)}\x1f{100 * _MINUTE}+{_MINUTE}")
    assert all(len(value) < 2_000 for value in bench.tables.changelogs[0].rows.values())
    assert len(bench.gatherer.owned[0].open) == 1, "another key is another window"


@pytest.mark.parametrize("kind", ["batch", "join"])
async def test_events_that_are_sent_again_are_taken_or_refused_anew_though_they_are_remembered(kind: Any) -> None:
    broken = [True]

    def mapped(found: Any) -> Any:
        if broken:
            raise ValueError("not yet")
        return found

    batch = Gathers("batch", (Side("a", ANY, lambda data: data["key"]),), size=1, wait_ms=_MINUTE)
    trigger = Trigger("a", "gathered", "a", "pairs", ANY, gathers=batch) if kind == "batch" else _join()
    bench = await _opened(replace(trigger, map=mapped))
    at = datetime.fromtimestamp(100 * 60, UTC).isoformat().encode()
    event = (("ce_specversion", b"1.0"), ("ce_source", b"/s"), ("ce_type", b"t"), ("ce_time", at))
    await bench.publish("a", headers=(*event, ("ce_id", b"1")))
    if kind == "join":
        await bench.publish("b", headers=(*event, ("ce_id", b"2")))
    await bench.ingested()
    await bench.gathered()
    broken.clear()
    refused = bench.log.records(TOPICS.dead_letters, 0)
    assert all(dict(letter.headers)["beluga-only"] == f"beluga/pairs/{trigger.name}".encode() for letter in refused)
    for letter in refused:
        again = await sent_again(letter, bench.payloads)
        await bench.log.append([Outgoing(dict(letter.headers)["beluga-source"].decode()[0], *again)])
    await bench.ingested()
    await bench.gathered()
    if kind == "batch":
        assert len(bench.starts()) == 1
    else:
        assert len(bench.letters()) == 2 * len(refused), "its window has ended: nothing is left out in silence"


async def test_a_letter_that_is_sent_twice_is_one_event_of_its_batch() -> None:
    broken = [True]

    def mapped(found: Any) -> Any:
        if broken:
            raise ValueError("not yet")
        return found

    batch = Gathers("batch", (Side("a", ANY, lambda data: data["key"]),), size=2, wait_ms=_MINUTE)
    bench = await _opened(Trigger("a", "gathered", "a", "pairs", ANY, map=mapped, gathers=batch))

    async def send_twice() -> None:
        for letter in bench.log.records(TOPICS.dead_letters, 0)[-2:]:
            again = await sent_again(letter, bench.payloads)
            await bench.log.append([Outgoing("a", *again), Outgoing("a", *again)])
        await bench.ingested()
        await bench.gathered()

    for n in (1, 2):
        await bench.publish("a", n=n)
    await bench.ingested()
    await bench.gathered()
    await send_twice()
    assert len(bench.letters()) == 4, "the same batch was refused once more, and nothing else"
    broken.clear()
    await send_twice()
    (start,) = bench.starts()
    assert start.input == Inline([{"key": "k", "n": 1}, {"key": "k", "n": 2}])
    assert not bench.gatherer.owned[0].open


@pytest.mark.parametrize("taken_over", [False, True])
async def test_what_is_over_is_remembered_and_then_forgotten(*, taken_over: bool) -> None:
    bench = await _opened()
    await bench.publish("a")
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered()
    changelog = bench.tables.changelogs[0]
    bench.clock.now += _MINUTE
    await bench.publish("a", key="other")
    await bench.ingested()
    await bench.gathered()
    assert len([key for key in changelog.rows if "/f/" in key]) == 0, "it is known to be sent"
    # The records are kept no longer, only who they were.
    marks = [codec.items.decode(value) for key, value in changelog.rows.items() if "/e/" in key]
    assert sorted(mark.record is None for mark in marks) == [False, True, True]
    if taken_over:
        await bench.taken_over()
    bench.clock.now += 20 * _MINUTE
    await bench.look()
    await bench.gathered()
    bench.clock.now += 20 * _MINUTE
    await bench.publish("a", key="last")
    await bench.ingested()
    await bench.gathered()
    assert len(changelog.rows) == 2, changelog.rows.keys()
    assert len(bench.gatherer.owned[0]._of) == 1


async def test_above_their_number_those_are_forgotten_that_are_over_for_the_longest_time() -> None:
    bench = Bench(keep_most=12)
    await bench.gatherer.acquire(frozenset({0}))

    async def whole(*keys: str) -> set[str]:
        """Windows of these keys get all their events; returns the keys of which windows are remembered."""
        for key in keys:
            await bench.publish("a", key=key)
            await bench.publish("b", key=key)
        await bench.ingested()
        await bench.gathered()
        return {gathering.row.of for gathering in bench.gatherer.owned[0]._of.values()}

    assert await whole(*"abcdef") == set("abcdef"), "none of them is over, however many they are"
    bench.clock.now += 2 * _MINUTE
    assert await whole("last") >= {"last"}
    assert await whole("last2") & set("abcdef") < set("abcdef"), "each has a row, and one for each event"
    assert {"last", "last2"} <= await whole()


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("all", ["28T02:30:00+01:00", "29T03:00:00+02:00", "30T02:30:00+02:00", "31T02:30:00+02:00"]),
        ("last", ["28T02:30:00+01:00", "30T02:30:00+02:00", "31T02:30:00+02:00"]),
        ("skip", ["28T02:30:00+01:00", "31T02:30:00+02:00"]),
    ],
)
async def test_a_schedule_across_a_change_of_the_clock_and_across_downtime(catch_up: Any, expected: list[str]) -> None:
    """Nobody runs from the evening before clocks go forward until noon two days later."""
    schedule = Schedule("30 2 * * *", "Europe/Berlin", lambda at: at.isoformat(), catch_up=catch_up)
    bench = Bench(Trigger("nightly", "schedule", "", "pairs", ANY, schedule=schedule))
    begin = datetime(2026, 3, 27, 12, tzinfo=UTC)
    bench.clock.now = int(begin.timestamp() * 1000)
    await bench.gatherer.acquire(frozenset({0}))
    for hour in range(4 * 24):
        bench.clock.now = int((begin + timedelta(hours=hour)).timestamp() * 1000) + 1
        if 30 <= hour < 72:
            continue
        if hour == 72:
            await bench.taken_over()
        for _ in range(61 * 2):
            await bench.look()
            await bench.gathered()
            bench.clock.now += 30_000
    found = [await bench.payloads.load(start.input) for start in bench.starts()]
    assert [at.removeprefix("2026-03-") for at in found] == expected
    assert len({start.run for start in bench.starts()}) == len(found)


async def test_a_topic_that_has_got_more_partitions_is_told_of() -> None:
    with pytest.raises(TopicMismatch, match=r"trigger-events has got a partition 1: somebody has added"):
        await Bench(_join()).gatherer.acquire(frozenset({0, 1}))


async def test_a_tick_that_may_not_have_been_told_is_not_lost_with_who_knew_its_schedule() -> None:
    schedule = Schedule("0 * * * *", "UTC", lambda at: at.isoformat(), catch_up="all")
    bench = Bench(Trigger("hourly", "schedule", "", "pairs", ANY, schedule=schedule))
    await bench.gatherer.acquire(frozenset({0}))
    await bench.look()
    await bench.gathered()
    bench.clock.now += 60 * _MINUTE
    await bench.look()
    append = bench.log.append
    bench.log.append = _refused  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable):
        await bench.gathered(commits=False)
    bench.log.append = append  # type: ignore[method-assign]
    assert bench.starts() == []
    await bench.taken_over(deployed=False)
    await bench.gathered()
    await bench.taken_over()
    await bench.look()
    await bench.gathered()
    bench.clock.now += 60 * _MINUTE
    await bench.look()
    await bench.gathered()
    assert len({start.run for start in bench.starts()}) == len(bench.starts()) == 2


async def _refused(records: Any) -> Any:
    raise LogUnavailable("the broker is gone")


async def test_too_many_keys_are_dead_letters_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatherings, "MOST", 2)
    bench = await _opened()
    for key in ("k1", "k2", "k3"):
        await bench.publish("a", key=key)
    await bench.publish("b", key="k1")
    await bench.ingested()
    await bench.gathered()
    assert len(bench.starts()) == 1
    ((_, told),) = bench.letters()
    assert "has too many keys for its windows" in told


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ((("ce_time", b"2999-01-01T00:00:00Z"),), "its producer's clock, or its unit of time, is wrong"),
        ((("ce_time", b"yesterday"),), "is no valid CloudEvent"),
    ],
)
async def test_an_event_of_an_impossible_time_is_a_dead_letter(headers: Any, told: str) -> None:
    bench = await _opened()
    event = (("ce_specversion", b"1.0"), ("ce_type", b"t"), ("ce_source", b"s"), ("ce_id", b"1"))
    await bench.publish("a", headers=(*event, *headers))
    await bench.ingested()
    ((value, said),) = bench.letters()
    assert value == {"key": "k", "n": 1}
    assert told in said


async def test_an_event_that_its_type_does_not_write_is_no_defect_of_the_engine() -> None:
    def no(value: Any) -> Any:
        raise ValueError("cannot be written")

    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[Any, PlainSerializer(no)])
    one = Gathers("batch", (Side("a", adapter, lambda data: data["key"]),), size=1, wait_ms=_MINUTE)
    bench = await _opened(Trigger("a", "gathered", "a", "pairs", ANY, gathers=one))
    await bench.publish("a")
    await bench.ingested()
    (letter,) = bench.log.records(TOPICS.dead_letters, 0)
    headers = dict(letter.headers)
    assert headers["beluga-reason"] == b"execution_failed"
    assert b"the type of trigger a raised" in headers["beluga-message"]


async def test_a_record_without_its_key_is_a_dead_letter() -> None:
    bench = await _opened()
    await bench.log.append([Outgoing("a", None, b'{"n": 1}')])
    await bench.ingested()
    ((_, told),) = bench.letters()
    assert "the key of trigger a+b raised KeyError" in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "~schedule/x"},
        {"key": "5e/f/1"},
        {"side": 7},
        {"place": "nowhere"},
        {"place": "a/0/x"},
        {"record": {"kind": "inline", "value": 7}},
        {"record": {"kind": "inline", "value": {"key": None, "value": "{}", "headers": 7}}},
        {"type": "ticks_due", "after_ms": None, "ticks": [1], "until_ms": 1},
    ],
)
async def test_a_record_of_its_own_topic_that_nobody_can_apply_ends_no_gatherer(wrong: dict[str, Any]) -> None:
    bench = await _opened()
    await bench.publish("a", key="wrong")
    await bench.publish("b", key="wrong")
    await bench.ingested()
    for record in bench.log.records(TOPICS.trigger_events, 0):
        tree = orjson.loads(record.value or b"") | wrong
        await bench.log.append([Outgoing(TOPICS.trigger_events, tree["key"].encode(), orjson.dumps(tree))])
    bench.gatherer.passed(TOPICS.trigger_events, 0, 2)  # first only those that are wrong
    await bench.gathered(commits=False)
    bench.clock.now += 10 * _MINUTE
    for _ in range(3):
        await bench.look()
        await bench.gathered(commits=False)
    await bench.taken_over()
    await bench.publish("a", key="right")
    await bench.publish("b", key="right")
    await bench.ingested()
    await bench.gathered()
    assert (await bench.payloads.load(bench.starts()[-1].input))[0]["key"] == "right"


async def test_a_garbled_record_of_its_own_topic_harms_nobody() -> None:
    bench = await _opened()
    await bench.log.append([Outgoing(TOPICS.trigger_events, b"x", b'{"v": 1, "type": "no_such"}', partition=0)])
    await bench.publish("a")
    await bench.publish("b")
    await bench.ingested()
    await bench.gathered()
    assert len(bench.starts()) == 1
    assert len(bench.letters()) == 1


async def test_an_event_whose_blob_is_gone_is_told_by_its_place() -> None:
    bench = await _opened()
    await bench.log.append([Outgoing("a", b"k", orjson.dumps({"key": "k", "n": "x" * 100_000}))])
    await bench.publish("b")
    await bench.ingested()
    bench.blobs.stored.clear()
    await bench.gathered()
    assert bench.starts() == []
    assert len(bench.letters()) == 2
    sources = {dict(record.headers)["beluga-source"] for record in bench.log.records(TOPICS.dead_letters, 0)}
    assert b"b/0/0" in sources
