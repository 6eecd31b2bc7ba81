"""The field that chaos is played on: a cluster under observation, a client, and the ledger."""

import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Self

from aiokafka import AIOKafkaProducer

from beluga_stream.application.clients.runs import Runs
from beluga_stream.bootstrap.client import open_runs
from beluga_stream.bootstrap.settings import Settings
from tests.brokers import Broker
from tests.chaos.cluster import Cluster, until
from tests.chaos.ledger import Ledger, LedgerReader
from tests.chaos.load import Load
from tests.chaos.observer import Observer
from tests.chaos.started import Started
from tests.chaos.writers import overtaken, writers

_STALLED_SECONDS = 90.0
"""Without any progress for this long, what has not ended is stuck."""

_END_SECONDS = 600.0


class Field:
    """Use it with `async with`. The `broker` may be harmed, if it is ours."""

    def __init__(self, cluster: Cluster, broker: Broker | None = None) -> None:
        deployment = cluster.deployment
        self.cluster = cluster
        self.broker = broker
        self.ledger = LedgerReader(deployment.ledger)
        self._own = Ledger(deployment.ledger)
        self.observer = Observer(deployment.broker, deployment.prefix, deployment.partitions, self._own)
        self._stack = AsyncExitStack()
        self._desk: Runs
        self._producer: AIOKafkaProducer

    async def __aenter__(self) -> Self:
        deployment = self.cluster.deployment
        settings = Settings.load(
            broker=deployment.broker,
            prefix=deployment.prefix,
            partitions=deployment.partitions,
            blobs=str(deployment.blobs),
        )
        try:
            await self._stack.enter_async_context(self.cluster)
            await self._stack.enter_async_context(self.observer)
            self._desk = await self._stack.enter_async_context(open_runs(settings))
            # What one broker alone has confirmed goes with it.
            self._producer = AIOKafkaProducer(bootstrap_servers=deployment.broker, acks="all")
            self._stack.push_async_callback(self._producer.stop)
            await self._producer.start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def load(self, chance: random.Random) -> Load:
        """A load that is not started."""
        return Load(self._desk, self._producer, self.cluster.deployment.events, self._own, chance)

    async def all_ended(self, started: Sequence[Started]) -> None:
        """Wait until every run has ended, or until nothing happens any more; then all is read."""
        observer = self.observer

        def done() -> bool:
            if all(start.run in observer.ended_at for start in started):
                return True
            newest = observer.progress_at[-1] if observer.progress_at else began
            return time.monotonic() - max(newest, began) > _STALLED_SECONDS

        began = time.monotonic()
        await until(done, _END_SECONDS, "every run ends or nothing happens any more")
        # What is still under way are executions of attempts that others have completed: they end too.
        await observer.caught_up()
        self.ledger.refresh()

    async def overtaken(self) -> list[str]:
        """Writes of a coordinator behind those of one that had replaced it."""
        deployment = self.cluster.deployment
        changelog = f"{deployment.prefix}-coordinator-runs-changelog"
        faults: list[str] = []
        for partition in range(deployment.partitions):
            batches = await writers(deployment.broker, changelog, partition)
            faults += [f"{changelog}/{partition}, {wrong}" for wrong in overtaken(batches)]
        return faults

    def unexpected(self) -> list[str]:
        """The processes that ended though nobody ended them."""
        return [
            f"{process.name} ended by itself with code {process.code}:\n{process.tail}"
            for process in self.cluster.unexpected()
        ]
