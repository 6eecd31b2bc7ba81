"""A log that loses every second word of a time that has come: whoever told it lives, and tells it again."""

import pytest

from beluga_stream.testing.cluster import ClusterOptions
from beluga_stream.testing.simulation import simulate
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.starts import starts_of

_OPTIONS = ClusterOptions(crash=0, unavailable=0, forgets=0.5, faults=6)
"""Nobody dies: a new owner finds what is due in its table."""


@pytest.mark.parametrize("seed", range(min(16, SIDE_SEEDS)))
def test_what_time_does_to_runs_is_told_again(seed: int) -> None:
    simulate(starts_of(seed), seed, _OPTIONS)
