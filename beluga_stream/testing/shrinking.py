"""Makes a failing simulation smaller: fewer runs and fewer faults, as long as it still fails."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from .cluster import ClusterOptions

S = TypeVar("S")

_SECONDS = 15.0
"""Real ones. What is found by then is told."""

_FAULTS = (0, 1, 2, 3, 4, 6, 8, 12)


def smallest(
    starts: Sequence[S], options: ClusterOptions, fails: Callable[[Sequence[S], ClusterOptions], bool]
) -> tuple[Sequence[S], ClusterOptions]:
    """The smallest that was found in time. Each is another simulation of the same seed, and may fail otherwise."""
    until = time.monotonic() + _SECONDS

    def still(some: Sequence[S], so: ClusterOptions) -> bool:
        return time.monotonic() < until and fails(some, so)

    for start in starts:
        fewer = [other for other in starts if other is not start]
        if fewer and still(fewer, options):
            starts = fewer
    for faults in _FAULTS:
        if faults < options.faults and still(starts, replace(options, faults=faults)):
            options = replace(options, faults=faults)
            break
    return starts, options
