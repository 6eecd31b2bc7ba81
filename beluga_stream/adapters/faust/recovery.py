"""What Faust does between an assignment and the first record: here, the role acquires its partitions.

Stock Faust reads changelogs through the app's own consumer, one event per record (6,000 a second),
and has it prefetch them for ever after. The role's tables recover themselves, in bulk, so the
changelog is not even subscribed to.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery, ServiceStopped
from faust.types import TP
from mode import Service

from .delivery import partition_numbers

if TYPE_CHECKING:
    from .app import RoleApp


class RoleRecovery(Recovery):
    """Acquires, seeks to what the group has committed, and opens delivery.

    Runs in a task of its own, not in the rebalance callback: no heartbeat is sent until that returns.
    """

    app: "RoleApp"
    _assigned: frozenset[TP] = frozenset()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Note the assignment and wake the task."""
        if generation_id == self.app.consumer_generation_id:
            self._assigned = frozenset(assigned)
            self._generation_id = generation_id
            self.signal_recovery_start.set()

    def flush_buffers(self) -> None:
        """Nothing is buffered."""

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):
                break
            self.signal_recovery_start.clear()
            generation = self._generation_id
            epoch = await self.app.driver.acquire(partition_numbers(self._assigned))
            if epoch is None or generation != self.app.consumer_generation_id:
                continue
            try:
                await self._open(epoch)
            except RebalanceAgain:
                continue
            except ServiceStopped:
                break

    async def _open(self, epoch: int) -> None:
        app = self.app
        consumer = app.consumer
        await app.on_rebalance_complete.send()
        assignment = consumer.assignment()
        if assignment:
            consumer.resume_partitions(assignment)
            await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
        self.completed.set()
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()  # noqa: SLF001
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        app.driver.begin(epoch)


class RoleTables(TableManager):
    """Knows the tables, as Faust's does, but never consumes their changelogs."""

    _recovery: Any

    @property
    def recovery(self) -> RoleRecovery:
        if self._recovery is None:
            self._recovery = RoleRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery  # type: ignore[no-any-return]

    async def on_start(self) -> None:
        """Start at once: Faust's own sleeps a second here."""
        await self._update_channels()
        await self.recovery.start()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """The driver has released them already."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Hand over to the recovery."""
        self._recovery_started.set()
        await asyncio.sleep(0)
        await self.recovery.on_rebalance(assigned, revoked, newly_assigned, generation_id)
