"""How a parallel session shares its tests out: whatever starts an engine goes on in one process, the rest beside it."""

import os

from xdist.scheduler import LoadScopeScheduling

_ALONE = ("tests/unit/", "tests/simulation/")
"""Where tests start no engine. Each may run anywhere."""


_MODEST = 10
"""The niceness of a process whose tests only compute."""


class Sharing(LoadScopeScheduling):
    """Engines on two cores disturb one another, and share a broker: their tests come one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(_ALONE) else "engines"


def give_way(nodeid: str) -> None:
    """Let this process wait for those that have engines to serve, from its first test on that starts none."""
    if nodeid.startswith(_ALONE) and os.getpriority(os.PRIO_PROCESS, 0) < _MODEST:
        os.setpriority(os.PRIO_PROCESS, 0, _MODEST)
