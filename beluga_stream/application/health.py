"""Whether a process lives, is ready, and has what it depends on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from ..bounds import within

_CHECK_SECONDS = 3.0
_KEPT_SECONDS = 1.0
"""Whoever asks more often gets the last answer: asking costs a request to each dependency."""


class RoleHealth(NamedTuple):
    """A role is ready once it is assigned and has recovered what it was assigned, which may be nothing."""

    ready: bool
    partitions: tuple[int, ...] = ()
    failure: str | None = None


Check = Callable[[], Awaitable[object]]
"""Raises when what it asks does not answer."""

Answer = tuple[bool, Mapping[str, Any]]
"""Whether all is well, and what is told of it."""


class Health:
    """`dependencies` are asked by `report`, each for three seconds at most; `roles` is set when they are there."""

    def __init__(self, dependencies: Mapping[str, Check] | None = None) -> None:
        self.dependencies: dict[str, Check] = dict(dependencies or {})
        self.roles: Callable[[], Mapping[str, RoleHealth]] | None = None
        self._asking = asyncio.Lock()
        self._asked_at = 0.0
        self._told: Mapping[str, Any] = {}

    def ready(self) -> Answer:
        """Whether every role is: it has its partitions, and takes records. While it rebalances it is not."""
        if self.roles is None:
            return False, {"status": "starting", "waiting": []}
        waiting = sorted(name for name, role in self.roles().items() if not role.ready)
        return not waiting, {"status": "waiting" if waiting else "ready", "waiting": waiting}

    async def report(self) -> Answer:
        """Each role and each dependency."""
        dependencies = await self._dependencies()
        roles = {} if self.roles is None else {name: role._asdict() for name, role in self.roles().items()}
        is_ready, told = self.ready()
        is_well = is_ready and all(each["ok"] for each in dependencies.values())
        status = "ok" if is_well else "degraded" if is_ready else told["status"]
        return is_well, {"status": status, "roles": roles, "dependencies": dependencies}

    async def _dependencies(self) -> Mapping[str, Any]:
        async with self._asking:
            if not self._told or time.monotonic() - self._asked_at > _KEPT_SECONDS:
                names = list(self.dependencies)
                found = await asyncio.gather(*(_asked(self.dependencies[name]) for name in names))
                self._told = dict(zip(names, found, strict=True))
                self._asked_at = time.monotonic()
            return self._told


async def _asked(check: Check) -> Mapping[str, Any]:
    began = time.monotonic()
    error = None
    try:
        async with within(_CHECK_SECONDS):
            await check()
    except TimeoutError:
        error = f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as raised:  # noqa: BLE001 - whatever a dependency does is told, and ends nothing
        error = f"{type(raised).__name__}: {raised}"
    return {"ok": error is None, "milliseconds": round((time.monotonic() - began) * 1000), "error": error}
