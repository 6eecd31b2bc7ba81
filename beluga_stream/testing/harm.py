"""What goes wrong in a simulation by chance: processes die, stop and stand still, and others write to its topics."""

import asyncio
import random
from collections.abc import Mapping

from ..adapters.memory.log import MemoryLog
from .members import Members
from .process import Faults, Process

_MARKS_EVERY_SECONDS = 2.0


class Harm:
    """Does it until nothing is left to go wrong. `partitions`: of each topic that others write to, how many it has."""

    def __init__(
        self, faults: Faults, roles: Mapping[str, Members], log: MemoryLog, partitions: Mapping[str, int], seed: int
    ) -> None:
        self._faults = faults
        self._roles = roles
        self._log = log
        self._partitions = partitions
        self._seed = seed
        self.over = asyncio.Event()
        """Set when nothing will go wrong any more."""

    async def processes(self) -> None:
        """Kill, stop, freeze and rebalance at random moments, until nothing is left to go wrong."""
        chance = self._faults.random
        while not self._faults.calm and self._faults.left > 0:
            await asyncio.sleep(chance.expovariate(1 / 3))
            members = chance.choice(list(self._roles.values()))
            if not members.members:
                continue
            member = chance.choice(members.members)
            self._faults.left -= 1
            match chance.randrange(4):
                case 0:
                    member.process.kill()
                case 1:
                    await members.rebalance()
                case 2:
                    await members.stop(member)
                case _:
                    await self._freeze(members, member.process)
        self._faults.calm = True
        self.over.set()

    async def topics(self) -> None:
        """Let transactions of foreign writers end in all topics: each takes an offset without a record."""
        chance = random.Random(self._seed)  # noqa: S311 - not that of the faults: what they do would follow from it
        while not self._faults.calm:
            await asyncio.sleep(chance.expovariate(1 / _MARKS_EVERY_SECONDS))
            topic = chance.choice(list(self._partitions))
            self._log.mark(topic, chance.randrange(self._partitions[topic]))

    async def _freeze(self, members: Members, process: Process) -> None:
        """Let a process stand still while others take its work, and then go on as if it still had it."""
        process.freeze()
        await members.rebalance()
        await asyncio.sleep(self._faults.random.uniform(0, 30))
        process.thaw()
        await asyncio.sleep(self._faults.random.uniform(0, 10))
        await members.rebalance()
