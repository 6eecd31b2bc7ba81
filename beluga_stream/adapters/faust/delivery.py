"""Delivery in batches: one Faust event is all that one fetch brought of one partition.

Stock delivery spends four asyncio tasks and some 130 microseconds on every record; this is most of
what Faust costs. Everything that leans on the insides of Faust's consumer is here and in
`recovery.py`; tests/contract/test_faust_internals.py fails when a new version changes them.
"""

# ruff: noqa: SLF001 - leaning on private parts is what this file is for

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka import OffsetAndMetadata, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver_module
from faust.types import TP
from faust.types.tuples import Message
from mode import Service

from ...bounds import within
from ...errors import LogUnavailable
from ..kafka.absence import Absence
from ..kafka.consumer import PromptConsumer
from ..kafka.namesake import Namesake
from .assignor import NumberAssignor, TopicAssignor
from .driver import Batch, RoleDriver

if TYPE_CHECKING:
    from .app import RoleApp

log = logging.getLogger(__name__)

_FETCH_WAIT_MS = 200
"""How long the broker may hold a fetch while there is nothing. Faust's 1500 ms would hold up the first one after a
rebalance."""
_POLL_MS = 200
"""A process that stops leaves its group after the poll that is under way."""
_HELD_MS = 50
"""What is held back may be wanted again in a moment."""
_QUEUE_RECORDS = 2_000
"""What comes now waits behind so many records at most, and behind what aiokafka has fetched."""
_MANY_RECORDS = 100
"""A fetch that brings fewer leaves little behind."""
_LAG_RECORDS = 1_000
"""Yielding topics give way while more than this waits in the others."""


class LoopConsumer(driver_module.AIOKafkaConsumerThread):
    """Faust's consumer "thread", run on the app's own loop: no queue and no wake-up between the two.

    Heartbeats share that loop, so nothing on it may block for seconds.
    """

    wait_for_shutdown = False
    _absence: Absence | None = None

    def __init__(self, consumer: Any, *, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **kwargs)

    # What ServiceThread overrides for the sake of its thread goes back to what a Service does.
    start = Service.start
    stop = Service.stop
    maybe_start = Service.maybe_start
    crash = Service.crash
    _stopped_set = Service._stopped_set
    set_shutdown = Service.set_shutdown
    _stop_children = Service._stop_children
    _stop_futures = Service._stop_futures
    _stop_exit_stacks = Service._stop_exit_stacks

    @Service.task
    async def _thread_keepalive(self) -> None:
        """There is no thread to keep awake."""

    async def on_stop(self) -> None:
        """Leave the group and disconnect."""
        consumer = self._consumer
        if consumer is not None:
            await consumer.stop()
        if self._absence is not None:
            self._absence.over()

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        """Call it here: `subscribe` is a plain function, the others are coroutines."""
        result = fun(*args, **kwargs)
        return await result if asyncio.iscoroutine(result) else result

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        consumer = PromptConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver_module.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[TopicAssignor() if self.app.by_topic else NumberAssignor()],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            check_crcs=conf.broker_check_crcs,
            isolation_level="read_committed" if self.app.committed_only else "read_uncommitted",
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **driver_module.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )
        patience = self.app.patience
        if patience is not None:
            silent = LogUnavailable(f"Kafka at {patience.where} has not answered for {patience.seconds:g} s")
            self._absence = Absence(patience, partial(self.consumer.give_up, silent))
            self._absence.watch(consumer)
        name = conf.consumer_group_instance_id
        if name is not None:
            instance = name.removeprefix(f"{conf.id}-")
            Namesake(conf.id, instance, float(conf.broker_session_timeout)).watch(consumer)
        return consumer


