"""Workers that name their queues, beside those that do not and after them."""

from pathlib import Path
from typing import Any

import pytest

from tests.engine import Engine, connected

_GRAPH = """
import os

from beluga_stream import Graph


def note(value: int) -> int:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{value}\\n")
    return value


noted = Graph[int, int]("noted")
noted.set_finish_point(noted.add_node(note, noted.input))
"""


async def test_workers_that_name_their_queues_go_on_where_the_others_have_come_to(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELUGA_PARTITIONS", "1")
    names: dict[str, Any] = {}
    exec(_GRAPH, names)
    noted = names["noted"]
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "noted.py").write_text(_GRAPH)
    notes = tmp_path / "notes"
    settings = {"agents": str(tmp_path / "agents"), "partitions": "1"}
    engine = Engine(broker, tmp_path, **settings, role="coordinator,worker")
    engine.environ["NOTES"] = str(notes)
    engine.start(groups=2)
    (tmp_path / "other").mkdir()
    other = Engine(broker, tmp_path / "other", **settings, role="worker", queues="default")
    other.environ |= {name: engine.environ[name] for name in ("NOTES", "BELUGA_PREFIX", "BELUGA_BLOBS")}
    other.prefix = engine.prefix
    try:
        async with connected(engine, monkeypatch) as client:
            assert await (await client.start(noted, 1)).result(timeout=60) == 1
            other.start(groups=1)
            (told,) = other.said("queues_shared")
            assert told["groups"] == [f"{engine.prefix}-worker", f"{engine.prefix}-worker.default"]
            assert other.stop() == 0
            assert engine.stop() == 0
            engine.environ["BELUGA_QUEUES"] = "default"
            engine.start(groups=4)
            assert await (await client.start(noted, 2)).result(timeout=60) == 2
    finally:
        assert [other.stop(), engine.stop()] == [0, 0], engine.tail
    # All of one partition, in which the second comes after the first.
    assert notes.read_text().split() == ["1", "2"]
    assert not engine.said("queues_shared"), "the others have gone"
