"""Every complete set of events is one run and every incomplete one has its answer, whatever dies meanwhile."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from beluga_stream.application import codec
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.ingest.backfill import Backfill, Span
from beluga_stream.domain.ids import RunId, run_id
from beluga_stream.ports.handlers import Gathers, Program, Side, Trigger
from beluga_stream.ports.log import Outgoing
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.virtual_time import EPOCH_MS
from tests.simulation.programs import ANY
from tests.simulation.uses import used
from tests.unit.engines import handler, program
from tests.unit.graphs import edges, node, plan

_TOPICS = {"a": 3, "b": 1, "c": 2}
_WITHIN_MS = 20_000
_LATENESS_MS = 15_000
_WINDOWS = 3
_KEYS = 6
_SKEW_MS = 6_000
"""Clocks are five seconds apart at most: so far from a window's last moment, everybody agrees what is late."""

_PATIENCE_SECONDS = 300
_OPTIONS = ClusterOptions(user_topics=_TOPICS, faults=80)
"""Enough that something goes wrong now and then until the last window is over."""


async def _sum(value: list[Any]) -> int:
    return sum(each["n"] for each in value if each is not None)


def _program(name: str = "whole") -> Program:
    return program(plan([node("n0")], edges("input > n0"), ["n0"], name), {"n0": handler(_sum)})


@dataclass
class _Told:
    """What was published, by key and window: the numbers in time, and those that were late."""

    sets: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)
    late: list[str] = field(default_factory=list)


def _join(started: str, **how: Any) -> Trigger:
    sides = tuple(Side(topic, ANY, lambda data: data["key"]) for topic in _TOPICS)
    gathers = Gathers("join", sides, within_ms=_WITHIN_MS, lateness_ms=_LATENESS_MS, **how)
    return Trigger("a+b+c", "gathered", "a+b+c", started, ANY, gathers=gathers)


async def _publish(cluster: Cluster, topic: str, name: str, at_ms: int, data: dict[str, Any]) -> None:
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_type", b"t"),
        ("ce_source", topic.encode()),
        ("ce_id", name.encode()),
        ("ce_time", datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().encode()),
    )
    # Of topic c one partition stays empty.
    partition = 0 if topic == "c" else None
    value = codec._encoder.encode(data)
    await cluster.log.append([Outgoing(topic, data["key"].encode(), value, headers, partition)])


async def _events(cluster: Cluster, random: Random) -> _Told:
    """Publish sets of events, out of order, repeated, incomplete, and late."""
    told = _Told()
    loop = asyncio.get_running_loop()
    first = (EPOCH_MS + int(loop.time() * 1000)) // _WITHIN_MS + 1
    planned: list[tuple[int, str, str, int, dict[str, Any]]] = []
    for window in range(first, first + _WINDOWS):
        start, last = window * _WITHIN_MS, (window + 1) * _WITHIN_MS + _LATENESS_MS
        for key in (f"k{number}" for number in range(_KEYS)):
            there = random.sample(sorted(_TOPICS), random.choice((1, 2, 3, 3)))
            for topic in there:
                number = random.randrange(1, 1000)
                at = random.randrange(start, start + _WITHIN_MS)
                name = f"{window}/{key}/{topic}"
                told.sets.setdefault((key, start), {})[topic] = number
                data = {"key": key, "n": number}
                times = [random.randrange(at, last - _SKEW_MS) for _ in range(random.choice((1, 1, 2)))]
                planned.extend((when, topic, name, at, data) for when in times)
            for topic in sorted(_TOPICS.keys() - set(there)):
                if random.random() < 0.5:
                    name = f"{window}/{key}/{topic}"
                    told.late.append(name)
                    when = random.randrange(last + _SKEW_MS, last + 30_000)
                    planned.append((when, topic, name, start, {"key": key, "n": -1}))
    for when, topic, name, at, data in sorted(planned, key=lambda each: each[0]):
        await asyncio.sleep(max(0.0, (when - EPOCH_MS) / 1000 - loop.time()))
        await _publish(cluster, topic, name, at, data)
    return told


def _run_of(graph: str, key: str, start: int) -> RunId:
    return run_id(graph, "a+b+c", f"{key}\x1f{start}+{_WITHIN_MS}")


async def _results(runs: Runs, graph: str, keys: list[tuple[str, int]]) -> list[Any]:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return await asyncio.gather(*(runs.result(_run_of(graph, *key)) for key in keys))


def _letters(cluster: Cluster) -> set[str]:
    found: set[str] = set()
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(cluster.topics.dead_letters, partition, most=1 << 30):
            found.add(dict(record.headers)["ce_id"].decode())
    return found


