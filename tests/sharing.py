"""How a parallel session shares its tests out: whatever starts an engine goes on in one process, the rest beside it."""

from xdist.scheduler import LoadScopeScheduling

_ALONE = ("tests/unit/", "tests/simulation/")
"""Where tests start no engine. Each may run anywhere."""


class Sharing(LoadScopeScheduling):
    """Engines on two cores disturb one another, and share a broker: their tests come one after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(_ALONE) else "engines"
