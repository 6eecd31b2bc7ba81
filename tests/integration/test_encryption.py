"""An engine with encryption on: what a plain consumer sees, keys that change, and values that somebody altered."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from beluga_stream import Signal, connect
from beluga_stream.adapters.crypto.aesgcm import new_key
from beluga_stream.adapters.kafka.admin import KafkaTopics
from beluga_stream.adapters.kafka.appender import KafkaAppender
from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.memory.clock import SystemClock
from beluga_stream.application import codec
from beluga_stream.bootstrap.connection import kafka, topics
from beluga_stream.bootstrap.encryption import payloads_of
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Sealed
from beluga_stream.errors import RunFailed
from beluga_stream.ports.log import Outgoing
from tests.engine import Engine
from tests.integration import sealed_agents as graphs
from tests.listed import listed

_ROOT = Path(__file__).resolve().parents[2]
SECRET = "the tulip is under the third stone"
ANSWER = "nobody but the gardener knows of it"

pytestmark = pytest.mark.timeout(180)


class _Deployment:
    """A coordinator without a key, a worker with ingest that has keys, and clients."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.folder = folder
        self.keys = folder / "keys"
        self.shared = {
            "broker": broker,
            "prefix": f"t-{uuid.uuid4().hex[:10]}",
            "agents": "tests.integration.sealed_agents",
            "blobs": str(folder / "blobs"),
            "log_level": "DEBUG",
        }
        self.events = f"{self.shared['prefix']}-events"
        self.engines: list[Engine] = []

    async def start(self, role: str, **settings: str) -> Engine:
        folder = self.folder / f"{role}-{len(self.engines)}"
        folder.mkdir()
        engine = Engine(**{**self.shared, "folder": folder}, role=role, **settings)
        engine.environ["SEALED_EVENTS"] = self.events
        self.engines.append(engine)
        await asyncio.to_thread(engine.start, groups=role.count(",") + 1)
        return engine

    def environ(self, **settings: str) -> dict[str, str]:
        return {f"BELUGA_{name.upper()}": value for name, value in {**self.shared, **settings}.items()}

    async def beluga(self, *words: str, code: int = 0, **settings: str) -> str:
        environ = {
            **os.environ,
            **self.environ(**settings),
            "PYTHONPATH": str(_ROOT),
            "SEALED_EVENTS": self.events,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "beluga_stream.cli", *words,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.folder,
            env={name: value for name, value in environ.items() if value},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, out.decode()
        return out.decode()

    async def everything(self) -> Mapping[str, list[bytes]]:
        """Every byte that the engine's topics and its changelog hold, as a plain consumer reads them."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.shared["broker"], auto_offset_reset="earliest")
        await consumer.start()
        found: dict[str, list[bytes]] = {}
        try:
            # The events of users are their own.
            parts = [
                TopicPartition(name, part)
                for name, count in (await _counts(self.shared["broker"])).items()
                if name.startswith(self.shared["prefix"]) and name != self.events
                for part in range(count)
            ]
            ends = await consumer.end_offsets(parts)
            consumer.assign(parts)
            await consumer.seek_to_beginning(*parts)
            while any([await consumer.position(part) < end for part, end in ends.items()]):
                for part, records in (await consumer.getmany(timeout_ms=500)).items():
                    kept = found.setdefault(part.topic, [])
                    for record in records:
                        kept += [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
        finally:
            await consumer.stop()
        return {name: [value for value in values if value] for name, values in found.items()}


@pytest.fixture
async def deployed(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Deployment]:
    found = _Deployment(broker, tmp_path)
    found.keys.write_text(new_key("k1") + "\n")
    for name, value in found.environ(encryption_key_file=str(found.keys)).items():
        monkeypatch.setenv(name, value)
    try:
        yield found
    finally:
        for engine in found.engines:
            await asyncio.to_thread(engine.stop)


async def test_nothing_of_a_value_is_to_be_found_and_keys_may_change_in_mid_run(deployed: _Deployment) -> None:
    coordinator = await deployed.start("coordinator")
    worker = await deployed.start("worker,ingest", encryption_key_file=str(deployed.keys))
    async with connect() as client:
        told = await client.start(graphs.tells, SECRET)
        assert [event.value async for event in told.stream() if type(event).__name__ == "Chunk"] == SECRET.split()
        parts = await client.start(graphs.parts, SECRET)
        both = await client.start(graphs.both, SECRET)
        asked = await client.start(graphs.asks, SECRET)
        assert await told.result(timeout=60) == SECRET
        assert await parts.result(timeout=60) == f"{SECRET} 0!"
        assert await both.result(timeout=60) == {"louder": f"{SECRET}!", "wants_number": SECRET}
        again = await client.start(graphs.asks, SECRET, idempotency_key="once")
        assert (await client.start(graphs.asks, SECRET, idempotency_key="once")).id == again.id
    await deployed.beluga("publish", deployed.events, json.dumps(SECRET))
    async with connect() as client:
        triggered = await listed(client, graphs.tells, but=[told.id])
        # `watch` gives up on a run that gives no sign for some seconds, as it may on a busy machine.
        assert await triggered.result(timeout=60) == SECRET
    assert SECRET in await deployed.beluga("watch", triggered.id)
    await _until_followed(deployed, 2)

    # Rotation: the new key comes in front, and runs that began with the old one go on.
    assert await asyncio.to_thread(worker.stop) == 0
    deployed.keys.write_text(f"{new_key('k2')}\n{deployed.keys.read_text()}")
    worker = await deployed.start("worker,ingest", encryption_key_file=str(deployed.keys))
    async with connect() as client:
        for run in (client.run(graphs.asks, asked.id), client.run(graphs.asks, again.id)):
            await run.signal(Signal("answer", str), ANSWER)
            assert await run.result(timeout=60) == [SECRET + SECRET[: 40 - len(SECRET)], f"{SECRET} 2!", ANSWER]

    seen = await deployed.everything()
    assert {name.removeprefix(deployed.shared["prefix"]) for name in seen} >= {
        ".run-requests", ".run-events", ".node-ready.default", ".node-done", ".run-results", ".runs",
        "-coordinator-runs-changelog",
    }  # fmt: skip
    files = _files(Path(deployed.shared["blobs"]))
    assert files
    logs = [engine.log.read_bytes() for engine in deployed.engines]
    for data in [value for values in seen.values() for value in values] + files + logs:
        for secret in (SECRET, ANSWER, "tulip", "gardener"):
            assert secret.encode() not in data
    keys = [line.partition(":")[2] for line in deployed.keys.read_text().splitlines()]
    assert not any(key.encode() in log for key in keys for log in logs)
    assert not any(engine.said("dead_letter") for engine in (coordinator, worker))

    # Who has no key is told which one it takes.
    run = asked.id
    without = {"encryption_key_file": ""}
    shown = await deployed.beluga("runs", "show", run, **without)
    assert "encrypted (k2)" in shown
    assert "tulip" not in shown
    assert '"encrypted (k1)"' in await deployed.beluga("watch", told.id, "--json", **without)
    assert "tulip" in await deployed.beluga("runs", "show", run)


async def test_a_value_that_was_altered_or_moved_fails_its_run_and_nothing_else(deployed: _Deployment) -> None:
    await deployed.start("coordinator")
    worker = await deployed.start("worker,ingest", encryption_key_file=str(deployed.keys))
    settings = Settings.load(**deployed.shared)
    payloads = payloads_of(settings)
    async with connect() as client, KafkaAppender(kafka(settings)) as appender:

        async def request(run: str, value: Sealed) -> None:
            now = SystemClock().now_ms()
            event = RunRequested(run=RunId(run), key=run, at_ms=now, graph="both", input=value, digest=run)
            record = Outgoing(topics(settings).run_requests, run.encode(), codec.incoming.encode(event))
            await appender.append([record])

        theirs = await payloads.store("theirs", SECRET)
        mine = await payloads.store("altered", SECRET)
        assert isinstance(theirs, Sealed)
        assert isinstance(mine, Sealed)
        await request("altered", replace(mine, data=mine.data[:-1] + bytes([mine.data[-1] ^ 1])))
        await request("renamed", replace(theirs, owner="renamed"))
        await request("stolen", theirs)
        for run in ("altered", "renamed"):
            with pytest.raises(RunFailed, match="does not open: it was altered, belongs to another run") as failed:
                await client.run(graphs.both, run).result(timeout=60)
            assert failed.value.reason == "tampered"
        # A key that the worker has not: another worker may have it, and `retry` goes on then.
        deployed.keys.write_text(new_key("k9") + "\n")
    async with connect() as client:
        unknown = await client.start(graphs.both, SECRET)
        with pytest.raises(RunFailed, match="encrypted with key 'k9', which this process does not have"):
            await unknown.result(timeout=60)
    said = await deployed.beluga("dead-letters", "list", "--json")
    assert [letter["message"] for letter in json.loads(said)] == [
        "a run_requested of run stolen brings an encrypted value of run theirs"
    ]
    assert worker.pid
    assert not worker.said("role.failed")
    assert await asyncio.to_thread(worker.stop) == 0


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def _counts(broker: str) -> Mapping[str, int]:
    async with KafkaTopics(KafkaConnection.parse(broker)) as admin:
        return await admin.describe()


async def _until_followed(deployed: _Deployment, count: int) -> None:
    """Wait for so many runs of `after`: the end of another graph's run starts them, and ingest opens its result."""
    async with asyncio.timeout(60):
        while True:
            listed = json.loads(await deployed.beluga("runs", "list", "--graph", "after", "--json"))
            if len([run for run in listed if run["status"] == "succeeded"]) >= count:
                return
