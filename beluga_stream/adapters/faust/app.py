"""A role as a Faust app: one consumer group, one agent that takes all that is queued."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.app.base import BootStrategy
from faust.sensors import Monitor

from ...bounds import within
from ...ports.log import PartitionTable, Role
from ..kafka.patience import Patience
from .delivery import RoleConsumer, RoleTransport
from .driver import RoleDriver
from .recovery import RoleTables
from .table import RunTable

log = logging.getLogger(__name__)

_QUEUE_BATCHES = 64
_BATCH_RECORDS = 1000
_TAKE_RECORDS = 250
"""Enough to make a flush worth its while; more, and the other roles would wait for this one's whole burst."""


class SilentMonitor(Monitor):
    """Measures nothing: Faust's monitor costs time at each event, and the engine has its own metrics."""

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        return None

    on_message_in = on_stream_event_in = on_stream_event_out = on_message_out = _ignore
    on_topic_buffer_full = on_table_get = on_tp_commit = track_tp_end_offset = _ignore


class ConsumerOnly(BootStrategy):
    """Starts no producer and no web server: roles write through the port, and listen nowhere."""

    enable_kafka_producer = False
    enable_web = False


class RoleApp(faust.App):
    """A Faust app whose records all go to one `Role`. Made by `role_app`."""

    BootStrategy = ConsumerOnly

    consumer: RoleConsumer
    by_topic = False
    begins_at_end = False
    committed_only = False
    patience: Patience | None = None

    def __init__(self, driver: RoleDriver, **settings: Any) -> None:
        super().__init__(driver.group, **settings)
        self.driver = driver
        driver.on_failure = self._end
        self._room = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()
        self.queue: Any = None
        topic = self.topic(*driver.role.topics, key_type=bytes, value_type=bytes, acks=True, internal=False)
        self.agent(topic, name="drive")(self._drive)
        self._tending: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Records in the agent's queue. Counted anew, since Faust empties it when partitions go."""
        waiting = () if self.queue is None else self.queue._queue  # noqa: SLF001 - it has no other reader
        return sum(len(event.value.records) for event in waiting)

    async def queue_has_room(self) -> None:
        """Wait, a second at most, until the agent has taken something from its queue."""
        self._room.clear()
        try:
            async with within(1.0):
                await self._room.wait()
        except TimeoutError:
            return

    async def on_start(self) -> None:
        """Begin the role's own work: it goes on until the role is closed, which is after Faust ends its tasks."""
        await super().on_start()
        self._tending = asyncio.create_task(self._tend(), name=f"tend-{self.driver.group}")

    async def on_stop(self) -> None:
        """Let the role give its partitions up, commit, then leave the group: others have them at once."""
        if self._consumer is not None:
            await self.driver.release(self.consumer.commit)
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """The consumer has stopped: nothing comes any more, and what runs may finish."""
        await self.driver.role.close()
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait({self._tending})
        await super().on_shutdown()

    async def _drive(self, stream: Any) -> None:
        queue = self.queue = stream.channel.queue
        driver = self.driver
        async for first in stream.noack().events():
            event = first
            # What follows comes from the stream's queue: what the stream does around an event is acknowledging it.
            while not stream.should_stop:
                batches = [event.value]
                taken = len(event.value.records)
                while taken < _TAKE_RECORDS and not queue.empty():
                    batches.append(queue.get_nowait().value)
                    taken += len(batches[-1].records)
                self._room.set()
                await driver.take(batches)
                try:
                    event = await queue.get()
                except StopAsyncIteration:
                    return  # Faust stops the agent by it: a stream would end, and we do not ask the stream here

    async def _tend(self) -> None:
        """The role's own work, beside the records; when it fails, the role has failed."""
        try:
            await self.driver.role.tend()
        except Exception as error:  # noqa: BLE001 - whatever it is ends the process
            self.driver.fail(error)

    def _end(self, error: BaseException) -> None:
        task = asyncio.ensure_future(self.crash(error))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _new_transport(self) -> RoleTransport:
        return RoleTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Nothing is kept in files."""


class OpenTables(Protocol):
    """The tables that this process owns now, and the topic they recover from. `KafkaTables` is one."""

    @property
    def opened(self) -> Mapping[int, PartitionTable]: ...
    @property
    def changelog(self) -> str: ...


@dataclass(frozen=True, slots=True)
class RoleOptions:
    """How a role app behaves in its group. Times are in seconds.

    At most `max_pending` takings are unsettled at a time; `drain_timeout` bounds a release. Number p of every topic has
    one owner; with `by_topic` each topic is spread by itself over the members that read it. With `begins_at_end` a
    topic of which the group has committed nothing is read from where it ends now, else from its first record. With
    `committed_only` records of transactions wait until these are committed, and never come of aborted ones. The role
    fails when no broker answers its consumer until `patience` ends, and never without.
    """

    max_pending: int = 64
    drain_timeout: float = 20.0
    commit_interval: float = 0.5
    session_timeout: float = 10.0
    by_topic: bool = False
    begins_at_end: bool = False
    committed_only: bool = False
    patience: Patience | None = None


_DEFAULTS = RoleOptions()


def role_app(
    role: Role,
    *,
    group: str,
    broker: Mapping[str, Any],
    instance: str | None = None,
    tables: OpenTables | None = None,
    options: RoleOptions = _DEFAULTS,
) -> RoleApp:
    """The Faust app that drives `role` in the consumer group `group`.

    `broker` is `KafkaConnection.faust_settings()`. `instance` makes the membership static: a process
    that restarts under the same name within the session timeout causes no rebalance. `tables` gives the
    coordinator's app its table of runs. Create it on the running loop, and start it with
    `await app.start()` or by `host`.
    """
    driver = RoleDriver(role, group, max_pending=options.max_pending, drain_timeout=options.drain_timeout)
    settings = {
        **broker,
        "autodiscover": False,
        "broker_commit_every": None,
        "broker_commit_interval": options.commit_interval,
        "broker_heartbeat_interval": options.session_timeout / 3.3,
        "broker_max_poll_records": _BATCH_RECORDS,
        "broker_rebalance_timeout": 60.0,
        "broker_session_timeout": options.session_timeout,
        "consumer_auto_offset_reset": "earliest",
        "consumer_group_instance_id": f"{group}-{instance}" if instance else None,
        "datadir": Path(f"{group}-data"),
        "Monitor": SilentMonitor,
        "stream_buffer_maxsize": _QUEUE_BATCHES,
        "stream_recovery_delay": 0.0,
        # The driver waits for what is unsettled, in order and within a bound; Faust's own wait has none.
        "stream_wait_empty": False,
        "TableManager": RoleTables,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
    }
    app = RoleApp(driver, **settings)
    app.by_topic = options.by_topic
    app.begins_at_end = options.begins_at_end
    app.committed_only = options.committed_only
    app.patience = options.patience
    if tables is not None:
        app.tables.add(RunTable(app, opened=tables.opened, changelog=tables.changelog))
    return app
