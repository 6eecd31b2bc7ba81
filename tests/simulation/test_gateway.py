"""Who comes by an HTTP gateway sees what the log says, whatever becomes of the gateway and of the connection."""

import asyncio
import random
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from beluga_stream import Chain, chain
from beluga_stream.adapters.http.desk import HttpDesk
from beluga_stream.api.client import Client
from beluga_stream.application.clients.results import Event, StartRejected
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import RunId
from beluga_stream.errors import InvalidInput, NotFound, RunFailed, RunRejected, TaskCanceled
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.simulation import Ended, Start, all_here
from tests.simulation.gateways import desk_of
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.starts import starts_of
from tests.simulation.streams import CHUNKS, pipeline
from tests.simulation.test_simulation import batches
from tests.simulation.uses import used

_SEEDS = min(max(SIDE_SEEDS // 4, 1), 200)
_OPTIONS = ClusterOptions(faults=40)
_PATIENCE_SECONDS = 4 * 3600.0


@pytest.mark.parametrize("seeds", batches(_SEEDS), ids=str)
def test_runs_are_seen_over_http_as_they_are_in_the_log(seeds: range) -> None:
    for seed in seeds:
        _play(seed)


def _play(seed: int) -> None:
    starts = [start for start in starts_of(seed) if not start.retry]
    expected = all_here(starts, seed)

    async def use(cluster: Cluster, runs: Runs) -> None:
        async with desk_of(cluster) as (desk, _):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.gather(*(_one(desk, runs, start, expected[start.key], seed) for start in starts))
                assert {summary.run for summary in await desk.summaries()} >= {
                    summary.run for summary in await runs.summaries() if summary.parent is None
                }

    used(seed, [start.program for start in starts], use, options=_OPTIONS)


async def _one(desk: HttpDesk, runs: Runs, start: Start, expected: Ended, seed: int) -> None:
    rnd = random.Random(f"{seed}/{start.key}")
    definition = start.program.definition
    await asyncio.sleep(rnd.uniform(0, 2))
    run = await desk.start(definition.name, start.value, idempotency_key=start.key)
    if start.again:
        assert await desk.start(definition.name, start.value, idempotency_key=start.key) == run
    for name, value in start.signals.items():
        await desk.signal(run, name, value, id=name)
    if start.cancel_after is not None:
        await asyncio.sleep(start.cancel_after)
        await desk.cancel(run, "simulated")
    events = [event async for event in desk.follow(run)]
    how = await _ended(desk, run)
    if not (how[0] == "cancelled" and start.cancel_after is not None):
        assert how == (expected.status, expected.result)
    told = [event async for event in runs.follow(run)]
    assert _equal(events, told), (events, told)
    for number in range(0, len(events), 1 + len(events) // 3):
        rest = [event async for event in desk.follow(run, after=events[number].cursor)]
        assert rest == events[number + 1 :]


def _equal(events: list[Event], told: list[Event]) -> bool:
    """Whether both readers have heard the same, but for what each node gave: over HTTP it is never a reference.

    Nor where and when the run's beginning was told: that may be twice, the second time with more of it, and who starts
    a run again may hear the second.
    """
    beginnings = {_record_of(events[0]), _record_of(told[0])}
    heard, logged = _without_outputs(events), _without_outputs(told)
    places = zip((event.cursor for event in events), (event.cursor for event in told), strict=False)
    return heard == logged and all(
        one == other or beginnings & {one.partition(".")[0], other.partition(".")[0]} for one, other in places
    )


def _without_outputs(events: list[Event]) -> list[Any]:
    kept = ("node", "status", "attempt", "failure", "incarnation", "seq", "value", "code")
    return [(type(event), *(getattr(event, name, None) for name in kept)) for event in events]


def _record_of(event: Event) -> str:
    return event.cursor.partition(".")[0]


async def _ended(desk: HttpDesk, run: RunId) -> tuple[str, Any]:
    try:
        return "succeeded", await desk.result(run)
    except RunFailed:
        return "failed", None
    except TaskCanceled:
        return "cancelled", None


async def _twice(value: int) -> int:
    await asyncio.sleep(1)
    return 2 * value


def _doubling() -> Chain[int, int]:
    return chain(_twice, name="doubling")


@pytest.mark.parametrize("seed", range(4))
def test_a_typed_client_starts_by_the_gateway_and_hears_what_is_wrong(seed: int) -> None:
    work = _doubling()

    async def use(cluster: Cluster, runs: Runs) -> None:
        async with desk_of(cluster) as (desk, _), Client(lambda: nullcontext(desk)) as client:
            run = await client.start(work, 4, idempotency_key="four")
            assert await run.result(timeout=600) == 8
            assert await desk.outputs(RunId(run.id), "_twice") == 8
            # The list of runs follows the stream, and may do so a while later: its writer has died, perhaps.
            while (await run.status()).status != "succeeded":  # noqa: ASYNC110 - lists tell nobody
                await asyncio.sleep(0.1)
            for asked in (desk.outputs(RunId(run.id), "other"), desk.start("nowhere", 1, idempotency_key="n")):
                with pytest.raises(NotFound):
                    await asked
            with pytest.raises(InvalidInput):
                await desk.start(work.name, "no number", idempotency_key="n")
            assert await desk.summary(RunId("0" * 32)) is None
            # The key is another run's: the run that it stands for is told, or that this start is refused.
            again = await desk.start(work.name, 5, idempotency_key="four")
            assert again == run.id
            with suppress(RunRejected):
                assert await desk.result(again) == 8
            rejected = [event async for event in desk.follow(again) if isinstance(event, StartRejected)]
            assert {event.code for event in rejected} <= {"idempotency_conflict"}

    used(seed, [work.compile()], use, options=_OPTIONS, refused=True)


@pytest.mark.parametrize("seed", range(6))
def test_streams_that_begin_again_do_so_over_http(seed: int) -> None:
    work = pipeline("piped", first_resumes=seed % 2 == 0, second_resumes=seed % 3 == 0)

    async def use(cluster: Cluster, runs: Runs) -> None:
        async with desk_of(cluster) as (desk, _):
            run = await desk.start(work.name, CHUNKS, idempotency_key="piped")
            events = [event async for event in desk.follow(run)]
            told = [event async for event in runs.follow(run)]
            assert _equal(events, told), (events, told)
            assert await desk.result(run) == await runs.result(run)
            assert await desk.outputs(run, "read") == await runs.outputs(run, "read")

    used(seed, [work.compile()], use, options=ClusterOptions(faults=80, crash=0.01))
