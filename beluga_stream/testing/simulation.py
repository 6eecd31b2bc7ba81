"""Runs of graphs on a simulated engine that fails as a seed decides, compared with the same runs here."""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..application.clients.results import Event
from ..application.clients.runs import Runs
from ..application.local.local import LocalEngine
from ..bounds import within
from ..domain.ids import RunId
from ..domain.payload import Json
from ..errors import BelugaError, InvalidState, RunFailed, TaskCanceled
from ..ports.handlers import Program
from .cluster import Cluster, ClusterOptions
from .deployed import deployed
from .invariants import Broken, check, chunks_of, terminal
from .process import tasks_of_processes
from .shrinking import smallest
from .virtual_time import VirtualClock, run_virtually

_RUN = re.compile(r"\b[0-9a-f]{32}\b")

PATIENCE_SECONDS = 4 * 3600.0
"""Virtual time after which a run that has not ended never will."""


@dataclass(frozen=True)
class Start:
    """One run to simulate. `again` starts it twice, `retry` lets it go on once when it has failed.

    `cancel_after` is in seconds; `beside` is what else is done while the run goes on.
    """

    program: Program
    value: Any
    key: str
    signals: Mapping[str, Json] = field(default_factory=dict)
    again: bool = False
    cancel_after: float | None = None
    retry: bool = False
    beside: Callable[[Cluster, RunId], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Ended:
    """How a run ended: `succeeded` with its output as JSON, or another status with the error."""

    status: str
    result: Json = None
    error: BelugaError | None = None


@dataclass
class Report:
    """What a simulation did: `seconds` are virtual, and `trace` is the same whenever the seed is."""

    ended: dict[str, Ended]
    restarts: int
    seconds: float
    trace: str


def simulate(starts: Sequence[Start], seed: int, options: ClusterOptions | None = None, *, tell: bool = True) -> Report:
    """Run all of these on one simulated engine, and here. Raises `Broken` when they do not end alike.

    For graphs whose result does not depend on timing. `tell` is explained at `play`.
    """
    return play(starts, seed, options, all_here(starts, seed), tell=tell)


def play(
    starts: Sequence[Start],
    seed: int,
    options: ClusterOptions | None = None,
    expected: Mapping[str, "Ended"] | None = None,
    *,
    tell: bool = True,
) -> Report:
    """Run all of these on one simulated engine. Raises `Broken`, with the seed, when an invariant does not hold.

    With `tell` it then looks for fewer runs and faults that fail, and adds the story of the smallest it finds.
    """
    options = options or ClusterOptions()
    expected = {} if expected is None else expected
    played = _played(starts, expected, seed, options)
    if isinstance(played.ended, Report):
        return played.ended
    error = played.ended
    error.add_note(f"simulation seed {seed}: the same seed fails the same way again")
    if tell:
        error.add_note(_story(starts, expected, seed, options))
    raise error


class _Played(NamedTuple):
    """One simulation, and how it ended."""

    cluster: Cluster
    ended: Report | Exception


def _played(starts: Sequence[Start], expected: Mapping[str, Ended], seed: int, options: ClusterOptions) -> _Played:
    cluster = Cluster(deployed([start.program for start in starts]), seed, options)
    try:
        return _Played(cluster, run_virtually(_simulate(cluster, starts, expected), seed))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is raised again with its story
        return _Played(cluster, error)


def _story(starts: Sequence[Start], expected: Mapping[str, Ended], seed: int, options: ClusterOptions) -> str:
    """What happened in the smallest simulation of the seed that was found to fail."""

    def fails(some: Sequence[Start], so: ClusterOptions) -> bool:
        return isinstance(_played(some, expected, seed, so).ended, Exception)

    few, calmer = smallest(starts, options, fails)
    cluster, error = _played(few, expected, seed, calmer)
    run = _RUN.search(str(error))
    return (
        f"With {[start.key for start in few]} alone and ClusterOptions(faults={calmer.faults}) seed {seed} says: "
        f"{error}\n{cluster.story.text(None if run is None else run[0])}"
    )


async def _simulate(cluster: Cluster, starts: Sequence[Start], expected: Mapping[str, Ended]) -> Report:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(tasks_of_processes)
    ended: dict[str, Ended] = {}
    async with cluster.open(), cluster.client() as runs:
        began = loop.time()
        followed = await asyncio.gather(*(_play(cluster, runs, start) for start in starts))
        took = loop.time() - began
        for start, (run, how, events) in zip(starts, followed, strict=True):
            ended[start.key] = how
            if start.key in expected:
                _compare(start, how, expected[start.key])
            if not start.retry:
                await _read_again(cluster, run, events)
        await cluster.rest()
        await check(cluster, retried=any(start.retry for start in starts))
    restarts = sum(members.restarts for members in cluster.roles.values())
    return Report(ended, restarts, took, trace=_trace(cluster))


def _trace(cluster: Cluster) -> str:
    """A hash of every record with its place and time: equal for equal simulations."""
    text = hashlib.sha256()
    for topic in cluster.topics_used:
        for partition in range(cluster.options.partitions):
            for record in cluster.log.records(topic, partition, most=1 << 30):
                text.update(f"{record.position} {record.timestamp_ms} {record.value!r}".encode())
    return text.hexdigest()


def all_here(starts: Sequence[Start], seed: int) -> dict[str, Ended]:
    """How these runs end in the local shell, by their keys. Those that are alike run once."""
    # In loops of their own: the local shell draws random ids, and must not move the simulation's order.
    ends: dict[tuple[int, str], Ended] = {}
    expected: dict[str, Ended] = {}
    for start in starts:
        alike = (id(start.program), repr((start.value, start.signals)))
        if alike not in ends:
            ends[alike] = run_virtually(here(start), seed)
        expected[start.key] = ends[alike]
    return expected


async def here(start: Start) -> Ended:
    """How the run ends in the local shell."""
    engine = LocalEngine(now_ms=VirtualClock().now_ms)
    try:
        async with within(PATIENCE_SECONDS):
            value = await engine.invoke(start.program, start.value, signals=start.signals)
    except RunFailed as error:
        return Ended("failed", error=error)
    return Ended("succeeded", start.program.output.dump_python(value, mode="json"))


async def _play(cluster: Cluster, runs: Runs, start: Start) -> tuple[RunId, Ended, list[Event]]:
    """Start, signal and maybe cancel one run, and follow it to its end."""
    definition = start.program.definition
    json = start.program.input.dump_python(start.program.input.validate_python(start.value), mode="json")
    await asyncio.sleep(cluster.faults.random.uniform(0, 2))
    run = await runs.start(definition.name, json, definition=definition.hash, idempotency_key=start.key)
    beside: list[asyncio.Task[Any]] = [asyncio.create_task(_signal(cluster, runs, run, start))]
    if start.again:
        beside.append(
            asyncio.create_task(
                runs.start(definition.name, json, definition=definition.hash, idempotency_key=start.key)
            )
        )
    if start.cancel_after is not None:
        beside.append(asyncio.create_task(_cancel(runs, run, start.cancel_after)))
    if start.beside is not None:
        beside.append(asyncio.ensure_future(start.beside(cluster, run)))
    events: list[Event] = []
    try:
        async with within(PATIENCE_SECONDS):
            async with contextlib.aclosing(runs.follow(run)) as following:
                async for event in following:
                    events.append(event)  # noqa: PERF401 - what came is told when the rest does not
            how = await _result(runs, run)
            if start.retry and how.status == "failed":
                with contextlib.suppress(InvalidState):  # its compensations have undone it
                    await runs.retry(run)
                later = await _result(runs, run)
                # It may succeed now: a loop gets more passes, and a child's attempts begin anew.
                how = later if later.status == "cancelled" else how
            await asyncio.gather(*beside)
    except TimeoutError as error:
        raise Broken(f"run {run} ({start.key}) does not end; its last events: {events[-5:]}") from error
    return run, how, events


async def _result(runs: Runs, run: RunId) -> Ended:
    try:
        return Ended("succeeded", await runs.result(run))
    except RunFailed as error:
        return Ended("failed", error=error)
    except TaskCanceled as error:
        return Ended("cancelled", error=error)


async def _signal(cluster: Cluster, runs: Runs, run: RunId, start: Start) -> None:
    for signal, value in start.signals.items():
        await asyncio.sleep(cluster.faults.random.uniform(0, 20))
        for _ in range(cluster.faults.random.randint(1, 2)):
            await runs.signal(run, signal, value, id=signal)


async def _cancel(runs: Runs, run: RunId, after: float) -> None:
    await asyncio.sleep(after)
    await runs.cancel(run, "simulated")


def _compare(start: Start, how: Ended, expected: Ended) -> None:
    if how.status == "cancelled" and start.cancel_after is not None:
        return
    if (how.status, how.result) != (expected.status, expected.result):
        raise Broken(f"{start.key} ended as {how}, and here as {expected}")


async def _read_again(cluster: Cluster, run: RunId, live: list[Event]) -> None:
    """The stream read from the log says what those who followed it live were told."""
    async with cluster.client() as other:
        again = [event async for event in other.follow(run)]
    if chunks_of(again) != chunks_of(live):
        raise Broken(f"run {run} reads otherwise afterwards: {chunks_of(again)} and live {chunks_of(live)}")
    if [event.status for event in terminal(again)] != [event.status for event in terminal(live)]:
        raise Broken(f"run {run} ends otherwise afterwards")
