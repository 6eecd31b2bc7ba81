"""What is measured of a running engine: latency, throughput, first chunk, a large map."""

import asyncio
import time
from collections.abc import Sequence

from beluga_stream.bootstrap.client import open_runs
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.ports.log import Outgoing
from benchmarks.engine import Process
from benchmarks.figures import Figure, quantile
from benchmarks.traffic import Traffic, ends_run, is_chunk, now_ms

_MIB = 1 << 20
_PATIENCE_SECONDS = 120.0
_RESIDENT_MIB = 200
_BURST = 2_000


async def latency(traffic: Traffic, count: int) -> list[Figure]:
    """Ten steps in a row, one run at a time, from before its request is sent until its end is read."""
    requests = traffic.requests("ten", 1, count + 10)
    took: list[float] = []
    async with traffic.reading(traffic.topics.run_results) as consumer:
        for request in requests:
            began = time.perf_counter()
            await traffic.send([request])
            while not any(
                record.key == request.key and ends_run(record)
                for records in (await consumer.getmany(timeout_ms=1000)).values()
                for record in records
            ):
                if time.perf_counter() - began > _PATIENCE_SECONDS:
                    raise TimeoutError("a run of ten steps did not end")
            took.append((time.perf_counter() - began) * 1000)
    warm = took[10:]
    return [
        Figure("ten steps, p50", quantile(warm, 0.5), "ms", 30),
        Figure("ten steps, p90", quantile(warm, 0.9), "ms"),
        Figure("ten steps, p99", quantile(warm, 0.99), "ms", 90),
    ]


async def by_the_client(settings: Settings, count: int) -> list[Figure]:
    """Latency and many starts through what users have: `start` and `result`."""
    took: list[float] = []
    async with open_runs(settings) as desk:
        for _ in range(count + 5):
            began = time.perf_counter()
            await desk.result(await desk.start("ten", 1), timeout_seconds=_PATIENCE_SECONDS)
            took.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        runs = await asyncio.gather(*(desk.start("three", 1) for _ in range(2_000)))
        started = time.perf_counter() - began
        await asyncio.gather(*(desk.result(run, timeout_seconds=_PATIENCE_SECONDS) for run in runs))
        ended = time.perf_counter() - began
    return [
        Figure("ten steps by the client, p50", quantile(took[5:], 0.5), "ms"),
        Figure("2,000 starts by the client", started, "s", note=f"{ended:.2f} s until all results are there"),
    ]


async def burst(traffic: Traffic, processes: Sequence[Process], runs: int) -> list[Figure]:
    """Many runs of three steps at once: steps a second from the first request to the last run's end."""
    topics = traffic.topics
    requests = traffic.requests("three", 1, runs)
    done_from = await traffic.ends(topics.node_done)
    results_from = await traffic.ends(topics.run_results)
    before = [process.cpu_seconds() for process in processes]
    began = now_ms()
    await traffic.send(requests)
    ends: list[int] = []
    while len(ends) < runs:
        await traffic.wait_until_quiet(topics.run_results, results_from, _PATIENCE_SECONDS)
        records = await traffic.read(topics.run_results, results_from)
        ends = [record.timestamp for record in records if ends_run(record)]
    seconds = (max(ends) - began) / 1000
    done = await traffic.read(topics.node_done, done_from)
    figures = [
        Figure(
            "burst of three-step runs",
            runs * 3 / seconds,
            "steps/s",
            8_000,
            "at least",
            f"{runs:,} runs in {seconds:.2f} s; {len(done):,} node-done, {len(ends):,} ends",
        )
    ]
    figures += [
        Figure(f"burst: CPU of {process.name}", process.cpu_seconds() - used, "s")
        for process, used in zip(processes, before, strict=True)
    ]
    return figures


