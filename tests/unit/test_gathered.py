"""Counts that are gathered are counted a moment later, all of them; what is not recorded is told from its end."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeter

from beluga_stream.adapters.otel import gathered
from beluga_stream.adapters.otel.above import above, is_unrecorded
from beluga_stream.adapters.otel.gathered import GatheredTelemetry
from beluga_stream.adapters.otel.telemetry import OtelTelemetry

_WITHIN_SECONDS = 10.0


class Counted(OtelTelemetry):
    """What was counted, in order; `all_there` is set at the last."""

    def __init__(self, last: str = "") -> None:
        super().__init__(NoOpMeter("test"))
        self.counts: list[tuple[Any, ...]] = []
        self.all_there = asyncio.Event()
        self.last = last

    def runs_started(self, kind: str, name: str, nodes: int, count: int) -> None:
        self.counts.append(("runs started", kind, name, nodes, count))
        if name == self.last:
            self.all_there.set()

    def runs_ended(self, kind: str, name: str, *, success: bool, seconds: Sequence[float]) -> None:
        self.counts.append(("runs ended", kind, name, success, *seconds))

    def nodes_waited(self, graph: str, waits: Sequence[float]) -> None:
        self.counts.append(("nodes waited", graph, *waits))

    def nodes_ended(self, graph: str, node: str, *, success: bool, seconds: Sequence[float]) -> None:
        self.counts.append(("nodes ended", graph, node, success, *seconds))

    def in_flight(self, change: int) -> None:
        self.counts.append(("in flight", change))

    def dead_letter(self, role: str, code: str) -> None:
        self.counts.append(("dead letter", role, code))


async def test_what_is_counted_often_is_counted_together_a_moment_later() -> None:
    counted = Counted(last="last")
    telemetry = GatheredTelemetry(counted)
    for waited in (0.5, 0.25, 0.125):
        telemetry.node_began("stories", waited)
    telemetry.node_ended("stories", "load", success=False, seconds=2.0)
    telemetry.node_ended("stories", "load", success=True, seconds=3.0)
    telemetry.node_ended("stories", "load", success=True, seconds=4.0)
    telemetry.node_left()
    telemetry.run_ended("graph", "stories", success=True, seconds=3.0)
    for _ in range(2):
        telemetry.run_started("chain", "last", 2)
    assert counted.counts == []
    async with asyncio.timeout(_WITHIN_SECONDS):
        await counted.all_there.wait()
    assert sorted(counted.counts) == [
        ("in flight", 2),
        ("nodes ended", "stories", "load", False, 2.0),
        ("nodes ended", "stories", "load", True, 3.0, 4.0),
        ("nodes waited", "stories", 0.5, 0.25, 0.125),
        ("runs ended", "graph", "stories", True, 3.0),
        ("runs started", "chain", "last", 2, 2),
    ]


async def test_what_comes_after_is_counted_after_the_next_moment() -> None:
    counted = Counted()
    telemetry = GatheredTelemetry(counted)
    for name in ("first", "second"):
        counted.all_there.clear()
        counted.last = name
        telemetry.run_started("graph", name, 1)
        async with asyncio.timeout(_WITHIN_SECONDS):
            await counted.all_there.wait()
    assert [name for _, _, name, _, _ in counted.counts] == ["first", "second"]


async def test_rare_things_are_counted_at_once() -> None:
    counted = Counted()
    GatheredTelemetry(counted).dead_letter("worker", "invalid_input")
    assert counted.counts == [("dead letter", "worker", "invalid_input")]


async def test_no_more_than_so_many_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "_MOST", 3)
    counted = Counted()
    telemetry = GatheredTelemetry(counted)
    for _ in range(3):
        telemetry.node_left()
    assert counted.counts == [("in flight", -3)]
    telemetry.node_left()
    telemetry.count()
    assert counted.counts == [("in flight", -3), ("in flight", -1)]
    telemetry.count()
    assert len(counted.counts) == 2


@pytest.mark.parametrize("flags", [f"{number:02x}" for number in range(256)])
def test_a_trace_that_is_not_recorded_is_known_by_its_end(flags: str) -> None:
    told = f"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}"
    assert is_unrecorded(told) is not above(told).is_recorded


@pytest.mark.parametrize(
    "told", ["", "00", f"00-{'0' * 32}-b7ad6b7169203331-00", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-00"]
)
def test_what_is_no_trace_is_not_said_to_be_unrecorded(told: str) -> None:
    assert not is_unrecorded(told)
    assert not above(told).is_valid
