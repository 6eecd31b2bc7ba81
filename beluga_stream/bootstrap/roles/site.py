"""What the roles of one process are made with: its settings, its connections, and what closes them."""

import os
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...adapters.faust.app import OpenTables, RoleApp, RoleOptions, role_app
from ...adapters.kafka.appender import KafkaAppender
from ...adapters.kafka.connection import KafkaConnection
from ...adapters.kafka.patience import Patience
from ...adapters.kafka.reader import KafkaReader
from ...application.health import Check
from ...application.payloads import Payloads
from ...application.topics import Topics
from ...ports.clock import Clock
from ...ports.log import Role
from ..observing import Observed
from ..settings import Settings

if TYPE_CHECKING:
    from ...adapters.kafka.store import StoreFactory
    from ...adapters.kafka.table import KafkaTables


@dataclass(frozen=True)
class Site:
    """See the module. `stack` closes what the roles open; `dependencies` are what they cannot do without."""

    settings: Settings
    connection: KafkaConnection
    patience: Patience
    topics: Topics
    reader: KafkaReader
    payloads: Payloads
    clock: Clock
    observed: Observed
    stack: AsyncExitStack
    dependencies: dict[str, Check] = field(default_factory=dict)

    async def appender(self) -> KafkaAppender:
        """One more connection to write by."""
        return await self.stack.enter_async_context(KafkaAppender(self.connection, patience=self.patience))

    async def tables(self, own: str, consumed: Sequence[str], changelog: str) -> "KafkaTables":
        """The tables of the role whose group is `own` and which consumes these topics."""
        from ...adapters.kafka.table import KafkaTables, TableOptions  # noqa: PLC0415 - most roles have none

        tables = KafkaTables(
            self.connection,
            group=own,
            topics=consumed,
            owner=f"{socket.gethostname()}:{os.getpid()}",
            changelog=changelog,
            patience=self.patience,
            options=TableOptions(store=self._store(own)),
        )
        return await self.stack.enter_async_context(tables)

    def _store(self, own: str) -> "StoreFactory":
        from ...adapters.kafka.store import MemoryStore, RocksStore  # noqa: PLC0415 - most roles have none

        if self.settings.store == "memory":
            return MemoryStore
        from ...adapters.files.claimed import claimed  # noqa: PLC0415 - see above

        return RocksStore.factory(self.stack.enter_context(claimed(self.settings.data / own)))

    def app(  # noqa: PLR0913 - options, each given by its name
        self,
        role: Role,
        group: str,
        tables: OpenTables | None = None,
        *,
        max_pending: int = 64,
        by_topic: bool = False,
        begins_at_end: bool = False,
        committed_only: bool = False,
    ) -> RoleApp:
        """The role, driven by Faust. It may have `max_pending` takings under way; see `RoleOptions`."""
        return role_app(
            role,
            group=group,
            broker=self.connection.faust_settings(),
            instance=self.settings.instance,
            tables=tables,
            options=RoleOptions(
                max_pending=max_pending,
                drain_timeout=self.settings.shutdown_grace_seconds + 10,
                session_timeout=self.settings.session_timeout_seconds,
                by_topic=by_topic,
                begins_at_end=begins_at_end,
                committed_only=committed_only,
                patience=self.patience,
            ),
        )