async def closed(traffic: Traffic, processes: Sequence[Process], at_a_time: int, seconds: float) -> list[Figure]:
    """So many runs of three steps at a time, a new one whenever one has ended."""
    requests: list[Outgoing] = traffic.requests("three", 1, int(seconds * 8_000))
    ours = {request.key for request in requests}
    following = iter(requests)
    ended = 0
    before = [process.cpu_seconds() for process in processes]
    # Beside the reading, as so many clients would do it.
    async with traffic.reading(traffic.topics.run_results) as consumer, asyncio.TaskGroup() as sending:
        began = time.perf_counter()
        await traffic.send([next(following) for _ in range(at_a_time)])
        while time.perf_counter() - began < seconds:
            fetched = await consumer.getmany(timeout_ms=1000)
            over = sum(record.key in ours and ends_run(record) for records in fetched.values() for record in records)
            if over:
                ended += over
                sending.create_task(traffic.send([next(following) for _ in range(over)]))
        took = time.perf_counter() - began
    share = ", ".join(
        f"{process.name} {(process.cpu_seconds() - used) / took:.0%}"
        for process, used in zip(processes, before, strict=True)
    )
    return [
        Figure(
            f"closed loop of {at_a_time} three-step runs",
            ended * 3 / took,
            "steps/s",
            3_000,
            "at least",
            f"{ended:,} runs; CPU: {share}",
        )
    ]


async def first_chunk(traffic: Traffic, count: int) -> list[Figure]:
    """From before an event is published until a reader has the first chunk of the run that it starts."""
    took: list[float] = []
    async with traffic.reading(traffic.topics.run_results) as consumer:
        for _ in range(count + 5):
            began = time.perf_counter()
            await traffic.send([Outgoing("bench.words", None, b'"beluga"')])
            first = last = False
            while not last:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        if not first and is_chunk(record):
                            first = True
                            took.append((time.perf_counter() - began) * 1000)
                        last = last or ends_run(record)
                if time.perf_counter() - began > _PATIENCE_SECONDS:
                    raise TimeoutError("an event led to no run")
    warm = took[5:]
    return [
        Figure("event to first chunk, p50", quantile(warm, 0.5), "ms", 60),
        Figure("event to first chunk, p99", quantile(warm, 0.99), "ms"),
    ]


async def memory(processes: Sequence[Process]) -> list[Figure]:
    """What each process holds after all that came before."""
    return [
        Figure(f"resident memory of {process.name}", process.resident_mib(), "MiB", _RESIDENT_MIB)
        for process in processes
    ]


async def soak(traffic: Traffic, processes: Sequence[Process], limits: Sequence[Process], runs: int) -> list[Figure]:
    """Many more runs, burst after burst: what the engine keeps of those that are over."""
    await burst(traffic, processes, _BURST)
    before = [process.resident_mib() for process in limits]
    for _ in range(runs // _BURST):
        await burst(traffic, processes, _BURST)
    return [
        Figure(
            f"memory that {process.name} gained",
            process.resident_mib() - held,
            "MiB",
            note=f"over {runs:,} runs of three steps; it holds {process.resident_mib():.0f} MiB",
        )
        for process, held in zip(limits, before, strict=True)
    ]


async def large_map(traffic: Traffic, changelog: str, items: int) -> list[Figure]:
    """A map over items of 1 KiB: how long, and what it writes to the changelog."""
    changes_from = await traffic.ends(changelog)
    request = traffic.requests("wide", items, 1)[0]
    async with traffic.reading(traffic.topics.run_results) as consumer:
        began = time.perf_counter()
        await traffic.send([request])
        over = False
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not over:
                fetched = await consumer.getmany(timeout_ms=1000)
                over = any(
                    record.key == request.key and ends_run(record) for records in fetched.values() for record in records
                )
        took = time.perf_counter() - began
    sizes = [len(record.value or b"") for record in await traffic.read(changelog, changes_from)]
    return [
        Figure(f"map of {items:,} items of 1 KiB", took, "s", note=f"{len(sizes):,} changelog records"),
        Figure("map: largest changelog value", max(sizes) / 1024, "KiB", 256),
        Figure("map: changelog bytes", sum(sizes) / _MIB, "MiB", 64),
    ]
