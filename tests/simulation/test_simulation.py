"""Random graphs on an engine that fails as a seed decides. SEEDS=n plays more seeds, SEED=n only that one."""

import os
import random

import pytest

from beluga_stream.testing.cluster import ClusterOptions
from beluga_stream.testing.simulation import Start, simulate
from tests.simulation.programs import random_program, signals_of
from tests.simulation.seeds import SEEDS

_ONLY = os.environ.get("SEED")
_BATCH = 10
"""Seeds of one test: a test costs as much as a short simulation. What fails tells its seed."""


def batches(most: int) -> list[range]:
    if _ONLY:
        return [range(int(_ONLY), int(_ONLY) + 1)]
    return [range(start, min(start + _BATCH, most)) for start in range(0, most, _BATCH)]


def starts_of(seed: int) -> list[Start]:
    rnd = random.Random(seed)
    programs = [random_program(seed * 10 + number, rnd.randint(1, 7)) for number in range(rnd.randint(1, 3))]
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
        for number in range(rnd.randint(1, 5))
    ]


@pytest.mark.parametrize("seeds", batches(SEEDS), ids=str)
def test_every_run_ends_as_it_does_here_whatever_fails(seeds: range) -> None:
    for seed in seeds:
        simulate(starts_of(seed), seed)


@pytest.mark.parametrize("seeds", batches(SEEDS // 8), ids=str)
def test_so_it_does_when_workers_go_on_with_the_next_node(seeds: range) -> None:
    for seed in seeds:
        simulate(starts_of(seed), seed, ClusterOptions(fuse_ms=10_000))


def test_a_seed_does_the_same_again() -> None:
    assert simulate(starts_of(9), 9).trace == simulate(starts_of(9), 9).trace
