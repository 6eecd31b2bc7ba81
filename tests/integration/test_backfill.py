"""A backfill starts what is missing and nothing else, also when a run is remembered by nobody but `beluga.runs`."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from tests.engine import Engine

AGENTS = Path(__file__).parent / "join_agents"
_WINDOW_SECONDS = 5.0
_WAIT_SECONDS = 60.0
_HALF = 20


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ledger"
    path.touch()
    monkeypatch.setenv("JOIN_LEDGER", str(path))
    return path


@pytest.fixture
def engine(broker: str, tmp_path: Path, ledger: Path) -> Iterator[Engine]:
    """The coordinator and workers, which forget a run after five seconds."""
    hours = str(_WINDOW_SECONDS / 3600)
    engine = Engine(broker, tmp_path, agents=str(AGENTS), role="coordinator,worker", dedup_window_hours=hours)
    names = ("a", "b", "c", "many", "edits", "docs")
    declared = "".join(f"  - name: {engine.prefix}.{name}\n    partitions: 2\n" for name in names)
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "all.yaml").write_text(f"topics:\n{declared}")
    engine.start(groups=2)
    try:
        yield engine
    finally:
        code = engine.stop()
    assert code == 0, engine.tail


def _beluga(engine: Engine, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "beluga_stream.cli", *arguments, "--json"],
        env=engine.environ,
        capture_output=True,
        text=True,
        timeout=_WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def _publish(engine: Engine, numbers: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=engine.broker)
    await producer.start()
    try:
        for number in numbers:
            value = json.dumps({"key": str(number), "n": number}).encode()
            await producer.send_and_wait(f"{engine.prefix}.docs", value, partition=number % 2)
    finally:
        await producer.stop()


def _lines(ledger: Path) -> list[int]:
    return sorted(int(line) for line in ledger.read_text().split())


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_only_the_half_that_has_not_run_is_started(engine: Engine, ledger: Path, tmp_path: Path) -> None:
    await _publish(engine, range(_HALF))
    ingest = Engine(engine.broker, tmp_path, agents=str(AGENTS), role="ingest", prefix=engine.prefix)
    ingest.log = tmp_path / "ingest.log"
    ingest.start(groups=2)
    deadline = time.monotonic() + _WAIT_SECONDS
    while len(_lines(ledger)) < _HALF and time.monotonic() < deadline:
        _beluga(engine, "runs", "list")
    assert ingest.stop() == 0
    assert _lines(ledger) == list(range(_HALF))

    await _publish(engine, range(_HALF, 2 * _HALF))
    await _publish(engine, range(-3, 0))  # where= does not pick these
    forgotten = time.monotonic() + _WINDOW_SECONDS + 1
    while time.monotonic() < forgotten:
        # Runs go on meanwhile, or the coordinators would have no reason to look at what they may forget.
        _beluga(engine, "run", "yearly", '"x"')
    dry = _beluga(engine, "backfill", "noted", "--from", "0", "--dry-run")
    assert dry["counts"] == {"ran already": _HALF, "would start": _HALF, "filtered": 3}
    assert len({each["run"] for each in dry["starts"]}) == _HALF
    assert _lines(ledger) == list(range(_HALF))

    told = _beluga(engine, "backfill", "noted", "--from", "0", "--parallel", "3")
    assert told == {"ran already": _HALF, "succeeded": _HALF, "filtered": 3}
    assert _lines(ledger) == list(range(2 * _HALF))
    again = _beluga(engine, "backfill", "noted", "--from", "2020-01-01", "--partition", "1")
    assert again == {"ran already": _HALF, "filtered": 2}

    years = ("backfill", "yearly", "--from", "2023-06-01", "--to", "2026-06-01T00:00Z")
    assert _beluga(engine, *years) == {"succeeded": 3}
    assert _beluga(engine, *years) == {"ran already": 3}
    assert _lines(ledger) == list(range(2 * _HALF))


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_windows_of_a_join_that_no_ingest_has_seen_are_started(engine: Engine) -> None:
    earlier_ms = int(time.time() * 1000) - 600_000
    producer = AIOKafkaProducer(bootstrap_servers=engine.broker)
    await producer.start()
    try:
        for topic, key, number in (("a", "k", 1), ("b", "k", 2), ("c", "k", 4), ("a", "lonely", 8)):
            value = json.dumps({"key": key, "n": number}).encode()
            await producer.send_and_wait(f"{engine.prefix}.{topic}", value, key=key.encode(), timestamp_ms=earlier_ms)
    finally:
        await producer.stop()
    begin = datetime.fromtimestamp(earlier_ms / 1000 - 60, UTC).isoformat()
    dry = _beluga(engine, "backfill", "whole", "--from", begin, "--dry-run")
    assert dry["counts"] == {"would start": 2}
    assert _beluga(engine, "backfill", "whole", "--from", begin) == {"succeeded": 2}
    assert _beluga(engine, "backfill", "whole", "--from", begin) == {"ran already": 2}
    runs = {run["graph"]: run["run"] for run in _beluga(engine, "runs", "list")}
    outputs = {graph: _beluga(engine, "runs", "show", run)["output"] for graph, run in runs.items()}
    assert outputs == {"whole": 7, "part": "a--"}
