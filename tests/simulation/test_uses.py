"""All that users do beside starting runs, and all that may come in, on an engine that fails as a seed decides."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Retry, Topic, node, on_run
from beluga_stream.application import codec
from beluga_stream.application.clients import snapshot
from beluga_stream.application.clients.cursor import Cursor
from beluga_stream.application.clients.results import NodeChanged
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.coordinator.coordinator import CoordinatorOptions
from beluga_stream.application.deadletters import ONLY, REASON, original
from beluga_stream.application.payloads import Payloads
from beluga_stream.bounds import within
from beluga_stream.domain.events import NodeSucceeded, RunRequested
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import InvalidInput, NotFound, RunFailed, RunRejected, TaskCanceled, TimedOut
from beluga_stream.ports.log import Outgoing, Record
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.faulty_ports import FaultyReader
from beluga_stream.testing.process import Faults, Process
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.uses import GO, RESULT_OF_3, every_kind, used

_SEEDS = range(min(25, max(4, SIDE_SEEDS // 20)))
every_seed = pytest.mark.parametrize("seed", _SEEDS)


@every_seed
def test_handlers_of_every_kind(seed: int) -> None:
    graph = every_kind()

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, 3, idempotency_key="three")
        await runs.signal(run, GO.name, "now", id="1")
        assert await runs.result(run, timeout_seconds=4_000) == RESULT_OF_3
        assert await runs.outputs(run, "looks_up") == 70_003
        with pytest.raises(NotFound):
            await runs.outputs(run, "exits")
        await _reads_on_from_everywhere(runs, run)

    used(seed, [graph.compile()], use)


async def _reads_on_from_everywhere(runs: Runs, run: RunId) -> None:
    """After each cursor comes what came after it."""
    events = [event async for event in runs.follow(run)]
    for number in range(0, len(events), 1 + len(events) // 5):
        rest = [event async for event in runs.follow(run, after=events[number].cursor)]
        assert rest == events[number + 1 :]
    mine = Cursor.parse(events[0].cursor, int(events[0].cursor.partition("-")[0]))
    for cursor in ("", "x-1", f"{mine.partition + 1}-0"):
        with pytest.raises(InvalidInput):
            await anext(runs.follow(run, after=cursor))


# ---------------------------------------------------------------------------------------- the front desk
@node(retry=Retry(2, first=0.1))
async def picky(number: int) -> int:
    if number < 0:
        raise ValueError("below zero")
    return number


async def waits_long(number: int) -> int:
    await asyncio.sleep(3 * number)
    return number


def desk() -> Graph[int, int]:
    graph = Graph[int, int]("desk", timeout=900)
    went = graph.wait(GO, timeout=600)
    graph.set_finish_point(graph.add_node(waits_long, graph.add_node(picky, graph.input), after=went))
    return graph


async def _succeeded(runs: Runs, run: RunId) -> None:
    """Lists of runs say so, at most a minute of virtual time later: summaries come behind streams."""
    async with within(60):
        while (found := await runs.summary(run)) is None or found.status != "succeeded":  # noqa: ASYNC110 - it reads a log
            await asyncio.sleep(0.1)


@every_seed
def test_what_clients_ask_for_is_answered(seed: int) -> None:  # noqa: PLR0915 - several clients at once
    graph = desk()

    async def refused_starts(runs: Runs) -> None:
        for name, value in (("nowhere", 1), (graph.name, "no number")):
            run = await runs.start(name, value, idempotency_key="refused")
            with pytest.raises(RunRejected):
                await runs.result(run, timeout_seconds=600)

    async def signal_before_the_start(runs: Runs, other: Runs) -> None:
        run = run_id(graph.name, "api", "early")
        await runs.signal(run, GO.name, "early", id="1")
        await asyncio.sleep(5)
        assert await runs.start(graph.name, 1, idempotency_key="early") == run
        with pytest.raises(TimedOut):
            await other.result(run, timeout_seconds=0.001)
        assert await runs.result(run, timeout_seconds=600) == 1
        assert await runs.start(graph.name, 2, idempotency_key="early") == run
        # Refused; but who hears nothing for two seconds is told what the key stands for.
        with suppress(RunRejected):
            assert await runs.result(run, timeout_seconds=600) == 1
        assert await other.start(graph.name, 1, idempotency_key="early") == run
        assert await other.start(graph.name, 1, idempotency_key="early") == run
        assert await other.result(run, timeout_seconds=600) == 1
        await _succeeded(other, run)

    async def cancel_before_the_start(runs: Runs) -> None:
        run = run_id(graph.name, "api", "never")
        await runs.cancel(run, "never mind")
        await asyncio.sleep(20)
        await runs.start(graph.name, 1, idempotency_key="never")
        with pytest.raises(TaskCanceled):
            await runs.result(run, timeout_seconds=600)

    async def retried(runs: Runs) -> None:
        run = await runs.start(graph.name, -1, idempotency_key="below", tags={"of": "me"})
        while await runs.summary(run) is None:  # noqa: ASYNC110 - it follows the run's stream
            await asyncio.sleep(0.1)
        await runs.override(run, "picky", attempts=3, timeout_ms=5_000)
        await runs.signal(run, GO.name, "go", id="1")
        for _ in range(2):
            with pytest.raises(RunFailed):
                await runs.result(run, timeout_seconds=900)
            await runs.retry(run)
        with pytest.raises(RunFailed):
            await runs.result(run, timeout_seconds=900)

    async def looked_at(cluster: Cluster) -> None:
        """What goes on is read from the changelog by others, at any time."""
        reader = FaultyReader(cluster.log, Process("onlooker", Faults(cluster.faults.random, calm=True)))
        for _ in range(10):
            await asyncio.sleep(2)
            partitions = range(cluster.topics.partitions)
            seen = await snapshot.unfinished(reader, cluster.changelog, partitions)
            for state in seen[:2]:
                alone = await snapshot.unfinished(reader, cluster.changelog, partitions, state.run)
                assert {one.run for one in alone} <= {state.run}

    async def use(cluster: Cluster, runs: Runs) -> None:
        async with cluster.client() as other:
            await asyncio.gather(
                refused_starts(runs),
                signal_before_the_start(runs, other),
                cancel_before_the_start(runs),
                retried(runs),
                looked_at(cluster),
            )
            assert {summary.graph for summary in await other.summaries()} >= {graph.name}

    used(seed, [graph.compile()], use, retried=True)


# -------------------------------------------------------------------------------------- what is no record
def _request(run: str, key: str | None = None, **changes: Any) -> bytes:
    request = RunRequested(
        run=RunId(run), key=key or run, at_ms=1, graph="desk", input=Inline(1), digest="d", **changes
    )
    return codec.incoming.encode(request)


def _garbage(cluster: Cluster) -> list[Outgoing]:
    names = cluster.topics
    of_nobody = NodeSucceeded(
        run=RunId("nobody"), key="nobody", at_ms=1, node=NodeKey("a"), attempt=1, incarnation=Incarnation("i"),
        output=Inline(1),
    )  # fmt: skip
    bad: list[tuple[str, str, bytes | None]] = [
        (names.run_events, "k", None),
        (names.run_events, "k", b"no json"),
        (names.run_events, "k", b"[]"),
        (names.run_events, "k", b'{"v":2,"type":"cancel_requested"}'),
        (names.run_events, "k", b'{"v":1,"type":"what"}'),
        (names.run_events, "k", b'{"v":1,"x":' + b"[" * 400 + b"]" * 400 + b"}"),
        (names.run_requests, "other", _request("mine")),
        (names.run_requests, "/bad", _request("/bad")),
        (names.run_requests, "key", _request("run", "key")),
        (names.run_requests, "large", _request("large", tags={"x": "y" * 600_000})),
        (names.node_done, "nobody", codec.incoming.encode(of_nobody)),
        (names.node_ready("default"), "k", b"{}"),
        (names.control, "k", b"{}"),
    ]
    placed = _request("misplaced")
    elsewhere = (names.place("misplaced")[1] + 1) % names.partitions
    return [
        *(Outgoing(topic, key.encode(), value) for topic, key, value in bad),
        Outgoing(names.run_requests, b"misplaced", placed, partition=elsewhere),
    ]


@every_seed
def test_what_cannot_be_read_is_kept_and_disturbs_nobody(seed: int) -> None:
    graph = desk()

    async def use(cluster: Cluster, runs: Runs) -> None:
        garbage = _garbage(cluster)
        run = await runs.start(graph.name, 1, idempotency_key="one")
        for record in garbage:
            await asyncio.sleep(cluster.faults.random.uniform(0, 2))
            await cluster.log.append([record])
        await runs.signal(run, GO.name, "go", id="1")
        assert await runs.result(run, timeout_seconds=900) == 1
        await cluster.rest()
        sent = {(record.key, record.value) for record in garbage if record.topic != cluster.topics.control}
        kept = [await original(letter, Payloads(cluster.blobs)) for letter in _letters(cluster)]
        assert {(key, value) for key, value, _ in kept} == sent

    used(seed, [graph.compile()], use, refused=True)


def _letters(cluster: Cluster) -> list[Record]:
    names = cluster.topics
    return [
        letter for partition in range(names.partitions) for letter in cluster.log.records(names.dead_letters, partition)
    ]


# --------------------------------------------------------------------------------------------- triggers
class Order(BaseModel):
    number: int


async def ships(order: Order) -> int:
    return 100 // order.number


async def bills(number: int) -> int:
    return number


async def regrets(message: str) -> str:
    return message


def _checks(order: Order) -> bool:
    return 1 // (order.number - 13) is not None and order.number < 50


def _deployment() -> list[Graph[Any, Any]]:
    shipping, billing, sorry = Graph[Order, int]("shipping"), Graph[int, int]("billing"), Graph[str, str]("sorry")
    shipping.set_finish_point(shipping.add_node(ships, shipping.input, retry=Retry(1)))
    billing.set_finish_point(billing.add_node(bills, billing.input))
    sorry.set_finish_point(sorry.add_node(regrets, sorry.input))
    shipping.trigger(
        Topic("orders", Order),
        where=lambda message: _checks(message.data),
        idempotency_key=lambda message: message.data.number if message.data.number != 14 else 1 // 0,
    )
    billing.trigger(on_run(shipping))
    sorry.trigger(on_run(shipping, "failed"), lambda message: message.id)
    return [shipping, billing, sorry]


_CLOUD = (("ce_specversion", b"1.0"), ("ce_type", b"order"), ("ce_source", b"/shop"))
_STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def _event(**members: Any) -> bytes:
    return orjson.dumps({"specversion": "1.0", "type": "order", "source": "/shop", **members})


_EVENTS: list[tuple[bytes | None, tuple[tuple[str, bytes], ...]]] = [
    *((orjson.dumps({"number": number}), ()) for number in (1, 2, 2, 0, 4, 13, 14, 99)),
    (b'{"number":5}', (("traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"),)),
    (None, ()),
    (b"no json", ()),
    (b'{"number":"x"}', ()),
    (b'{"number":6}', (*_CLOUD, ("ce_id", b"6"))),
    (b'{"number":7}', _CLOUD),
    (b"", (*_CLOUD, ("ce_id", b"8"))),
    (_event(id="9", data={"number": 9}), _STRUCTURED),
    (_event(data={"number": 10}), _STRUCTURED),
    (_event(id="11", data_base64="bm8ganNvbg=="), _STRUCTURED),
    (b"no event", _STRUCTURED),
]


@every_seed
def test_each_event_is_one_run_or_one_dead_letter(seed: int) -> None:
    graphs = _deployment()
    programs = [graph.compile() for graph in graphs]
    triggers = [trigger for graph in graphs for trigger in graph.triggers]

    async def use(cluster: Cluster, runs: Runs) -> None:
        for value, headers in _EVENTS:
            await asyncio.sleep(cluster.faults.random.uniform(0, 3))
            await cluster.log.append([Outgoing("orders", None, value, headers)])
        await cluster.rest()
        found = await runs.summaries()
        # By their results and not by their summaries: of these a zombie's earlier one may come last.
        ended = {(one.graph, await _output(runs, one.run)) for one in found}
        shipped = {100 // number for number in (1, 2, 4, 5, 6, 9)}
        of_zero = {output for graph, output in ended if graph == "sorry"}
        assert {output for graph, output in ended if graph == "shipping"} == {*shipped, None}
        assert {output for graph, output in ended if graph == "billing"} == shipped
        assert of_zero <= {one.run for one in found if one.graph == "shipping"}
        assert len(of_zero) == 1
        refused = {(letter.value, letter.headers[:-5]) for letter in _letters(cluster)}
        assert refused == {event for event in _EVENTS if event in refused}
        assert len(refused) == 10
        assert {letter.headers[-5] for letter in _letters(cluster)} == {(ONLY, b"beluga/shipping/orders")}
        assert all(dict(letter.headers)[REASON] for letter in _letters(cluster))

    used(seed, programs, use, triggers=triggers, refused=True, options=ClusterOptions(user_topics={"orders": 3}))


async def _output(runs: Runs, run: RunId) -> Any:
    try:
        return await runs.result(run)
    except RunFailed:
        return None


# ------------------------------------------------------------------------------------------ its bounds
async def many(number: int) -> list[int]:
    await asyncio.sleep(1)
    return list(range(1_500))


async def counts(first: list[int], second: list[int], third: list[int]) -> int:
    return len(first) + len(second) + len(third)


def grows() -> Graph[int, int]:
    graph = Graph[int, int]("grows", timeout=900)
    parts = [graph.add_node(many, graph.input, name=f"many{number}") for number in range(3)]
    graph.set_finish_point(graph.add_node(counts, *parts))
    return graph


_SMALL = CoordinatorOptions(tick_ms=500, capacity=4, dedup_window_ms=300_000, state_limit_bytes=15_000)


@every_seed
def test_bounds_hold(seed: int) -> None:
    """At capacity starts wait; what outgrows its row fails; the memory of what is over ends, as do early signals."""
    small, large = desk(), grows()

    async def use(cluster: Cluster, runs: Runs) -> None:
        await runs.signal(RunId("a" * 32), GO.name, "nobody", id="1")
        begun = [await runs.start(small.name, 1, idempotency_key=str(number)) for number in range(12)]
        grown = await runs.start(large.name, 1, idempotency_key="grown")
        for run in begun:
            await runs.signal(run, GO.name, "go", id="1")
        assert await asyncio.gather(*(runs.result(run, timeout_seconds=3_000) for run in begun)) == [1] * 12
        with pytest.raises(RunFailed, match="state"):
            await runs.result(grown, timeout_seconds=3_000)
        await cluster.rest()
        await asyncio.sleep(2 * _SMALL.dedup_window_ms / 1000)
        last = [await runs.start(large.name, 1, idempotency_key=str(number)) for number in range(12)]
        for run in last:
            with pytest.raises(RunFailed):
                await runs.result(run, timeout_seconds=900)
        await cluster.rest()
        rows = {key for changelog in cluster.changelogs.values() for key in changelog.rows if not key.startswith("~")}
        assert rows <= set(last), "what is over is forgotten in the end"

    used(
        seed,
        [small.compile(), large.compile()],
        use,
        options=ClusterOptions(coordinator=_SMALL, coordinators=1),
        refused=True,
        overgrown=True,
    )


@every_seed
def test_a_node_whose_code_is_missing_waits_for_it(seed: int) -> None:
    graph = desk()
    program = graph.compile()

    async def use(cluster: Cluster, runs: Runs) -> None:
        programs: dict[Any, Any] = dict(cluster.deployment.programs)
        code = programs.pop(program.definition.hash)
        cluster.deployment = replace(cluster.deployment, programs=programs)
        for member in tuple(cluster.roles["worker"].members):
            member.process.kill()
        await asyncio.sleep(30)
        run = await runs.start(graph.name, 1, idempotency_key="one")
        await runs.signal(run, GO.name, "go", id="1")
        async for event in runs.follow(run):
            if isinstance(event, NodeChanged) and event.status == "parked":
                programs[program.definition.hash] = code
        assert await runs.result(run) == 1

    used(seed, [program], use)
