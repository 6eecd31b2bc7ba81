"""The simulation finds the bugs that it is there to find."""

from dataclasses import replace

import pytest

from beluga_stream.testing import simulation
from beluga_stream.testing.invariants import Broken
from beluga_stream.testing.simulation import simulate
from tests.simulation.mutants import PLANTS, STREAM_PLANTS, Plant
from tests.simulation.starts import starts_of
from tests.simulation.test_streams import HARSH, play_streams

_WITHIN_SEEDS = 500


@pytest.fixture(autouse=True)
def soon_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a bug has stopped is given up sooner: to play hours in which nothing happens takes long."""
    monkeypatch.setattr(simulation, "PATIENCE_SECONDS", 3600.0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", STREAM_PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_of_streams_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(_WITHIN_SEEDS):
        try:
            play_streams(seed, replace(HARSH, slots=1) if seed % 2 else HARSH, tell=False)
        except Broken:
            return
    pytest.fail(f"{_WITHIN_SEEDS} seeds did not find that {plant.__doc__}")


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