class RoleConsumer(driver_module.Consumer):
    """Puts whole batches on the channel of the app's one agent, and commits what the driver settled."""

    app: "RoleApp"
    _thread: LoopConsumer
    _holding = False
    """Whether topics are held back."""
    _brought = 0
    """Records that the last fetch brought."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._committing = asyncio.Lock()
        self._commit_ends: asyncio.Timeout | None = None
        """The bound of the commit that is under way."""
        self._given_up = False
        self._dropped = False
        self._known: frozenset[str] = frozenset()
        """Topics of which the group has read something, as far as this process has seen."""

    @property
    def driver(self) -> RoleDriver:
        return self.app.driver

    def _new_consumer_thread(self) -> LoopConsumer:
        return LoopConsumer(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Service) -> None:
        driver = self.driver
        most = self.app.conf.broker_max_poll_records  # Faust takes a while to say it
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not driver.delivering.is_set():
                    # wait_for_stopped ends when the service does.
                    await self.wait_for_stopped(driver.delivering)
                    continue
                if self._dropped:
                    self._dropped = False
                    await self.perform_seek()
                    continue
                epoch = driver.epoch
                wanted, all_of_them = self._wanted()
                fetched = await self._thread._ensure_consumer().getmany(
                    *wanted,
                    timeout_ms=_POLL_MS if all_of_them else _HELD_MS,
                    max_records=most,
                )
                self._brought = sum(map(len, fetched.values()))
                if driver.epoch == epoch:
                    await self._deliver(fetched, epoch)
                elif fetched:
                    # This fetch began before a rebalance and ended after it. What it brought is dropped, so the
                    # position goes back to where the new ownership begins: before anything is delivered under it,
                    # and though its beginning may have done so already, for the fetch may have ended in between.
                    self._dropped = True
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is ends the process
            driver.fail(error)

    def _wanted(self) -> tuple[list[TopicPartition], bool]:
        """What to take next; no more is fetched of the topics that the role wants no more of for now."""
        consumer = self._thread._ensure_consumer()
        role = self.driver.role
        held = role.held_back
        if not (held or self._holding or (role.yielding and self._brought >= _MANY_RECORDS)):
            return [], True  # of all that is assigned
        assignment = consumer.assignment()
        if role.yielding and self._waiting(consumer, assignment, role.yielding) > _LAG_RECORDS:
            held |= role.yielding
        self._holding = bool(held)
        paused = consumer.paused()
        for target in assignment:
            if (target.topic in held) != (target in paused):
                (consumer.pause if target.topic in held else consumer.resume)(target)
        wanted = [target for target in assignment if target.topic not in held]
        return wanted, len(wanted) == len(assignment)

    def _waiting(self, consumer: Any, assignment: Iterable[TopicPartition], yielding: frozenset[str]) -> int:
        """How many records wait in the agent's queue, and in the log in topics that yield to none."""
        waiting: int = self.app.queued
        state = consumer._subscription.subscription.assignment
        for target in assignment:
            if target.topic not in yielding:
                known = state.state_value(target)
                # Both are unknown until the first fetch.
                if known.highwater is not None and known.has_valid_position:
                    waiting += known.highwater - known.position
        return waiting

    async def _deliver(self, fetched: Mapping[TopicPartition, list[Any]], epoch: int) -> None:
        taken = self._thread._ensure_consumer().taken
        # Beyond the last record may be offsets that have none: all is asked before anything else has its turn.
        for target, records, end in [(target, records, taken(target)) for target, records in fetched.items()]:
            if end is None:
                continue  # it is given up just now
            tp = TP(target.topic, target.partition)
            message = Message(
                target.topic,
                target.partition,
                end - 1,
                0,
                0,
                None,
                None,
                None,
                None,
                tp=tp,
                generation_id=self.app.consumer_generation_id,
            )
            event = self.app.create_event(None, Batch(tp, epoch, records, end), None, message)
            if not await self._put(event, epoch):
                return

    async def _put(self, event: Any, epoch: int) -> bool:
        """Wait for a place in the agent's queue; False when the ownership ended meanwhile."""
        app = self.app
        while app.queue.full() or app.queued >= _QUEUE_RECORDS:
            if self.driver.epoch != epoch or self.should_stop:
                return False
            await app.queue_has_room()
        if self.driver.epoch != epoch:
            return False
        app.queue.put_nowait(event)
        return True

    async def perform_seek(self) -> None:
        """Go to what the group has committed, and where it has committed nothing to where the role begins.

        Stock Faust stays where it is in the second case, and so loses what a fetch has brought and a
        rebalance made it drop.
        """
        consumer = self._thread._ensure_consumer()
        targets = list(consumer.assignment())
        async with within(self.app.conf.broker_request_timeout):
            offsets = await asyncio.gather(*(consumer.committed(target) for target in targets))
        fresh = []
        known = set(self._known)
        assigned = consumer.assignment()
        for target, offset in zip(targets, offsets, strict=True):
            if target not in assigned:
                continue  # any more: the next ownership begins with this, too
            if offset is None:
                fresh.append(target)
            else:
                consumer.seek(target, offset)
                known.add(target.topic)
        # A partition that was added to a topic which is read already is read whole.
        late = [target for target in fresh if self.app.begins_at_end and target.topic not in known]
        early = [target for target in fresh if target not in late]
        if early:
            await consumer.seek_to_beginning(*early)
        if late and not await self._begin_at_end(late):
            return  # a rebalance is under way: the next ownership begins with this
        self._known = frozenset(known | {target.topic for target in late})

    async def _begin_at_end(self, targets: Sequence[TopicPartition]) -> bool:
        """Commit the end at once: what comes after it is the group's, whoever reads it and whenever."""
        consumer = self._thread._ensure_consumer()
        ends = await consumer.end_offsets(targets)
        for target, offset in ends.items():
            if target in consumer.assignment():
                consumer.seek(target, offset)
        try:
            await consumer.commit({target: OffsetAndMetadata(offset, "") for target, offset in ends.items()})
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("%s could not begin: %s", self.driver.group, error, extra={"action": "role.commit"})
            return False
        named = ", ".join(f"{target.topic}/{target.partition}" for target in targets)
        log.info("%s begins at the end of %s", self.driver.group, named, extra={"action": "begins_at_end"})
        return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the role give up first, and commit while the old assignment still allows it.

        Stock Faust drops its acknowledgements before it commits them (faust #502).
        """
        await self.driver.release(self.commit)
        await super().on_partitions_revoked(revoked)

    async def commit(self, *_: Any, **__: Any) -> bool:
        """Commit what is settled. Failing is no error: the records come again."""
        async with self._committing:
            offsets = self.driver.acks.to_commit()
            if not offsets or self._given_up:
                return False
            try:
                async with within(self.app.conf.broker_request_timeout) as self._commit_ends:
                    await self._thread._ensure_consumer().commit(
                        {TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(o, "") for tp, o in offsets.items()}
                    )
            except (CommitFailedError, IllegalStateError) as error:
                # The group has moved on without this member: its rejoin follows.
                log.warning("%s could not commit: %s", self.driver.group, error, extra={"action": "role.commit"})
                return False
            except (KafkaError, TimeoutError, OSError) as error:
                log.warning("%s commits later: %r", self.driver.group, error, extra={"action": "role.commit"})
                return False
            finally:
                self._commit_ends = None
            self.driver.acks.committed(offsets)
            return True

    def give_up(self, error: LogUnavailable) -> None:
        """No broker answers any more: the role fails, and is not kept from ending by what cannot be committed."""
        self._given_up = True
        if self._commit_ends is not None and not self._commit_ends.expired():
            self._commit_ends.reschedule(self.loop.time())
        self.driver.fail(error)

    @Service.task
    async def _commit_handler(self) -> None:
        while not self.should_stop:
            await self.sleep(self.commit_interval)
            await self.commit()

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Faust's detector needs its monitor, which costs time at each event; ours is elsewhere (lag)."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """See `_commit_livelock_detector`."""


class RoleTransport(driver_module.Transport):
    """The transport of a role app."""

    Consumer = RoleConsumer


def partition_numbers(assigned: Iterable[TP]) -> frozenset[int]:
    """The numbers among these partitions of all topics."""
    return frozenset(tp.partition for tp in assigned)
