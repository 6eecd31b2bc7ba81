"""The front desk, over the real coordinator and worker on a log in memory."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from beluga_stream.api.client import Client
from beluga_stream.application import codec
from beluga_stream.application.catalog import publish
from beluga_stream.application.clients.answer import Asked
from beluga_stream.application.clients.results import (
    Chunk,
    Event,
    NodeChanged,
    Refill,
    RunChanged,
    RunReader,
    StartRejected,
    Superseded,
)
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.clients.summaries import check_retry
from beluga_stream.application.coordinator.coordinator import CoordinatorOptions
from beluga_stream.application.messages import ChunkEmitted, NodeChange, Progress, Rejected, RunChange
from beluga_stream.application.partitioner import partition_of
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.errors import Expired, InvalidInput, InvalidState, RunFailed, RunRejected, TaskCanceled, TimedOut
from beluga_stream.ports.handlers import Handler, Parameter
from beluga_stream.ports.log import Outgoing
from tests.unit.desks import PARTITIONS, Desk, Mood, graph
from tests.unit.engines import ANY, handler, program
from tests.unit.graphs import edges, node, plan


async def test_a_run_is_started_and_followed_to_its_end() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        events = [event async for event in runs.follow(run)]
        assert [event.status for event in events if isinstance(event, RunChanged)] == ["running", "succeeded"]
        assert [event.status for event in events if isinstance(event, NodeChanged)] == ["ready", "succeeded"]
        assert await runs.result(run) == 8
        assert await runs.outputs(run, "a") == 8


async def test_starts_that_come_together_under_one_key_are_followed_once() -> None:
    async with Desk(graph(Mood())).client() as runs:
        await asyncio.gather(*(runs.start("test", 4, idempotency_key="k") for _ in range(3)))
        tails = runs._following._tails._tails.values()
        assert [len(followers) for tail in tails for followers in tail.followers.values()] == [1]


async def test_who_gives_up_before_a_run_has_begun_leaves_nobody_behind_that_follows_it() -> None:
    async with Desk(graph(Mood())).client() as runs:  # no coordinator takes the start up
        run = await runs.start("test", 4, idempotency_key="k")
        with pytest.raises(TimedOut, match="nothing was heard of it"):
            await runs.result(run, timeout_seconds=0.01)
        assert [tail.followers for tail in runs._following._tails._tails.values()] == [{}]


async def test_who_waits_in_vain_is_told_whether_the_run_was_heard_of() -> None:
    of = plan([node("a", NodeKind.WAIT, signal="go")], edges("input > a"), ["a"])
    async with Desk(program(of, {})).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        async with aclosing(runs.follow(run)) as events:
            await anext(events)
        with pytest.raises(TimedOut, match="it goes on"):
            await runs.result(run, timeout_seconds=0.2)
        with pytest.raises(TimedOut, match="nothing was heard of it"):
            await runs.result(RunId("nobody"), timeout_seconds=0.2)


async def test_a_key_that_was_used_gives_the_run_that_it_started() -> None:
    mood = Mood()
    async with Desk(graph(mood)).open() as desk, desk.client() as runs, desk.client() as others:
        first = await runs.start("test", 4, idempotency_key="k")
        assert await runs.result(first) == 8
        for client in (runs, others):
            assert await client.start("test", 4, idempotency_key="k") == first
            assert await client.result(first) == 8
    assert mood.calls == 1


async def test_a_key_with_another_input_is_refused_to_who_gave_it_and_to_nobody_else() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs, desk.client() as others:
        run = await runs.start("test", 4, idempotency_key="k")
        assert await others.start("test", 5, idempotency_key="k") == run
        with pytest.raises(RunRejected) as refused:
            await others.result(run)
        assert refused.value.reason == "idempotency_conflict"
        assert await runs.result(run) == 8
        async with desk.client() as third:
            assert await third.result(run) == 8


async def test_a_key_of_a_run_that_has_ended_is_refused_to_who_gave_it_as_often_as_they_ask() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs, desk.client() as others:
        run = await runs.start("test", 4, idempotency_key="k")
        assert await runs.result(run) == 8
        await others.start("test", 5, idempotency_key="k")
        for _ in range(3):
            with pytest.raises(RunRejected) as refused:
                await others.result(run)
            assert refused.value.reason == "idempotency_conflict"
        events = [event async for event in others.follow(run)]
        assert isinstance(events[-1], StartRejected)
        assert [event async for event in runs.follow(run)] == events[:-1]
        assert await runs.result(run) == 8


async def test_a_refusal_is_the_answer_whatever_comes_of_the_run_after_it() -> None:
    gate = asyncio.Event()

    async def wait(value: int) -> int:
        await gate.wait()
        return value

    of = plan([node("a")], edges("input > a"), ["a"])
    async with Desk(program(of, {"a": handler(wait)})).open() as desk, desk.client() as runs, desk.client() as others:
        run = await runs.start("test", 4, idempotency_key="k")
        await others.start("test", 5, idempotency_key="k")
        for _ in range(2):
            with pytest.raises(RunRejected):
                await others.result(run)
            gate.set()
            assert await runs.result(run) == 4
        assert isinstance([event async for event in others.follow(run)][-1], StartRejected)


def status(run: RunId, status: str, counter: int, digest: str, output: int | None = None) -> Progress:
    given = None if output is None else Inline(output)
    return Progress(run=run, graph="test", at_ms=1, status=RunChange(status, counter, given, digest=digest))


async def tell(desk: Desk, *records: Progress | Rejected) -> None:
    topic = desk.topics.run_results
    await desk.log.append([Outgoing(topic, each.run.encode(), codec.results.encode(each)) for each in records])


async def test_a_start_with_another_input_changes_nothing_for_who_asks_at_the_same_desk() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs:

        @asynccontextmanager
        async def opener() -> AsyncIterator[Runs]:
            yield runs

        async with Client(opener) as client:
            first = await client.start("test", 4, idempotency_key="k")
            assert await first.result() == 8
            asked = runs.asked(RunId(first.id))
            second = await client.start("test", 5, idempotency_key="k")
            # Before who has given the other input asks: their refusal is the first that is heard.
            watched = [event async for event in runs.follow(RunId(first.id), asked=Asked())]
            assert [event.status for event in watched if isinstance(event, RunChanged)] == ["running", "succeeded"]
            for _ in range(2):
                with pytest.raises(RunRejected):
                    await second.result()
                assert await first.result() == 8
                assert await runs.outputs(RunId(first.id), "a", asked=asked) == 8
                assert isinstance([event async for event in first.stream()][-1], RunChanged)
                assert isinstance([event async for event in second.stream()][-1], StartRejected)


async def test_the_end_of_a_run_is_no_answer_to_who_gave_its_key_with_another_input() -> None:
    desk = Desk()
    async with desk.client() as runs, desk.client() as others:
        run = await runs.start("test", 4, idempotency_key="k")
        started = await others.request("test", 5, idempotency_key="k")
        theirs = runs.asked(run).digest or ""
        # The run ends before its coordinator has read the second start.
        await tell(desk, status(run, "running", 1, theirs), status(run, "succeeded", 2, theirs, 8))
        with pytest.raises(TimedOut, match="it goes on"):
            await others.result(run, timeout_seconds=0.05)
        refused = Rejected(
            run=run, graph="test", at_ms=1, code="idempotency_conflict", message="no", digest=started.digest
        )
        await tell(desk, refused)
        for _ in range(2):
            with pytest.raises(RunRejected):
                await others.result(run)
        assert await runs.result(run) == 8
        async with desk.client() as third:
            assert await third.result(run) == 8


async def test_a_run_that_was_forgotten_and_begins_again_with_another_input_is_that_of_who_gave_it() -> None:
    desk = Desk()
    async with desk.client() as runs, desk.client() as others, desk.client() as gateway:
        first = await runs.request("test", 4, idempotency_key="k")
        run = first.run
        await tell(desk, status(run, "running", 1, first.digest), status(run, "succeeded", 9, first.digest, 8))
        second = await others.request("test", 5, idempotency_key="k")
        await tell(desk, status(run, "running", 1, second.digest), status(run, "succeeded", 2, second.digest, 10))
        async with asyncio.timeout(5):
            asked = Asked(second.digest, second.since)
            events = [event async for event in gateway.listen(run, asked=asked) if isinstance(event, RunChanged)]
        assert [event.status for event in events] == ["running", "succeeded"] * 2
        assert events[-1].output == Inline(10)


async def test_nobody_waits_for_a_refusal_that_is_kept_no_longer() -> None:
    desk = Desk()
    async with desk.client() as runs, desk.client() as others, desk.client() as gateway:
        first = await runs.request("test", 4, idempotency_key="k")
        run = first.run
        second = await others.request("test", 5, idempotency_key="k")
        await tell(desk, status(run, "running", 1, first.digest), status(run, "succeeded", 2, first.digest, 8))
        desk.log.drop_before(desk.topics.run_results, partition_of(run.encode(), PARTITIONS), 1)
        with pytest.raises(Expired, match="the answer to this start"):
            async with asyncio.timeout(5):
                _ = [event async for event in gateway.listen(run, asked=Asked(second.digest, second.since))]


async def test_statuses_of_a_run_say_what_input_it_was_started_with() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs:
        started = await runs.request("test", 4)
        events = [event async for event in runs.follow(started.run)]
        assert {event.digest for event in events if isinstance(event, RunChanged)} == {started.digest}


async def test_a_start_that_nobody_would_answer_is_refused_at_once() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs:
        with pytest.raises(InvalidInput, match="may have 262144"):
            await runs.start("test", 4, tags={f"tag-{number}": "x" * 3_000 for number in range(100)})
        assert not any((await desk.log.end(desk.topics.run_requests)).values())


async def test_the_stream_of_a_start_that_was_refused_ends() -> None:
    async with Desk().open() as desk, desk.client() as runs:
        run = await runs.start("unknown", 4)
        for _ in range(2):
            (event,) = [event async for event in runs.follow(run)]
            assert isinstance(event, StartRejected)
            assert event.code == "not_found"


async def test_a_refusal_that_follows_a_retry_does_not_end_it() -> None:
    mood = Mood(broken=True)
    async with Desk(graph(mood)).open() as desk, desk.client() as runs, desk.client() as others:
        run = await runs.start("test", 4, idempotency_key="k")
        with pytest.raises(RunFailed):
            await runs.result(run)
        retried = (await desk.log.end(desk.topics.run_results))[partition_of(run.encode(), PARTITIONS)]
        await others.start("test", 5, idempotency_key="k")
        with pytest.raises(RunRejected):
            await others.result(run)

        async def to_its_end() -> None:
            async with aclosing(runs.listen(run, asked=Asked(retried=retried))) as events:
                async for _ in events:
                    pass

        with pytest.raises(TimeoutError):  # the end from before the retry is none
            await asyncio.wait_for(to_its_end(), 0.1)


async def test_an_unknown_graph_and_a_wrong_input_are_refused_and_may_come_again() -> None:
    program_ = graph(Mood(), "later")
    async with Desk().open() as desk, desk.client() as runs:
        run = await runs.start("later", 4, idempotency_key="k")
        with pytest.raises(RunRejected, match="later") as refused:
            await runs.result(run)
        assert refused.value.reason == "not_found"
        await publish(desk.log, desk.topics, [program_.definition])
        await runs.start("later", 4, idempotency_key="k")
        with pytest.raises(TimedOut):  # it is parked: no worker has its code
            await runs.result(run, timeout_seconds=0.2)
        await runs.cancel(run)
        with pytest.raises(TaskCanceled):
            await runs.result(run)


async def test_the_result_of_a_retried_run_is_the_later_one() -> None:
    mood = Mood(broken=True)
    async with Desk(graph(mood)).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        with pytest.raises(RunFailed, match="broken"):
            await runs.result(run)
        await runs.retry(run)
        with pytest.raises(RunFailed, match="broken"):
            await runs.result(run)
        mood.broken = False
        await runs.retry(run)
        assert await runs.result(run) == 8
        async with desk.client() as others:
            assert await others.result(run) == 8


async def test_a_retry_that_would_change_nothing_is_refused() -> None:
    async def do(value: int) -> int:
        if value < 0:
            raise ValueError("broken")
        return -value

    async def undo(value: int, output: int) -> None:
        pass

    of = plan(
        [
            node("a", has_compensation=True),
            node("b", retry=RetryPolicy(attempts=1)),
            node("w", NodeKind.WAIT, signal="go"),
        ],
        edges("input > a > b > w"),
        ["w"],
    )
    back = Handler(undo, (Parameter("value", ANY), Parameter("output", ANY)), ANY)
    undone = program(of, {"a": handler(do, compensate=back), "b": handler(do)})
    async with Desk(undone).open() as desk, desk.client() as runs:
        run = await runs.start("test", 1)
        with pytest.raises(RunFailed, match="broken"):
            await runs.result(run)
        await shown(runs, run, "failed")
        with pytest.raises(InvalidState, match="undone"):
            await runs.retry(run)
        run = await runs.start("test", -1)
        await runs.cancel(run)
        await shown(runs, run, "cancelled")
        with pytest.raises(InvalidState, match="is cancelled: only a failed run"):
            await runs.retry(run)
        await runs.retry(RunId("0" * 32))  # it may begin and fail before this is read


async def shown(runs: Runs, run: RunId, status: str) -> None:
    """Until its summary says so: it follows the run's stream."""
    while (summary := await runs.summary(run)) is None or summary.status != status:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_failed_run_can_be_retried_as_long_as_the_coordinator_remembers_it() -> None:
    async with Desk(graph(Mood(broken=True))).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        with pytest.raises(RunFailed):
            await runs.result(run)
        await shown(runs, run, "failed")
        summary = await runs.summary(run)
    assert summary is not None
    assert summary.ended_ms is not None
    until_ms = summary.ended_ms + CoordinatorOptions().dedup_window_ms
    assert summary.retry_until_ms == until_ms
    check_retry(run, summary, until_ms)
    with pytest.raises(Expired, match="BELUGA_DEDUP_WINDOW_HOURS"):
        check_retry(run, summary, until_ms + 1)
    check_retry(run, replace(summary, retry_until_ms=None), until_ms + 1)  # by one that did not tell
    check_retry(run, replace(summary, status="running"), until_ms + 1)
    with pytest.raises(InvalidState, match="undone"):  # whatever the clock of who asks says
        check_retry(run, replace(summary, retry_until_ms=summary.ended_ms), summary.ended_ms - 1)


