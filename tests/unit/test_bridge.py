"""The role `workflows`: in order for each run, patient, and nobody is left to wait for what cannot be."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.durable.bridge import Bridge, BridgeOptions
from beluga_stream.application.messages import LookAfter
from beluga_stream.application.payloads import Payloads
from beluga_stream.domain.events import (
    CancelRequested,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
)
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import AccessDenied, Fenced, InvalidGraph, LogUnavailable, NotFound
from beluga_stream.ports.log import Record
from beluga_stream.ports.workflows import WorkflowState
from tests.unit.engines import TOPICS

ROOT = RunId("a" * 32)
RUN = RunId(f"{ROOT}.sub")
PARENT = Parent(ROOT, ROOT, NodeKey("sub"))


class Moving:
    """A clock whose sleeps are over at once, and counted."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.gate: asyncio.Event | None = None

    def now_ms(self) -> int:
        return 7

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await (asyncio.sleep(0) if self.gate is None else self.gate.wait())


class Host:
    """The port `Workflows`, as the test wants it to answer."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: list[Exception] = []
        self.away: set[RunId] = set()
        self.state: WorkflowState = "running"
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def _called(self, what: str, run: RunId) -> None:
        if self.gate is not None and what == "start":
            await self.gate.wait()
        if run in self.away:
            raise LogUnavailable("nobody answers for this one")
        if self.fails:
            raise self.fails.pop(0)
        self.calls.append(f"{what} {run.rpartition('.')[2]}")

    async def start(self, request: RunRequested) -> None:
        await self._called("start", request.run)

    async def signal(self, event: SignalReceived) -> None:
        await self._called("signal", event.run)

    async def cancel(self, event: CancelRequested) -> None:
        await self._called("cancel", event.run)

    async def retry(self, event: RetryRequested) -> None:
        await self._called("retry", event.run)

    async def describe(self, run: RunId) -> WorkflowState:
        await self._called("describe", run)
        return self.state

    async def close(self) -> None:
        self.closed = True


class Bench:
    """A bridge over a log in memory."""

    def __init__(self, **options: Any) -> None:
        self.log = MemoryLog()
        self.log.create(TOPICS.specs(["default"]))
        self.host = Host()
        self.clock = Moving()
        self.bridge = Bridge(
            topics=TOPICS,
            workflows=self.host,
            catalog=Catalog(self.log, TOPICS),
            appender=self.log,
            payloads=Payloads(MemoryBlobs()),
            clock=self.clock,
            options=BridgeOptions(**options),
        )

    async def handle(self, *requests: Any) -> "asyncio.Future[None]":
        return await self.given([_record(number, request) for number, request in enumerate(requests)])

    async def given(self, records: Sequence[Record]) -> "asyncio.Future[None]":
        done = await self.bridge.handle(records)
        assert done is not None
        return asyncio.ensure_future(done)

    def told(self) -> list[Any]:
        """What the coordinator is told."""
        return [codec.incoming.decode(record.value) for record in self.log.records(TOPICS.run_events, 0)]

    def letters(self) -> Sequence[Record]:
        return self.log.records(TOPICS.dead_letters, 0)


def _record(offset: int, request: Any) -> Record:
    value = codec.workflow_requests.encode(request)
    return Record(TOPICS.workflow_requests, 0, offset, request.key.encode(), value)


def start(run: RunId = RUN, parent: Parent | None = PARENT) -> RunRequested:
    return RunRequested(run=run, key=ROOT, at_ms=0, graph="sale", input=Inline(1), digest="d", parent=parent)


def signal(run: RunId = RUN) -> SignalReceived:
    return SignalReceived(run=run, key=ROOT, at_ms=0, signal="go", id="1", value=Inline(1), parent=ROOT)


def cancel(run: RunId = RUN) -> CancelRequested:
    return CancelRequested(run=run, key=ROOT, at_ms=0)


def look(counter: int = 4) -> LookAfter:
    return LookAfter(run=RUN, key=ROOT, at_ms=0, parent=PARENT, counter=counter)


async def test_requests_of_a_run_are_done_in_their_order_and_others_beside_them() -> None:
    bench = Bench()
    bench.host.gate = asyncio.Event()
    done = await bench.handle(start(), signal(), cancel(), cancel(RunId(f"{ROOT}.other")))
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.host.calls == ["cancel other"]
    assert not done.done()
    bench.host.gate.set()
    await done
    assert bench.host.calls == ["cancel other", "start sub", "signal sub", "cancel sub"]


@pytest.mark.parametrize("error", [LogUnavailable("Temporal is away"), AccessDenied("Temporal refuses the login")])
async def test_while_nobody_answers_it_waits_and_loses_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(longest_pause_seconds=2.0)
    bench.host.fails = [error] * 5
    await (await bench.handle(start(), signal()))
    assert bench.host.calls == ["start sub", "signal sub"]
    assert bench.clock.slept == [0.5, 1.0, 2.0, 2.0, 2.0]
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions == ["workflows_away", "workflows_back"], "one line for each, however long it takes"


@pytest.mark.parametrize("refusal", [NotFound("it has ended"), InvalidGraph("no such thing")])
async def test_a_refusal_is_an_answer_and_ends_the_wait_of_all(
    caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    bench = Bench()
    bench.host.fails = [LogUnavailable("away"), refusal]
    await (await bench.handle(cancel()))
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert [action for action in actions if action.startswith("workflows_")] == ["workflows_away", "workflows_back"]


async def test_a_start_that_cannot_be_is_told_to_who_waits_for_it() -> None:
    bench = Bench()
    bench.host.fails = [InvalidGraph("it has limits")]
    await (await bench.handle(start()))
    [told] = bench.told()
    assert (told.run, told.node, told.child, told.status) == (ROOT, "sub", RUN, "rejected")
    assert (told.failure.code, told.failure.message) == ("invalid_config", "it has limits")
    assert not bench.letters()


async def test_what_else_cannot_be_done_is_a_dead_letter() -> None:
    bench = Bench()
    bench.host.fails = [InvalidGraph("no"), InvalidGraph("no")]
    await (await bench.handle(cancel(), start(RunId("b" * 32), None)))
    assert len(bench.letters()) == 2
    assert bench.told() == []


async def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on() -> None:
    bench = Bench()
    other = _record(1, cancel())._replace(key=b"another")
    junk = Record(TOPICS.workflow_requests, 0, 0, b"x", b"{")
    await (await bench.given([junk, other, _record(2, cancel())]))
    assert len(bench.letters()) == 2
    assert bench.host.calls == ["cancel sub"]


async def test_a_signal_to_a_run_that_has_ended_is_moot() -> None:
    bench = Bench()
    bench.host.fails = [NotFound("it has ended")]
    await (await bench.handle(signal()))
    assert bench.told() == []
    assert not bench.letters()


async def test_a_start_that_finds_no_code_is_told_and_not_moot() -> None:
    bench = Bench()
    bench.host.fails = [NotFound("no graph is deployed")]
    await (await bench.handle(start()))
    assert [told.failure.code for told in bench.told()] == ["invalid_state"]


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("terminated", "failed", "task_canceled"),
        ("timed_out", "failed", "timeout"),
        ("unknown", "failed", "not_found"),
        ("failed", "failed", "execution_failed"),
        ("cancelled", "cancelled", "task_canceled"),
    ],
)
async def test_the_end_that_a_run_could_not_tell_is_told_for_it(state: WorkflowState, status: str, code: str) -> None:
    bench = Bench()
    bench.host.state = state
    await (await bench.handle(look(counter=4)))
    [told] = bench.told()
    assert (told.run, told.node, told.child, told.status, told.failure.code) == (ROOT, "sub", RUN, status, code)
    assert told.counter == 5, "it is no news once a later end was told"
    assert not told.may_go_on


@pytest.mark.parametrize("state", ["running", "succeeded"])
async def test_a_run_that_goes_on_or_has_told_its_end_is_left_alone(state: WorkflowState) -> None:
    bench = Bench()
    bench.host.state = state
    await (await bench.handle(look()))
    assert bench.told() == []


async def test_no_more_is_taken_than_it_may_have_under_way() -> None:
    bench = Bench(waiting=2)
    bench.host.gate = asyncio.Event()
    done = await bench.handle(start(), signal())
    assert bench.bridge.held_back == {TOPICS.workflow_requests}
    bench.host.gate.set()
    await done
    assert bench.bridge.held_back == frozenset()


async def test_what_is_under_way_when_it_stops_is_not_acknowledged_and_nothing_overtakes_it() -> None:
    bench = Bench(longest_pause_seconds=0.0)
    bench.host.gate = asyncio.Event()
    done = await bench.handle(start(), signal())
    await bench.bridge.close()
    assert not done.done()
    assert bench.host.calls == []
    assert bench.bridge.running == 0
    assert bench.host.closed


async def test_what_waits_for_an_answer_holds_up_nothing_else() -> None:
    bench = Bench(at_once=2)
    bench.clock.gate = asyncio.Event()
    bench.host.away = {RunId(f"{ROOT}.{number}") for number in range(2)}
    done = await bench.handle(*(start(run) for run in sorted(bench.host.away)), cancel())
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.host.calls == ["cancel sub"]
    bench.host.away.clear()
    bench.clock.gate.set()
    await done
    assert sorted(bench.host.calls) == ["cancel sub", "start 0", "start 1"]


async def test_a_request_that_breaks_for_no_known_reason_is_given_up_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.host.fails = [RuntimeError("a bug")] * 10
    await (await bench.handle(start(), signal(), cancel()))
    [told] = bench.told()
    assert (told.status, told.failure.code) == ("rejected", "internal")
    assert "RuntimeError: a bug" in told.failure.message
    assert len(bench.letters()) == 1, "the signal; the cancel is done"
    assert bench.host.calls == ["cancel sub"]
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True] * 10


async def test_a_passing_error_is_got_over() -> None:
    bench = Bench()
    bench.host.fails = [OSError("a hiccup")]
    await (await bench.handle(start()))
    assert bench.host.calls == ["start sub"]
    assert bench.told() == []


async def test_two_that_end_the_role_are_both_heard() -> None:
    bench = Bench()
    bench.host.fails = [Fenced("another owns it"), Fenced("another owns it")]
    done = await bench.handle(start(), start(RunId(f"{ROOT}.other")))
    with pytest.raises(Fenced):
        await done
