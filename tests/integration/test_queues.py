"""Workers with lists of queues that overlap: they share what several of them read, and each node runs once."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine, connected

_GRAPH = """
import os

from beluga_stream import Graph


def note(what: str) -> None:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{what} {os.environ.get('BELUGA_QUEUES', 'all')}\\n")


def plain(value: int) -> int:
    note(f"plain {value}")
    return value


def heavy(value: int) -> int:
    note(f"heavy {value}")
    return value


noted = Graph[int, int]("noted")
noted.set_finish_point(noted.add_node(heavy, noted.add_node(plain, noted.input), queue="gpu"))
"""
_RUNS = 40


async def test_workers_share_the_queues_that_several_of_them_read(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    exec(_GRAPH, names)
    noted = names["noted"]
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "noted.py").write_text(_GRAPH)
    notes = tmp_path / "notes"
    agents = str(tmp_path / "agents")
    engine = Engine(broker, tmp_path, agents=agents, role="coordinator,worker")
    engine.environ["NOTES"] = str(notes)
    others = []
    for queue in ("default", "gpu"):
        (tmp_path / queue).mkdir()
        other = Engine(broker, tmp_path / queue, agents=agents, role="worker", queues=queue)
        other.environ |= {name: engine.environ[name] for name in ("NOTES", "BELUGA_PREFIX", "BELUGA_BLOBS")}
        other.prefix = engine.prefix
        others.append(other)
    try:
        others[0].start(groups=1)  # the first assigns the partitions, and of queues, too, that it does not read itself
        engine.start(groups=2)
        others[1].start(groups=1)
        async with connected(engine, monkeypatch) as client:
            runs = [await client.start(noted, value) for value in range(_RUNS)]
            assert [await run.result(timeout=60) for run in runs] == list(range(_RUNS))
    finally:
        assert await asyncio.gather(*(asyncio.to_thread(each.stop) for each in (*others, engine))) == [0, 0, 0]
    lines = [line.split() for line in notes.read_text().splitlines()]
    once = [(node, value) for node in ("heavy", "plain") for value in range(_RUNS)]
    assert sorted((node, int(value)) for node, value, _ in lines) == once
    by = Counter((node, queues) for node, _, queues in lines)
    assert set(by) == {("plain", "all"), ("plain", "default"), ("heavy", "all"), ("heavy", "gpu")}