async def test_a_cancel_before_its_run_is_its_end() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs:
        run = run_id("test", "api", "k")
        await runs.cancel(run, "no need")
        assert await runs.start("test", 4, idempotency_key="k") == run
        with pytest.raises(TaskCanceled):
            await runs.result(run)


async def test_a_signal_before_its_run_is_kept_for_it() -> None:
    of = plan([node("a", NodeKind.WAIT, signal="go")], edges("input > a"), ["a"])
    async with Desk(program(of, {})).open() as desk, desk.client() as runs:
        run = run_id("test", "api", "k")
        await runs.signal(run, "go", "hello")
        assert desk.log.records(desk.topics.dead_letters, 0) == []
        await runs.start("test", 4, idempotency_key="k")
        assert await runs.result(run) == "hello"


async def test_a_stream_goes_on_after_a_cursor() -> None:
    async def stream(value: int) -> Any:
        for number in range(value):
            yield number

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"])
    async with Desk(program(of, {"a": handler(stream, streams=True)})).open() as desk, desk.client() as runs:
        run = await runs.start("test", 5)
        whole = [event async for event in runs.follow(run)]
        chunks = [event for event in whole if isinstance(event, Chunk)]
        assert [chunk.value for chunk in chunks] == list(range(5))
        for number, event in enumerate(whole[:-1], start=1):
            rest = [later async for later in runs.follow(run, after=event.cursor)]
            assert rest == whole[number:], "no event is lost or repeated, whichever is the last that was seen"
        for garbled in ("x", "0", "0-x", f"{1 - runs._partition(run)}-0"):
            with pytest.raises(InvalidInput):
                async with aclosing(runs.follow(run, after=garbled)) as events:
                    await anext(events)


