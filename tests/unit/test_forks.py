"""Forks at the front desk: over the log and over a gateway, on an engine in this process."""

import asyncio

import pytest

from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.application import codec
from beluga_stream.application.messages import Rejected
from beluga_stream.application.requests import check_seals
from beluga_stream.domain.events import Fork, RunRequested, Taken
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline, Sealed
from beluga_stream.errors import IdempotencyConflict, InvalidInput, InvalidState, NotFound, RunRejected
from beluga_stream.ports.log import Outgoing, Record
from tests.unit.desks import PARTITIONS, Desk
from tests.unit.engines import handler, program
from tests.unit.gateways import desk_at, opened
from tests.unit.graphs import edges, name, node, plan

LONG = "x" * 200_000


class Works:
    """Two nodes in a row and one beside them; it counts what is executed."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.program = program(
            plan([node("a"), node("b"), node("c")], edges("input > a > b", "input > c"), ["b", "c"]),
            {"a": handler(self.a), "b": handler(self.b), "c": handler(self.c)},
        )

    async def a(self, value: int) -> str:
        self.executed.append("a")
        return f"{value}{LONG}"

    async def b(self, value: str) -> str:
        self.executed.append("b")
        return f"b{value[:3]}"

    async def c(self, value: int) -> int:
        self.executed.append("c")
        return value


def everything(desk: Desk, topic: str) -> list[Record]:
    return [record for partition in range(PARTITIONS) for record in desk.log.records(topic, partition)]


async def test_a_fork_executes_what_follows_and_owns_its_values() -> None:
    works = Works()
    async with Desk(works.program).open() as desk, desk.client() as runs:
        run = await runs.start("test", 7, tags={"who": "me"})
        assert await runs.result(run) == {"b": "b7xx", "c": 7}
        works.executed.clear()
        fork = await runs.fork(run, "b", idempotency_key="k")
        assert await runs.result(fork) == {"b": "b7xx", "c": 7}
        assert works.executed == ["b"]
        assert await runs.outputs(fork, "a") == f"7{LONG}"
        (request,) = [
            asked
            for record in everything(desk, desk.topics.run_requests)
            if isinstance(asked := codec.incoming.decode(record.value), RunRequested) and asked.run == fork
        ]
        assert request.fork is not None
        assert f"'{fork}/" in repr(request.fork.taken)
        assert f"'{run}/" not in repr(request.fork.taken)
        summary = await runs.summary(fork)
        assert summary is not None
        assert (summary.forked_from, summary.trigger, dict(summary.tags)) == (run, "fork", {"who": "me"})

        assert await runs.fork(run, "b", idempotency_key="k") == fork
        assert await runs.fork(run, "b", edited=Inline("other"), idempotency_key="k") == fork
        with pytest.raises(RunRejected) as refused:
            await runs.result(fork)
        assert refused.value.reason == IdempotencyConflict.code
        assert await runs.fork(run, "b") != await runs.fork(run, "b")


async def test_a_gateway_forks_with_the_same_answers() -> None:
    works = Works()
    async with Desk(works.program).open() as desk, opened(desk) as door, desk_at(door.url) as http:
        run = await http.start("test", 7)
        await http.result(run)
        works.executed.clear()
        fork = await http.fork(run, "b", edited=Inline("edited"))
        assert await http.result(fork) == {"b": "bedi", "c": 7}
        assert works.executed == ["b"]
        told = await http.summary(fork)
        assert told is not None
        assert told.forked_from == run
        none = await http.fork(run, "b", edited=Inline(None))
        with pytest.raises(Exception, match="NoneType"):
            await http.result(none)
        with pytest.raises(NotFound, match="has no node 'z'") as refused:
            await http.fork(run, "z")
        assert refused.value.ids == {"graph": "test", "node": "z"}
        with pytest.raises(InvalidInput, match="a part of a node"):
            await http.fork(run, "a[1]")
        with pytest.raises(NotFound, match="no run"):
            await http.fork(RunId("0" * 32), "a")


async def test_a_run_that_goes_on_is_forked_where_it_has_come_to() -> None:
    gate = asyncio.Event()

    async def held(value: int) -> int:
        await gate.wait()
        return value + 1

    async def first(value: int) -> int:
        return value * 10

    row = program(
        plan([node("a"), node("b"), node("c")], edges("input > a > b > c"), ["c"]),
        {"a": handler(first), "b": handler(held), "c": handler(first)},
    )
    async with Desk(row).open() as desk, desk.client() as runs:
        run = await runs.start("test", 1)
        assert await runs.outputs(run, "a") == 10
        fork = await runs.fork(run, "b", edited=Inline(5))
        with pytest.raises(InvalidState, match="needs what 'b' gives"):
            await runs.fork(run, "c")
        gate.set()
        assert await runs.result(fork) == 60
        assert await runs.result(run) == 110


async def test_a_forged_fork_is_rejected() -> None:
    works = Works()
    async with Desk(works.program).open() as desk, desk.client() as runs:
        forged = RunRequested(
            run=RunId("f" * 32), key="f" * 32, at_ms=1, graph="test", input=Inline(1), digest="d",
            fork=Fork(RunId("x"), name("b")),
        )  # fmt: skip
        await desk.log.append([Outgoing(desk.topics.run_requests, forged.key.encode(), codec.incoming.encode(forged))])
        with pytest.raises(RunRejected, match="must take over 'a'"):
            await runs.result(forged.run)
        told = [codec.results.decode(record.value) for record in everything(desk, desk.topics.run_results)]
        assert [each.code for each in told if isinstance(each, Rejected)] == ["invalid_input"]


_FOREIGN = Sealed("other", b"x")


@pytest.mark.parametrize(
    "fork",
    [
        Fork(RunId("x"), name("b"), {name("a"): Taken("succeeded", _FOREIGN)}),
        Fork(RunId("x"), name("b"), {}, {"": _FOREIGN}),
    ],
)
def test_a_fork_cannot_bring_what_is_encrypted_for_another_run(fork: Fork) -> None:
    asked = RunRequested(run=RunId("mine"), key="mine", at_ms=1, graph="g", input=Inline(1), digest="", fork=fork)
    with pytest.raises(InvalidInput, match="encrypted value of run other"):
        check_seals(asked)


class Skewed(SystemClock):
    """A clock that is so far ahead."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms


@pytest.mark.parametrize("ahead_ms", [-7_200_000, 7_200_000])
async def test_a_run_is_read_and_forked_whatever_the_clock_of_its_client_shows(ahead_ms: int) -> None:
    works = Works()
    async with Desk(works.program).open() as desk:
        async with desk.client(Skewed(ahead_ms)) as runs:
            run = await runs.start("test", 7, idempotency_key="k")
            assert await runs.result(run) == {"b": "b7xx", "c": 7}
            await runs.start("test", 8, idempotency_key="k")
        async with desk.client() as later:
            assert await later.result(run) == {"b": "b7xx", "c": 7}
            fork = await later.fork(run, "a")
            assert await later.result(fork) == {"b": "b7xx", "c": 7}, "and not what was refused under its key"
