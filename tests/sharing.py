"""How a parallel session shares its tests out.

What starts engines goes on in two processes, and the rest beside them, which takes all the processor that those leave.
When that is done, a third one starts engines, too: from then on they mostly wait.
"""

import contextlib
import os
from typing import Any

from xdist.scheduler import LoadScopeScheduling

_ALONE = ("tests/unit/", "tests/simulation/")
"""Where tests start no engine. Each may run anywhere."""

_TOGETHER = "tests/unit/test_api_types.py"
"""What it is about is made once for a process, and takes half a minute."""

_WITH_TEMPORAL = "tests/integration/test_durable.py"
"""What needs a Temporal server goes on where there is one. So either process has as much to do as the other."""

_LAST = "tests/acceptance/"
"""What the third process does. Each of its tests waits for whole engines, and computes little itself."""

_MODEST = 10
"""The niceness of a process whose tests only compute."""


class Sharing(LoadScopeScheduling):
    """Tests with engines mostly wait, but not too many may at once; those of one process share its broker."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_TOGETHER):
            return _TOGETHER
        if nodeid.startswith(_ALONE):
            return nodeid
        if nodeid.startswith(_LAST):
            return _LAST
        is_integration = nodeid.startswith("tests/integration/") and not nodeid.startswith(_WITH_TEMPORAL)
        return "integration" if is_integration else "others with engines"

    def _assign_work_unit(self, node: Any) -> None:
        if _LAST in self.workqueue:
            self.workqueue.move_to_end(_LAST)
        super()._assign_work_unit(node)

    def remove_node(self, node: Any) -> str | None:
        """A test that its process ended with is not tried again, as xdist would: it might end each one."""
        tests = (test for unit in self.assigned_work[node].values() for test, over in unit.items() if not over)
        ended = next(tests, None)
        for unit in self.assigned_work[node].values():
            if ended in unit:
                unit[ended] = True
        super().remove_node(node)
        return ended


def give_way(nodeid: str) -> None:
    """Let this process wait for those that have engines to serve, as long as its tests start none."""
    wanted = _MODEST if nodeid.startswith(_ALONE) else 0
    if os.getpriority(os.PRIO_PROCESS, 0) == wanted:
        return
    with contextlib.suppress(PermissionError):  # only root may be less modest again
        os.setpriority(os.PRIO_PROCESS, 0, wanted)