async def test_who_heard_only_the_second_telling_of_a_beginning_goes_on_within_it() -> None:
    async with Desk(graph(Mood())).open() as desk, desk.client() as runs:
        run = await runs.start("test", 4)
        once = [event async for event in runs.follow(run)]
        partition = runs._partition(run)
        told = [codec.results.decode(each.value) for each in desk.log.records(desk.topics.run_results, partition)]
        other = next(
            each for each in (RunId(f"{n:032x}") for n in itertools.count()) if runs._partition(each) == partition
        )
        begins = len(told) + 1
        copies = [codec.results.encode(replace(each, run=other)) for each in (told[0], *told)]
        await desk.log.append(
            [Outgoing(desk.topics.run_results, other.encode(), each, partition=partition) for each in copies]
        )
        first = [event async for event in runs.follow(other)]
        rest = [event async for event in runs.follow(other, after=f"{partition}-{begins}.1")]
        assert [type(event) for event in first] == [type(event) for event in once]
        assert _said(rest) == _said(once[1:])


def _said(events: list[Event]) -> list[Any]:
    return [(type(event), getattr(event, "node", None), getattr(event, "status", None)) for event in events]


async def test_a_slow_follower_reads_what_it_missed_from_the_log() -> None:
    async def stream(value: int) -> Any:
        for number in range(value):
            yield number

    of = plan([node("a", NodeKind.STREAM)], edges("input > a"), ["a"])
    async with Desk(program(of, {"a": handler(stream, streams=True)})).open() as desk, desk.client() as runs:
        runs._following._tails._buffered = 3
        run = await runs.start("test", 50)
        async with desk.client() as others:
            assert await others.result(run) == list(range(50))
        assert runs._following._mine[run].follower.lagging
        events = [event async for event in runs.follow(run)]
        assert [event.value for event in events if isinstance(event, Chunk)] == list(range(50))


