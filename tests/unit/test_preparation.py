"""What keeps a role from starting that can be told from its code and settings alone."""

from pathlib import Path

import pytest

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.bootstrap import deployment
from beluga_stream.bootstrap.preparation import _check_spans, introduction
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import InvalidConfig

_TRIGGERED = """
from beluga_stream import Graph, Topic, batch, debounce, join
docs = Topic("docs", int).by(str)
graph = Graph[{kind}, int]("g")
graph.set_finish_point(graph.add_node(lambda given: 1, graph.input, name="one"))
graph.trigger({on})
"""
_HOUR = 3_600


@pytest.mark.parametrize(
    ("on", "kind"),
    [
        ("join(docs, Topic('others', int).by(str), within={0} - 60, lateness=60)", "tuple[int, int]"),
        ("batch(docs, size=3, within={0})", "list[int]"),
        ("debounce(docs, quiet={0})", "int"),
    ],
    ids=["join", "batch", "burst"],
)
def test_no_event_waits_for_longer_than_the_engine_keeps_it(tmp_path: Path, on: str, kind: str) -> None:
    for seconds, refused in ((2 * _HOUR, False), (2 * _HOUR + 1, True)):
        agents = tmp_path / f"agents{seconds}"
        agents.mkdir()
        (agents / "graphs.py").write_text(_TRIGGERED.format(on=on.format(seconds), kind=kind))
        deployed = deployment.load(str(agents))
        settings = Settings(retention_hours=2)
        if refused:
            with pytest.raises(InvalidConfig, match="waits longer for its events than the engine keeps them"):
                _check_spans(settings, deployed)
        else:
            _check_spans(settings, deployed)


def test_a_process_says_what_it_is(tmp_path: Path) -> None:
    connection = KafkaConnection.parse("kafka:9092")
    coordinator = introduction(Settings(role="coordinator", prefix="shop"), connection, None)
    assert coordinator.endswith(": coordinator of engine shop, at kafka:9092")
    for number in range(12):
        (tmp_path / f"g{number}.py").write_text(
            f"from beluga_stream import Graph\ng = Graph[int, int]('g{number:02}')\n"
            "g.set_finish_point(g.add_node(lambda given: 1, g.input, name='one'))\n"
        )
    deployed = deployment.load(str(tmp_path))
    worker = introduction(Settings(role="worker,ingest", prefix="beluga"), connection, deployed)
    assert "worker, ingest of engine beluga, at kafka:9092; graphs: g00, g01, " in worker
    assert worker.endswith("g09, 2 more; no triggers, so there is nothing to ingest")
    assert introduction(Settings(role="worker"), connection, deployment.LoadedDeployment([])).endswith("graphs: none")
