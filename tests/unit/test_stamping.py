"""The owner's clock decides what time does to a run: not those of clients, workers and others who write events."""

from typing import Any

import pytest
from msgspec.structs import replace

from beluga_stream.application import codec
from beluga_stream.application.coordinator.stamping import stamped
from beluga_stream.application.messages import Segment
from beluga_stream.application.worker.fusion import segment
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import CancelRequested, RetryRequested, RunRequested, SignalReceived
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import RunState
from beluga_stream.ports.log import Outgoing
from tests.unit.coordinating import NAMES, OWNED, Bench, done, failure, requested
from tests.unit.graphs import edges, node, plan

NOW = 1_700_000_000_000
SKEWS = [-NOW, -600_000, 0, 600_000]


async def bench_of(definition: Plan, **options: int) -> Bench:
    bench = Bench(**options)
    bench.plan = definition
    bench.clock.now = NOW
    bench.coordinator = bench.another()
    await bench.coordinator.acquire(OWNED)
    return bench


def kept(bench: Bench, run: str = "r") -> RunState:
    return codec.kept.decode(bench.tables.changelogs[0].rows[run]).state


def ask(kind: Any, at_ms: int, **more: Any) -> Any:
    return kind(run=RunId("r"), key="r", at_ms=at_ms, **more)


@pytest.mark.parametrize("skew", SKEWS)
async def test_a_run_has_its_time_from_when_it_is_taken_up(skew: int) -> None:
    bench = await bench_of(plan([node("a")], edges("input > a"), ["a"], timeout_ms=60_000))
    await bench.tell(NAMES.run_requests, replace(requested(), at_ms=NOW + skew))
    assert (kept(bench).started_ms, kept(bench).due_ms) == (NOW, NOW + 60_000)


@pytest.mark.parametrize("skew", SKEWS)
async def test_pauses_sleeps_and_waits_are_as_long_as_they_are_declared(skew: int) -> None:
    nodes = [
        node("a", retry=RetryPolicy(attempts=3, first_ms=1_000, most_ms=1_000)),
        node("b"),
        node("nap", NodeKind.SLEEP, timeout_ms=8_000),
        node("wait", NodeKind.WAIT, signal="go", timeout_ms=9_000),
    ]
    bench = await bench_of(plan(nodes, edges("input > a", "input > b > nap", "b > wait"), ["a"]))
    await bench.tell(NAMES.run_requests, replace(requested(), at_ms=NOW + skew))
    await bench.tell(NAMES.node_done, replace(failure("r", "a"), at_ms=NOW + skew, retryable=True))
    await bench.tell(NAMES.node_done, replace(done("r", "b"), at_ms=NOW + skew))
    due = {key: (state.due_ms or 0) - NOW for key, state in kept(bench).nodes.items() if state.due_ms}
    assert 0 < due.pop("a") <= 1_000  # type: ignore[call-overload]
    assert due == {"nap": 8_000, "wait": 9_000}


@pytest.mark.parametrize("skew", SKEWS)
async def test_a_signal_that_came_early_waits_for_its_run(skew: int) -> None:
    bench = await bench_of(
        plan(
            [node("wait", NodeKind.WAIT, signal="go"), node("nap", NodeKind.SLEEP, timeout_ms=5_000)],
            edges("input > wait > nap"),
            ["nap"],
        )
    )
    await bench.tell(NAMES.run_events, ask(SignalReceived, NOW + skew, signal="go", id="1", value=Inline(1)))
    bench.clock.now += 60_000
    await bench.tell(NAMES.run_requests, requested("other"))
    await bench.tell(NAMES.run_requests, replace(requested(), at_ms=NOW + skew))
    assert bench.written(NAMES.dead_letters) == []
    assert kept(bench).nodes["nap"].due_ms == bench.clock.now + 5_000  # type: ignore[index]


@pytest.mark.parametrize("skew", SKEWS)
async def test_a_cancel_before_its_run_is_remembered_for_the_whole_window(skew: int) -> None:
    bench = await bench_of(plan([node("a")], edges("input > a"), ["a"]), dedup_window_ms=10_000)
    await bench.tell(NAMES.run_events, ask(CancelRequested, NOW + skew))
    bench.clock.now += 9_000
    await bench.tell(NAMES.run_requests, requested("other"))
    await bench.tell(NAMES.run_requests, requested())
    assert kept(bench).status == "cancelled"
    bench.clock.now += 2_000
    await bench.tell(NAMES.run_requests, requested("third"))
    assert "r" not in bench.tables.changelogs[0].rows


@pytest.mark.parametrize("skew", SKEWS)
async def test_a_retry_without_an_id_counts_each_time_it_is_sent_and_once_however_often_it_is_read(skew: int) -> None:
    bench = await bench_of(plan([node("a")], edges("input > a"), ["a"], timeout_ms=60_000))
    await bench.tell(NAMES.run_requests, requested())
    for attempt in (1, 2, 3):
        failed = replace(failure("r", "a"), attempt=attempt)
        await bench.tell(NAMES.node_done, failed)
        assert kept(bench).status == "failed"
        # A clock shows each of them another time, unless there is none.
        record = await bench.tell(NAMES.run_events, ask(RetryRequested, NOW + skew + (attempt if skew > -NOW else 0)))
        assert (kept(bench).status, kept(bench).due_ms) == ("running", NOW + 60_000)
    await bench.tell(NAMES.node_done, replace(failure("r", "a"), attempt=4))
    await bench.handle(record)
    assert kept(bench).status == "failed"


def test_a_segment_ends_now_and_lasted_as_long_as_it_did() -> None:
    told = segment([replace(done("r", "a"), at_ms=7_000), replace(done("r", "b"), at_ms=7_300)])
    taken_up = stamped(told, 3, NOW)
    assert isinstance(taken_up, Segment)
    assert [outcome.at_ms for outcome in taken_up.outcomes] == [NOW - 300, NOW]
    backwards = stamped(segment([replace(done("r", "a"), at_ms=9_000), replace(done("r", "b"), at_ms=7_000)]), 3, NOW)
    assert isinstance(backwards, Segment)
    assert [outcome.at_ms for outcome in backwards.outcomes] == [NOW, NOW], "its clock was set back meanwhile"


async def test_a_summary_says_which_request_started_its_run() -> None:
    bench = await bench_of(plan([node("a")], edges("input > a"), ["a"]))
    for run in ("other", "r"):
        forged = replace(requested(run), offset=99)
        await bench.log.append([Outgoing(NAMES.run_requests, run.encode(), codec.incoming.encode(forged))])
        await bench.handle(bench.written(NAMES.run_requests)[-1])
    summaries = [codec.summaries.decode(record.value) for record in bench.written(NAMES.runs)]
    assert [(summary.run, summary.request) for summary in summaries] == [("other", 0), ("r", 1)]
    asked = codec.incoming.decode(bench.written(NAMES.run_requests)[1].value)
    assert isinstance(asked, RunRequested)
