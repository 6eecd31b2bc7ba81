"""Durable graphs in a simulated engine: whatever fails, their runs end as here, and signals and cancels cross."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from beluga_stream import Graph, Signal
from beluga_stream.application import codec
from beluga_stream.application.durable.bridge import Bridge
from beluga_stream.application.durable.inside import Durable, Inside
from beluga_stream.application.durable.pinned import closure
from beluga_stream.application.messages import Progress
from beluga_stream.domain import handing
from beluga_stream.domain.definition import Definition, NodeKind
from beluga_stream.domain.draft import Draft
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import GraphHash, NodeKey, RunId, is_page
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.state import RunStatus, Signalled
from beluga_stream.domain.waiting import Waiting
from beluga_stream.errors import CodeMissing, InvalidGraph, InvalidState, RunFailed
from beluga_stream.ports.handlers import Program
from beluga_stream.ports.log import Record
from beluga_stream.testing import Simulate, simulate
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.invariants import Broken
from beluga_stream.testing.simulation import Start, play
from beluga_stream.testing.simulation import simulate as compared
from beluga_stream.testing.workflows import LocalWorkflows
from tests.simulation.durable import around, in_a_row, random_durable, waiting
from tests.simulation.mutants import Plant
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.starts import starts_of as drawn
from tests.simulation.test_simulation import batches

__all__ = ["simulate"]  # the fixture

_WITHIN_SEEDS = 200
_ITEMS = 65
"""One more than a page has."""


def starts_of(seed: int) -> list[Start]:
    return drawn(seed, random_durable, nodes=5, programs=2, runs=4)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS), ids=str)
def test_every_durable_run_ends_as_it_does_here_whatever_fails(seeds: range) -> None:
    for seed in seeds:
        compared(starts_of(seed), seed)


def waits_of(seed: int) -> list[Start]:
    """Waits that are answered through one run, in subgraphs of both kinds."""
    rnd = random.Random(seed)
    below = waiting("inner", durable=rnd.random() < 0.6)
    shape = rnd.choice([below, around(below, "outer"), around(around(below, "middle"), "outer")])
    return [Start(program=shape, value=1, key="one", signals={"go": [1]}, again=rnd.random() < 0.3)]


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS), ids=str)
def test_a_signal_reaches_the_wait_of_a_subgraph_at_any_depth(seeds: range) -> None:
    for seed in seeds:
        report = compared(waits_of(seed), seed)
        assert report.ended["one"].status == "succeeded"


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_a_run_that_is_cancelled_leaves_no_durable_run_behind(seeds: range) -> None:
    for seed in seeds:
        program = around(waiting("inner", durable=True), "outer", kind=NodeKind.MAP if seed % 2 else NodeKind.GRAPH)
        start = Start(program=program, value=1, key="one", cancel_after=random.Random(seed).uniform(0, 8))
        assert play([start], seed).ended["one"].status == "cancelled", f"seed {seed}"


@pytest.mark.parametrize("error", [RuntimeError("broken"), InvalidState("its id is taken")], ids=repr)
@pytest.mark.parametrize("seed", range(6))
def test_a_durable_run_that_cannot_be_started_fails_its_node(
    seed: int, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(self: LocalWorkflows, request: RunRequested) -> None:
        raise error

    monkeypatch.setattr(LocalWorkflows, "start", start)
    program = around(waiting("inner", durable=True), "outer", kind=NodeKind.MAP if seed % 2 else NodeKind.GRAPH)
    ended = play([Start(program, 1, "one")], seed).ended["one"]
    assert ended.status == "failed", ended
    assert isinstance(ended.error, RunFailed)
    assert str(error) in str(ended.error)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_two_graphs_in_a_row_share_no_approval(seeds: range) -> None:
    for seed in seeds:
        program = in_a_row(waiting("first", durable=True), waiting("second", durable=seed % 2 == 0), "row")
        start = Start(program=program, value=1, key="one", signals={"go": [1]}, cancel_after=200.0)
        assert play([start], seed).ended["one"].status == "cancelled", f"seed {seed}: one signal answers one wait"


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_a_durable_run_that_goes_on_says_what_it_waits_for(seeds: range) -> None:
    for seed in seeds:
        starts = starts_of(seed)
        starts[0] = replace(starts[0], beside=asked_how_it_stands)
        compared(starts, seed)


async def asked_how_it_stands(cluster: Cluster, run: RunId) -> None:
    """Ask every durable run, again and again, while there may be any."""
    host = cluster.workflows
    for _ in range(60 if host is not None else 0):
        await asyncio.sleep(cluster.faults.random.expovariate(2))
        assert host is not None
        for durable, how in tuple(host.runs.items()):
            standing = host.standing(durable)
            goes_on = standing.status in (RunStatus.RUNNING, RunStatus.COMPENSATING)
            assert how.stands in ("running" if goes_on else standing.status, "terminated")
            reasons = {each.on for each in standing.waits}
            assert "nothing" not in reasons, f"{durable} waits for nothing"
            assert bool(reasons) == (goes_on and bool(standing.nodes)), f"{durable}: {standing}"


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 25), ids=str)
def test_each_item_of_a_large_map_is_a_durable_run_and_no_page_is(seeds: range) -> None:
    program = around(waiting("item", durable=True, waits=0), "outer", kind=NodeKind.MAP, items=_ITEMS)
    for seed in seeds:
        found: set[RunId] = set()

        async def noted(cluster: Cluster, run: RunId, found: set[RunId] = found) -> None:
            assert cluster.workflows is not None
            while len(found) < _ITEMS:
                await asyncio.sleep(1)
                found |= set(cluster.workflows.runs)

        ended = play([Start(program=program, value=1, key="one", beside=noted)], seed).ended
        assert ended["one"].status == "succeeded", f"seed {seed}"
        assert not any(is_page(NodeKey(each.rpartition(".")[2])) for each in found)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_what_is_waited_for_inside_can_be_read_from_the_log(seeds: range) -> None:
    for seed in seeds:
        start = Start(program=around(_INNER, "outer"), value=1, key="one", beside=answered)
        assert play([start], seed).ended["one"].status == "succeeded", f"seed {seed}"


_INNER = waiting("inner", durable=True)


async def answered(cluster: Cluster, run: RunId) -> None:
    """Send the signal once the log says that the durable run waits for it."""
    while not any(wait.on == "signal" for wait in shown_inside(cluster)):  # noqa: ASYNC110 - in virtual time
        await asyncio.sleep(1)
    [wait] = shown_inside(cluster)
    assert (wait.node, wait.what) == ("sub/wait0", "signal 'go'")
    async with cluster.client() as runs:
        await runs.signal(run, "go", 1)


def shown_inside(cluster: Cluster) -> list[Waiting]:
    host, topic = cluster.workflows, cluster.topics.run_results
    assert host is not None
    durable = [Durable(each, NodeKey("sub"), host.plans[_INNER.definition.hash], 0) for each in host.runs]
    inside = Inside(durable)
    for partition in range(cluster.topics.partitions):
        for record in cluster.log.records(topic, partition, most=1 << 30):
            told = codec.results.decode(record.value)
            if isinstance(told, Progress):
                inside.read(told)
    return [wait for each in durable for wait in inside.waits(each.run)]


def _definitions(program: Program) -> dict[GraphHash, Definition]:
    found = {program.definition.hash: program.definition}
    for child in program.children.values():
        found |= _definitions(child)
    return found


@pytest.mark.parametrize("seeds", batches(80), ids=str)
def test_a_durable_run_is_pinned_to_all_that_it_needs_and_to_nothing_else(seeds: range) -> None:
    for seed in seeds:
        program = random_durable(seed, 5)
        there = _definitions(program)
        request = RunRequested(
            run=RunId("r"), key="r", at_ms=0, graph="g", definition=program.definition.hash, input=Inline(1), digest=""
        )
        try:
            pinned = closure(request, there.get)
        except InvalidGraph:
            assert any(each.limits or any(node.limits for node in each.nodes) for each in there.values())
            continue
        assert {each.hash: each for each in pinned} == there, f"seed {seed}"
        for missing in there:
            with pytest.raises(CodeMissing, match=str(missing)):
                closure(request, {found: each for found, each in there.items() if found != missing}.get)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_a_workflow_that_is_terminated_by_hand_fails_its_node(seeds: range) -> None:
    for seed in seeds:
        program = around(waiting("inner", durable=True), "outer")
        start = Start(program=program, value=1, key="one", beside=terminated)
        ended = play([start], seed).ended["one"]
        assert ended.status == "failed", f"seed {seed}"
        assert "its workflow was terminated" in str(ended.error)


async def terminated(cluster: Cluster, run: RunId) -> None:
    """Terminate the first workflow that there is."""
    host = cluster.workflows
    assert host is not None
    while not host.runs:  # noqa: ASYNC110 - in virtual time, and nobody tells
        await asyncio.sleep(1)
    await host.terminate(next(iter(host.runs)))


def overtaking(patch: pytest.MonkeyPatch) -> None:
    """Requests of one durable run are done in any order."""
    begin = Bridge._begin

    def begun(self: Bridge, record: Record) -> "asyncio.Task[None]":
        self._last.clear()
        return begin(self, record)

    patch.setattr(Bridge, "_begin", begun)


def acknowledged_before_it_is_done(patch: pytest.MonkeyPatch) -> None:
    """What is asked of durable runs counts as done when it is taken."""
    handle = Bridge.handle

    async def handled(self: Bridge, records: Sequence[Record]) -> None:
        await handle(self, records)

    patch.setattr(Bridge, "handle", handled)


def shared_by_all(patch: pytest.MonkeyPatch) -> None:
    """A signal that was handed to a child is kept for the next one, too."""
    hand = handing._hand

    def handed(draft: Draft, key: NodeKey, signal: Signalled) -> None:
        hand(draft, key, signal)
        draft.signals = (*draft.signals, signal)

    patch.setattr(handing, "_hand", handed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", [overtaking, acknowledged_before_it_is_done], ids=lambda plant: plant.__name__)
def test_a_planted_bug_of_durable_runs_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    program = around(waiting("inner", durable=True), "outer")
    for seed in range(_WITHIN_SEEDS):
        cancel = random.Random(seed).uniform(0, 8) if seed % 2 else None
        start = Start(program=program, value=1, key="one", signals={"go": [1]}, cancel_after=cancel)
        try:
            compared([start], seed, ClusterOptions(crash=0.02, unavailable=0.02), tell=False)
        except Broken:
            return
    pytest.fail(f"{_WITHIN_SEEDS} seeds did not find that {plant.__doc__}")


def test_a_signal_that_two_children_share_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_by_all(monkeypatch)
    with pytest.raises(AssertionError, match="one signal answers one wait"):
        test_two_graphs_in_a_row_share_no_approval(range(1))


approval = Signal("approval", bool)


async def charge(order: str) -> str:
    raise ConnectionError("the payment service, which tests must not call")


async def fake_charge(order: str) -> str:
    return f"charged {order}"


async def ship(paid: str, approved: bool) -> str:  # noqa: FBT001 - what the signal is
    return f"{paid}, {'shipped' if approved else 'kept'}"


sale = Graph[str, str]("sale", durable=True)
paid = sale.add_node(charge, sale.input)
sale.set_finish_point(
    sale.add_node(ship, paid, sale.wait(approval, after=paid, timeout=timedelta(days=2), remind=timedelta(days=1)))
)


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS // 8), ids=str)
def test_users_simulate_durable_graphs_as_any_other(simulate: Simulate, seeds: range) -> None:
    for seed in seeds:
        outcome = simulate(sale, "7", seed=seed, fakes={charge: fake_charge}, signals={approval: True})
        assert outcome.result == "charged 7, shipped", f"seed {seed}"
        assert len(outcome.effects(charge)) == 1