# ------------------------------------------------------------------------------------------ RunReader

RUN = RunId("r")
A = NodeKey("a")


def chunk(incarnation: str, seq: int, attempt: int = 1) -> ChunkEmitted:
    return ChunkEmitted(
        run=RUN,
        node=A,
        attempt=attempt,
        incarnation=Incarnation(incarnation),
        seq=seq,
        value=Inline(f"{incarnation}{seq}"),
        at_ms=0,
    )


def told(*changes: NodeChange, status: RunChange | None = None) -> Progress:
    return Progress(run=RUN, graph="g", at_ms=0, nodes=changes, status=status)


def won(incarnation: str, chunks: int, counter: int = 9) -> Progress:
    output = Inline([f"{incarnation}{seq}" for seq in range(chunks)])
    return told(NodeChange(A, "succeeded", counter, 1, Incarnation(incarnation), chunks=chunks, output=output))


def read(*records: Progress | ChunkEmitted) -> list[str]:
    reader = RunReader()
    found: list[str] = []
    for record in records:
        for event in reader.read(record, "0-0"):
            match event:
                case Chunk():
                    found.append(f"{event.incarnation}{event.seq}")
                case Superseded():
                    found.append(f"superseded by {event.incarnation}")
                case Refill():
                    found.append(f"refilled from {event.incarnation}")
                case NodeChanged() | RunChanged():
                    found.append(event.status)
    return found


