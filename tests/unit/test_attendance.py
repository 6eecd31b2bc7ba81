"""What `beluga doctor` says of the engine's processes, by who is in their consumer groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.kafka.membership import Membership
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.cli import attendance as module
from beluga_stream.errors import AccessDenied

_GRAPHS = """
from beluga_stream import Graph, Topic


def same(value: int) -> int:
    return value


graph = Graph[int, int]("two_queues")
graph.set_finish_point(graph.add_node(same, graph.add_node(same, graph.input, name="first"), queue="gpu"))
graph.trigger(Topic("numbers", int))
"""
DEFAULT, GPU = "beluga.node-ready.default", "beluga.node-ready.gpu"


def group(members: int, *topics: str) -> Membership:
    return Membership(members, frozenset(topics))


async def found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: Mapping[str, Membership]
) -> list[tuple[str, bool | None, str]]:
    """What is found where these groups have members."""

    async def memberships(_: KafkaConnection, names: Sequence[str]) -> Mapping[str, Membership]:
        return dict.fromkeys(names, group(0)) | groups

    monkeypatch.setattr(module, "memberships", memberships)
    (tmp_path / "graphs.py").write_text(_GRAPHS)
    settings = Settings(agents=str(tmp_path))
    findings = await module.attendance(settings, KafkaConnection.parse("127.0.0.1:9"))
    return [(finding.check, finding.ok, finding.said) for finding in findings]


async def test_all_that_the_deployment_needs_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {
        "beluga-coordinator": group(1),
        "beluga-ingest": group(2),
        "beluga-worker": group(3, DEFAULT, GPU),
    }
    assert await found(tmp_path, monkeypatch, groups) == [("processes", True, "coordinator 1, worker 3, ingest 2")]


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({}, "none of the engine is there: what is sent to them waits (coordinator 0, worker 0, ingest 0)"),
        (
            {"beluga-worker": group(1, DEFAULT, GPU)},
            "no coordinator, no ingest is there: what is sent to them waits (coordinator 0, worker 1, ingest 0)",
        ),
    ],
)
async def test_who_is_not_there_is_a_remark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: Mapping[str, Membership], told: str
) -> None:
    assert await found(tmp_path, monkeypatch, groups) == [("processes", None, told)]


_OTHERS = {"beluga-coordinator": group(1), "beluga-ingest": group(1)}
_ALL = ("processes", True, "coordinator 1, worker 1, ingest 1")


async def test_a_queue_that_no_worker_serves_is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = _OTHERS | {"beluga-worker": group(1, DEFAULT)}
    assert await found(tmp_path, monkeypatch, groups) == [
        _ALL,
        ("queues", None, "no worker serves gpu: its nodes wait"),
    ]


async def test_nothing_is_said_of_queues_while_workers_settle_what_they_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await found(tmp_path, monkeypatch, _OTHERS | {"beluga-worker": Membership(1, None)}) == [_ALL]


async def test_who_may_not_see_groups_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def memberships(*_: object) -> Mapping[str, Membership]:
        raise AccessDenied("no")

    monkeypatch.setattr(module, "memberships", memberships)
    connection = KafkaConnection.parse("127.0.0.1:9")
    (finding,) = await module.attendance(Settings(agents=str(tmp_path / "none")), connection)
    assert (finding.ok, "acls operator" in finding.fix) == (None, True)
