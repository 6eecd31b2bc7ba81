"""Random graphs on an engine that fails as a seed decides. SEEDS=n plays more seeds, SEED=n only that one."""

import os

import pytest

from beluga_stream.testing.cluster import ClusterOptions
from beluga_stream.testing.simulation import simulate
from tests.simulation.seeds import SEEDS
from tests.simulation.starts import starts_of

_ONLY = os.environ.get("SEED")
_BATCH = 10
"""Seeds of one test: a test costs as much as a short simulation. What fails tells its seed."""


def batches(most: int) -> list[range]:
    if _ONLY:
        return [range(int(_ONLY), int(_ONLY) + 1)]
    return [range(start, min(start + _BATCH, most)) for start in range(0, most, _BATCH)]


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