def test_repeated_statuses_and_chunks_are_shown_once() -> None:
    again = told(NodeChange(A, "ready", 1, 1))
    assert read(again, chunk("x", 0), chunk("x", 0), again, chunk("x", 1)) == ["ready", "x0", "x1"]


def test_two_incarnations_side_by_side_show_the_later_and_then_the_winner() -> None:
    both = [chunk("x", 0), chunk("x", 1), chunk("y", 0), chunk("x", 2), chunk("y", 1)]
    assert read(*both, won("y", 2)) == ["x0", "x1", "superseded by y", "y0", "y1", "succeeded"]
    assert read(*both, won("x", 3))[-3:] == ["superseded by x", "refilled from x", "succeeded"]


def test_chunks_of_an_earlier_attempt_and_after_the_end_are_not_shown() -> None:
    assert read(chunk("y", 0, attempt=2), chunk("x", 0), won("y", 1), chunk("y", 1, attempt=2)) == [
        "y0",
        "succeeded",
    ]


def test_statuses_of_one_record_come_in_their_order() -> None:
    failed = NodeChange(A, "failed", 3, 1)
    undo = NodeChange(NodeKey("b~undo"), "ready", 5, 1)
    assert read(told(failed, undo, status=RunChange("compensating", 4))) == ["failed", "compensating", "ready"]


def test_a_failed_run_that_undid_something_has_ended_for_good() -> None:
    reader = RunReader()
    steps = [("failed", False), ("running", False), ("compensating", False), ("failed", True)]
    for counter, (status, final) in enumerate(steps, 1):
        list(reader.read(told(status=RunChange(status, counter)), ""))
        assert reader.final is final
