"""The processes of one role, restarted when they die, and the group that shares its partitions out."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..adapters.memory.groups import MemoryGroup
from ..errors import LogUnavailable
from ..ports.log import Role
from .faulty_ports import FaultyDriver
from .process import Faults, Process

_REBALANCE_SECONDS = 30.0
_RESTART_SECONDS = 2.0


@dataclass(slots=True)
class Member:
    """One process with its role."""

    process: Process
    role: Role
    driver: FaultyDriver
    leaving: bool = False

    @property
    def busy(self) -> bool:
        """Whether it has not come to the end of what it was given."""
        return self.process.frozen or self.driver.behind or bool(getattr(self.role, "running", None))


class Members:
    """See the module. `new` makes a process of a given name; unexpected ends are kept in `defects`."""

    def __init__(self, group: MemoryGroup, partitions: int, faults: Faults, new: Callable[[str], Member]) -> None:
        self.members: list[Member] = []
        self.defects: list[BaseException] = []
        self.restarts = 0
        self._group = group
        self._partitions = partitions
        self._faults = faults
        self._new = new
        self._numbers = 0
        self._balancing = asyncio.Lock()

    def add(self) -> Member:
        """Start one more process; it gets its share with the next rebalance."""
        self._numbers += 1
        member = self._new(f"{self._group.name}-{self._numbers}")
        self.members.append(member)
        member.process.spawn(self._until_it_ends(member.process, member.driver.run), "run")
        return member

    async def supervise(self) -> None:
        """Replace who died, for ever."""
        async with asyncio.TaskGroup() as group:
            for member in self.members:
                group.create_task(self._watch(member))

    async def stop(self, member: Member) -> None:
        """Tell one to stop, as SIGTERM does: it leaves the group, others have its share, and it finishes what runs."""
        member.leaving = True
        member.process.tell("is told to stop")
        if not member.process.frozen:
            await self._all([member], lambda one: one.driver.revoke())
            await self.rebalance()
            await self._all([member], lambda one: one.role.close())
        member.process.kill()

    async def rebalance(self) -> None:
        """Take all partitions back and share them out anew. A process that stands still is left out, and not told."""
        async with self._balancing:
            present = [m for m in self.members if m.process.alive and not (m.process.frozen or m.leaving)]
            await self._all(present, lambda member: member.driver.revoke())
            present = [m for m in present if m.process.alive and not (m.process.frozen or m.leaving)]
            generation = self._group.next_generation()
            numbers = list(range(self._partitions))
            self._faults.random.shuffle(numbers)
            shares = {id(member): frozenset(numbers[at :: len(present)]) for at, member in enumerate(present)}
            for member in present:
                member.process.tell(f"gets partitions {sorted(shares[id(member)])}")
            await self._all(present, lambda member: member.driver.assign(shares[id(member)], generation))

    async def _all(self, members: list[Member], work: Callable[[Member], Coroutine[Any, Any, None]]) -> None:
        tasks = [
            member.process.spawn(self._until_it_ends(member.process, partial(work, member), once=True), "rebalance")
            for member in members
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=_REBALANCE_SECONDS)

    async def _until_it_ends(
        self, process: Process, work: Callable[[], Coroutine[Any, Any, None]], *, once: bool = False
    ) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is ends the process, and is judged below
            if process.alive:
                for one in _leaves(error):
                    if not isinstance(one, LogUnavailable):
                        self.defects.append(one)
                process.fail(error)
        else:
            if not once and process.alive:
                self.defects.append(RuntimeError(f"{process.name} ended by itself"))

    async def _watch(self, member: Member) -> None:
        while True:
            await member.process.ended.wait()
            await asyncio.sleep(self._faults.random.uniform(0, _RESTART_SECONDS))
            self.members.remove(member)
            self.restarts += 1
            member = self.add()
            await self.rebalance()


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


async def stopped(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
