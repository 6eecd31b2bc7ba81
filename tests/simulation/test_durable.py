"""Durable graphs in a simulated engine: whatever fails, their runs end as here, and signals and cancels cross."""

import random

import pytest

from beluga_stream.domain.definition import NodeKind
from beluga_stream.testing.simulation import Start, play, simulate
from tests.simulation.durable import around, in_a_row, random_durable, waiting
from tests.simulation.programs import signals_of
from tests.simulation.seeds import SIDE_SEEDS

_BATCH = 10


def batches(most: int) -> list[range]:
    return [range(start, min(start + _BATCH, most)) for start in range(0, most, _BATCH)]


def starts_of(seed: int) -> list[Start]:
    rnd = random.Random(seed)
    programs = [random_durable(seed * 10 + number, rnd.randint(1, 5)) for number in range(rnd.randint(1, 2))]
    retry = rnd.random() < 0.25
    return [
        Start(
            program=(program := rnd.choice(programs)),
            value=list(range(rnd.choice([0, 1, 3, 65]))),
            key=f"run-{number}",
            signals=signals_of(program),
            again=rnd.random() < 0.3,
            retry=retry,
            cancel_after=rnd.uniform(0, 15) if rnd.random() < 0.15 else None,
        )
        for number in range(rnd.randint(1, 4))
    ]


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS), ids=str)
def test_every_durable_run_ends_as_it_does_here_whatever_fails(seeds: range) -> None:
    for seed in seeds:
        simulate(starts_of(seed), seed)


def waits_of(seed: int) -> list[Start]:
    """Waits that are answered through one run, in subgraphs of both kinds."""
    rnd = random.Random(seed)
    below = waiting("inner", durable=rnd.random() < 0.6)
    shape = rnd.choice([below, around(below, "outer"), around(around(below, "middle"), "outer")])
    return [Start(program=shape, value=1, key="one", signals={"go": [1]}, again=rnd.random() < 0.3)]


@pytest.mark.parametrize("seeds", batches(SIDE_SEEDS), ids=str)
def test_a_signal_reaches_the_wait_of_a_subgraph_at_any_depth(seeds: range) -> None:
    for seed in seeds:
        report = simulate(waits_of(seed), seed)
        assert report.ended["one"].status == "succeeded"


@pytest.mark.parametrize("seed", range(SIDE_SEEDS // 8))
def test_a_run_that_is_cancelled_leaves_no_durable_run_behind(seed: int) -> None:
    program = around(waiting("inner", durable=True), "outer", kind=NodeKind.MAP if seed % 2 else NodeKind.GRAPH)
    start = Start(program=program, value=1, key="one", cancel_after=random.Random(seed).uniform(0, 8))
    assert play([start], seed).ended["one"].status == "cancelled"


@pytest.mark.parametrize("seed", range(SIDE_SEEDS // 8))
def test_two_graphs_in_a_row_share_no_approval(seed: int) -> None:
    program = in_a_row(waiting("first", durable=True), waiting("second", durable=seed % 2 == 0), "row")
    start = Start(program=program, value=1, key="one", signals={"go": [1]}, cancel_after=200.0)
    assert play([start], seed).ended["one"].status == "cancelled", "one signal answers one wait"
