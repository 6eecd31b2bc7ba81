"""The plan of harm: what is done and in which order, decided by the seed alone."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos.harm import Kind

_DECK: tuple[Kind, ...] = (
    "stop",
    "stop",
    "stop",
    "worker",
    "worker",
    "coordinator",
    "coordinator",
    "both",
    "terminate",
    "terminate",
    "pulse",
    "freeze",
    "ingest",
    "full",
)
_FIRST: tuple[Kind, ...] = ("stop", "worker", "coordinator", "terminate")
"""What a short run begins with."""

_LONG_MINUTES = 5.0
"""From here on the broker is away for whole minutes, too."""

_SHORT_PLACES: tuple[tuple[int, Kind], ...] = ((2, "bounce"),)
_LONG_PLACES: tuple[tuple[int, Kind], ...] = ((3, "bounce"), (9, "outage"), (16, "broker"), (20, "silence"))
_SHORT_CLUSTER: tuple[tuple[int, Kind], ...] = ((2, "node"),)
_LONG_CLUSTER: tuple[tuple[int, Kind], ...] = ((3, "upgrade"), (9, "node"), (16, "disk"), (20, "node"))
_PAUSE_SECONDS = 0.5, 3.0
_STRIKES_A_MINUTE = 8
"""More than there is time for: the time decides where the plan ends."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One harm: how long all is quiet before it (seconds), its kind, and the chance that decides its details."""

    pause: float
    kind: Kind
    seed: int


def plan(seed: int, minutes: float, *, broker: bool, cluster: bool = False) -> list[Strike]:
    """The same for the same arguments. Nothing is done to a broker or `cluster` that is not our own."""
    chance = random.Random(f"plan/{seed}")
    kinds = _kinds(chance, minutes)
    found = [next(kinds) for _ in range(max(1, int(minutes * _STRIKES_A_MINUTE)))]
    short = minutes < _LONG_MINUTES
    places: list[tuple[int, Kind]] = []
    if broker:
        places += _SHORT_PLACES if short else _LONG_PLACES
    if cluster:
        places += _SHORT_CLUSTER if short else _LONG_CLUSTER
    for place, kind in places:
        found.insert(place, kind)
    return [Strike(chance.uniform(*_PAUSE_SECONDS), kind, chance.randrange(1 << 30)) for kind in found]


def _kinds(chance: random.Random, minutes: float) -> Iterator[Kind]:
    """The deck, shuffled anew each time it is through."""
    if minutes < _LONG_MINUTES:
        yield from chance.sample(_FIRST, len(_FIRST))
    while True:
        yield from chance.sample(_DECK, len(_DECK))
