"""A flood of trigger events, far more than the engine can do at once: `python -m benchmarks.flood`.

Every event starts a run with a child run. Shown: that all of them end, how the lag falls, what each process holds
meanwhile, and how soon a signal, a cancel and a timer of other runs take effect in the midst of it.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from beluga_stream.application import codec
from beluga_stream.bootstrap.connection import topics
from beluga_stream.bootstrap.declared import group
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import CancelRequested, SignalReceived
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.ports.log import Outgoing
from benchmarks.__main__ import ROLES, conditions_of, say, start_broker
from benchmarks.engine import EngineProcess
from benchmarks.figures import Figure, as_table
from benchmarks.traffic import Traffic, now_ms

_PATIENCE_SECONDS = 1_800.0
_AT_A_TIME = 5_000
_SAMPLE_SECONDS = 1.0
_MOST_MIB = 300
_MOST_SECONDS = 5
_DOZE_SECONDS = 10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, metavar="N")
    parser.add_argument("--broker", metavar="ADDRESS", help="a Kafka that runs")
    given = parser.parse_args()
    broker = start_broker(given.broker)
    settings = Settings.load(broker=broker.address, prefix=f"flood-{secrets.token_hex(3)}")
    try:
        with tempfile.TemporaryDirectory(prefix="beluga-flood-") as folder:
            engine = [EngineProcess([role], broker.address, settings.prefix, Path(folder)) for role in ROLES]
            try:
                for process in engine:
                    process.wait_until_ready()
                figures = asyncio.run(flooded(settings, engine, given.runs))
                for process in engine:
                    process.check()
            finally:
                for process in engine:
                    process.stop()
    finally:
        broker.stop()
    as_table(figures, conditions_of(broker, settings))


async def flooded(settings: Settings, engine: Sequence[EngineProcess], runs: int) -> list[Figure]:
    """Publish so many events at once, and watch until the last of their runs has ended."""
    names = topics(settings)
    async with Traffic.open(settings.broker, names) as traffic, ends_of(traffic) as ends, lags_of(settings) as lags:
        began = time.perf_counter()
        others = [*traffic.requests("held", "x", 2), *traffic.requests("dozing", 1, 1)]
        signalled, cancelled, dozing = (RunId((request.key or b"").decode()) for request in others)
        await traffic.send(others)
        dozing_since = now_ms()
        for at in range(0, runs, _AT_A_TIME):
            await traffic.send(
                [Outgoing("bench.flood", None, str(n).encode()) for n in range(at, min(at + _AT_A_TIME, runs))]
            )
        published = time.perf_counter() - began
        peaks = dict.fromkeys((process.name for process in engine), 0.0)
        told = 0
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while ends.of_flood < runs:
                await asyncio.sleep(_SAMPLE_SECONDS)
                for process in engine:
                    process.check()
                    peaks[process.name] = max(peaks[process.name], process.resident_mib())
                if not ends.asked and time.perf_counter() - began > _DOZE_SECONDS:
                    ends.asked = now_ms()
                    await traffic.send([_signal(names.run_events, signalled), _cancel(names.run_events, cancelled)])
                if told % 5 == 0:
                    lag = await lags.now()
                    shown = ", ".join(f"{role} {count:,}" for role, count in lag.items())
                    held = ", ".join(f"{process.name} {process.resident_mib():.0f} MiB" for process in engine)
                    say(f"{time.perf_counter() - began:.0f} s: {ends.of_flood:,} runs have ended; lag: {shown}; {held}")
                told += 1
        took = time.perf_counter() - began
        for _ in range(int(_PATIENCE_SECONDS)):
            if {signalled, cancelled, dozing} <= ends.at_ms.keys():
                break
            await asyncio.sleep(_SAMPLE_SECONDS)
    doze_ms = _DOZE_SECONDS * 1000
    return [
        Figure("events published at once", published, "s", note=f"{runs:,} of them"),
        Figure("until the last run has ended", took, "s", note=f"{runs * 2:,} runs with their children"),
        *(Figure(f"most memory of {name}", most, "MiB", _MOST_MIB) for name, most in peaks.items()),
        Figure("a signal takes effect within", (ends.at_ms[signalled] - ends.asked) / 1000, "s", _MOST_SECONDS),
        Figure("a cancel takes effect within", (ends.at_ms[cancelled] - ends.asked) / 1000, "s", _MOST_SECONDS),
        Figure("a timer is late by", (ends.at_ms[dozing] - dozing_since - doze_ms) / 1000, "s", _MOST_SECONDS),
    ]


class Ends:
    """The ends of runs, as they are told in run-results."""

    def __init__(self) -> None:
        self.of_flood = 0
        self.at_ms: dict[RunId, int] = {}
        self.asked = 0

    def see(self, value: bytes, at_ms: int) -> None:
        """One record."""
        if b'"status":{"status":"' not in value:
            return
        told = codec.results.decode(value)
        if told.status is None or told.status.status == "running":
            return
        if told.graph == "family":
            if told.status.status != "succeeded":
                raise RuntimeError(f"a run of the flood {told.status}")
            self.of_flood += 1
        else:
            self.at_ms[told.run] = at_ms


@asynccontextmanager
async def ends_of(traffic: Traffic) -> AsyncIterator[Ends]:
    """Followed in the background."""
    ends = Ends()

    async def follow() -> None:
        async with traffic.reading(traffic.topics.run_results) as consumer:
            reading.set()
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        ends.see(record.value, record.timestamp)

    reading = asyncio.Event()
    following = asyncio.create_task(follow())
    await reading.wait()
    try:
        yield ends
    finally:
        following.cancel()
        await asyncio.wait({following})


class Lags:
    """How far each role's group is behind the ends of its topics."""

    def __init__(self, settings: Settings, admin: AIOKafkaAdminClient, traffic: Traffic) -> None:
        self._settings = settings
        self._admin = admin
        self._traffic = traffic

    async def now(self) -> Mapping[str, int]:
        """Records that wait, by role."""
        found: dict[str, int] = {}
        for role in ROLES:
            committed = await self._admin.list_consumer_group_offsets(group(self._settings, role))
            ends = {topic: await self._traffic.ends(topic) for topic in {target.topic for target in committed}}
            found[role] = sum(
                ends[target.topic][target] - offset.offset for target, offset in committed.items() if offset.offset >= 0
            )
        return found


@asynccontextmanager
async def lags_of(settings: Settings) -> AsyncIterator[Lags]:
    """With connections of its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.broker)
    await admin.start()
    try:
        async with Traffic.open(settings.broker, topics(settings)) as traffic:
            yield Lags(settings, admin, traffic)
    finally:
        await admin.close()


def _signal(topic: str, run: RunId) -> Outgoing:
    event = SignalReceived(run=run, key=run, at_ms=now_ms(), signal="go", id="1", value=Inline(1))
    return Outgoing(topic, run.encode(), codec.incoming.encode(event))


def _cancel(topic: str, run: RunId) -> Outgoing:
    event = CancelRequested(run=run, key=run, at_ms=now_ms(), reason="in the flood")
    return Outgoing(topic, run.encode(), codec.incoming.encode(event))


if __name__ == "__main__":
    main()
