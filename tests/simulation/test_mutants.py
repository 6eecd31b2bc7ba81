"""The simulation finds the bugs that it is there to find."""

import pytest

from beluga_stream.testing.invariants import Broken
from beluga_stream.testing.simulation import simulate
from tests.simulation.mutants import PLANTS, Plant
from tests.simulation.test_simulation import starts_of

_WITHIN_SEEDS = 500


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(_WITHIN_SEEDS):
        try:
            simulate(starts_of(seed), seed, tell=False)
        except Broken:
            return
    pytest.fail(f"{_WITHIN_SEEDS} seeds did not find that {plant.__doc__}")