@pytest.mark.parametrize("seed", range(12))
def test_complete_sets_start_incomplete_ones_go_elsewhere_and_late_events_are_dead_letters(seed: int) -> None:
    whole, part = _program(), _program("part")
    names = whole.definition.name, part.definition.name

    async def use(cluster: Cluster, runs: Runs) -> None:
        told = await _events(cluster, Random(seed))
        complete = [key for key, found in told.sets.items() if len(found) == len(_TOPICS)]
        lacking = [key for key, found in told.sets.items() if len(found) < len(_TOPICS)]
        expected = [sum(told.sets[key].values()) for key in complete]
        assert await _results(runs, names[0], complete) == expected
        assert await _results(runs, names[1], lacking) == [sum(told.sets[key].values()) for key in lacking]
        await cluster.rest()
        started = {_run_of(names[0], *key) for key in complete} | {_run_of(names[1], *key) for key in lacking}
        assert {summary.run for summary in await runs.summaries()} == started
        assert _letters(cluster) == set(told.late)

    trigger = _join(names[0], missing="graph", graph=names[1])
    used(seed, [whole, part], use, triggers=[trigger], options=_OPTIONS, refused=True)


@pytest.mark.parametrize("seed", range(12))
def test_incomplete_sets_may_start_all_the_same_and_late_events_be_dropped(seed: int) -> None:
    whole = _program()
    name = whole.definition.name

    async def use(cluster: Cluster, runs: Runs) -> None:
        told = await _events(cluster, Random(seed))
        keys = list(told.sets)
        assert await _results(runs, name, keys) == [sum(told.sets[key].values()) for key in keys]
        await cluster.rest()
        assert {summary.run for summary in await runs.summaries()} == {_run_of(name, *key) for key in keys}

    used(seed, [whole], use, triggers=[_join(name, missing="start", late="drop")], options=_OPTIONS)


@pytest.mark.parametrize("seed", range(12))
def test_the_events_of_incomplete_sets_are_dead_letters(seed: int) -> None:
    whole = _program()
    name = whole.definition.name

    async def use(cluster: Cluster, runs: Runs) -> None:
        told = await _events(cluster, Random(seed))
        complete = [key for key, found in told.sets.items() if len(found) == len(_TOPICS)]
        assert await _results(runs, name, complete) == [sum(told.sets[key].values()) for key in complete]
        await cluster.rest()
        assert {summary.run for summary in await runs.summaries()} == {_run_of(name, *key) for key in complete}
        lacking = {
            f"{start // _WITHIN_MS}/{key}/{topic}"
            for (key, start), found in told.sets.items()
            for topic in found
            if len(found) < len(_TOPICS)
        }
        assert _letters(cluster) == set(told.late) | lacking

    used(seed, [whole], use, triggers=[_join(name)], options=_OPTIONS, refused=True)


@pytest.mark.parametrize("ingesting", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_backfill_starts_the_windows_that_are_missing_once(seed: int, ingesting: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """With the trigger deployed all along, or only when all events had come."""
    whole, part = _program(), _program("part")
    names = whole.definition.name, part.definition.name
    trigger = _join(names[0], missing="graph", graph=names[1])

    async def use(cluster: Cluster, runs: Runs) -> None:
        told = await _events(cluster, Random(seed))
        if ingesting:
            await cluster.rest()
        else:
            await asyncio.sleep(_WITHIN_MS * 2 / 1000)
        begin = min(start for _, start in told.sets)
        filling = Backfill(
            trigger,
            deployment=deployed([whole, part], [trigger]),
            topics=cluster.topics,
            reader=cluster.log,
            payloads=runs.payloads,
            clock=cluster.clock,
        )
        ids = {_run_of(names[0] if len(found) == len(_TOPICS) else names[1], *key) for key, found in told.sets.items()}
        # A part of the windows first, and then all of them.
        for windows in (1, _WINDOWS, _WINDOWS):
            span = Span({}, {}, begin, begin + windows * _WITHIN_MS)
            ended = await filling.play(span, runs, parallel=4, timeout_seconds=600)
            assert not ended.keys() - {"succeeded", "ran already"}
        await cluster.rest()
        assert {summary.run for summary in await runs.summaries()} == ids
        if ingesting:
            assert ended == {"ran already": len(ids)}
        results = [sum(found.values()) for found in told.sets.values()]
        assert sorted(await asyncio.gather(*map(runs.result, ids))) == sorted(results)

    used(seed, [whole, part], use, triggers=[trigger] if ingesting else [], options=_OPTIONS, refused=True)
