"""Fetches ahead for one consumer, as aiokafka's fetcher does, but with a single future to wait for.

aiokafka's waits for many futures at once, and collects them again for every fetch. It wakes whoever waits for records
itself, where here the answer that brought them does. Which broker is asked for what, and what an answer means, is as in
aiokafka.
"""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchError, OffsetResetStrategy
from aiokafka.errors import (
    ConsumerStoppedError,
    KafkaError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from .fetch_plan import FetchPlan
from .fetched import Fetched, Record
from .out_of_range import OutOfRange

log = logging.getLogger(__name__)

_NEXT_SECONDS = 1.0
"""How often a caller that waits for a single record looks whether the fetcher has been closed."""

_OLDEST, _WITH_REPLICA = 4, 8
"""Lengths of what is said of a partition: by the first versions of the protocol, and since version 11."""

_TURNS = 6
"""Turns of the loop between an answer with records and the next fetch: about as many as it takes to write what those
records lead to. Somebody waits for that write, and a broker on the same machine takes the processor for a fetch."""

_AWAY_SECONDS = 0.25
"""Between a fetch that nobody has answered and the next: else a process would ask forty times a second."""


class PromptFetcher(Fetcher):  # type: ignore[misc]  # it ships no types
    """See the module."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._paused: set[asyncio.Future[None]] = set()
        """Of these each tells when its partition is wanted again; each has been asked to."""
        self._moved: set[TopicPartition] = set()
        """Their positions have moved without a record, and whoever takes has not heard of it."""
        self._plan = FetchPlan(self)
        self._out_of_range = OutOfRange(self, away_seconds=_AWAY_SECONDS)
        self._fetch_task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Fetch no more, and wake whoever waits for records."""
        self._closed = True
        await end_fetcher(self)
        for waiter in self._fetch_waiters:
            self._notify(waiter)

    def _ended(self, fetching: "asyncio.Task[None]") -> None:
        error = None if fetching.cancelled() else fetching.exception()
        if error is not None:
            log.error("a consumer has ended: %r", error, exc_info=error, extra={"action": "fetch.end"})
            for waiter in self._fetch_waiters:
                self._notify(waiter)  # it comes back, and hears why

    def _create_fetch_waiter(self) -> "asyncio.Future[None]":
        waiter: asyncio.Future[None] = super()._create_fetch_waiter()
        fetching = self._fetch_task
        if fetching.done() and not fetching.cancelled() and (error := fetching.exception()) is not None:
            waiter.set_exception(error)
        return waiter

    async def fetched_records(
        self,
        partitions: Sequence[TopicPartition],
        timeout: float = 0,  # noqa: ASYNC109 - as aiokafka has it
        max_records: int | None = None,
    ) -> dict[TopicPartition, list[Record]]:
        """What there is of these partitions (none: of all), at the latest `timeout` seconds after the last rebalance.

        A partition without records is one whose position has passed offsets that have none. Raises aiokafka's error
        where one stands in the place of records, once what comes before it has been taken.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while True:
            if self._subscriptions.reassignment_in_progress:
                await self._subscriptions.wait_for_assignment()
            found = self._take(partitions, max_records)
            left = until - loop.time()
            if found or left <= 0:
                return found
            waiter = self._create_fetch_waiter()
            timer = loop.call_later(left, self._notify, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
            if self._closed:
                return {}

    async def next_record(self, partitions: Sequence[TopicPartition]) -> Record:
        """The next one of these partitions (none: of all). Raises `ConsumerStoppedError`, and as `fetched_records`."""
        while not self._closed:
            for records in (await self.fetched_records(partitions, _NEXT_SECONDS, 1)).values():
                if records:
                    return records[0]
        raise ConsumerStoppedError

    def _take(self, partitions: Sequence[TopicPartition], most: int | None) -> dict[TopicPartition, list[Record]]:
        taken = self._without_records(partitions) if self._moved else {}
        for target in list(self._records):
            if partitions and target not in partitions:
                if not self._subscriptions.is_assigned(target):
                    del self._records[target]
                continue
            fetched = self._records[target]
            if not isinstance(fetched, Fetched):
                if taken:
                    break  # the error is raised when these have been taken
                self._forget(target)
                fetched.check_raise()
            before = fetched.position
            try:
                records = fetched.take(most)
            except Exception as error:
                self._forget(target)
                if not taken:
                    raise
                # The positions of these have moved: they are brought, and this is told with the next.
                self._records[target] = FetchError(error=error, backoff=self._prefetch_backoff)
                break
            if fetched.is_spent:
                self._forget(target)
            if records or fetched.position != before:
                taken[target] = records
                if most is not None and (most := most - len(records)) == 0:
                    break
        return taken

    def _without_records(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, list[Record]]:
        told = [target for target in self._moved if not partitions or target in partitions]
        self._moved.difference_update(told)
        return {target: [] for target in told if self._subscriptions.is_assigned(target)}

    def _forget(self, target: TopicPartition) -> None:
        """It can be fetched again."""
        del self._records[target]
        self._wake()

    async def _fetch_requests_routine(self) -> None:
        loop = asyncio.get_running_loop()
        assignment = None
        with suppress(asyncio.CancelledError):
            while True:
                if assignment is None or not assignment.active:
                    await self._drop()
                    assignment = await self._assigned()
                    assignment.unassign_future.add_done_callback(self._wake)
                self._wait_consume_future = loop.create_future()
                actions = self._plan.actions(assignment)
                for node, request in actions.fetches:
                    self._begin(node, self._proc_fetch_request(assignment, node, request))
                for node, targets in actions.resets.items():
                    self._begin(node, self._update_fetch_positions(assignment, node, targets))
                if actions.leaderless:
                    self._client.force_metadata_update().add_done_callback(self._wake)
                self._listen(actions.paused)
                timer = loop.call_later(actions.seconds, self._wake)
                try:
                    await self._wait_consume_future
                finally:
                    timer.cancel()
                self._take_results()

    async def _assigned(self) -> Any:
        while True:
            subscription = self._subscriptions.subscription
            if subscription is not None and subscription.assignment is not None:
                return subscription.assignment
            with suppress(KafkaError):  # whoever consumes hears of it
                await self._subscriptions.wait_for_assignment()

    async def _drop(self) -> None:
        """Forget what was asked for, and brought, under the assignment that has ended."""
        await _end_fetches(self)
        self._records.clear()
        self._moved.clear()
        self._out_of_range.clear()
        self._paused.clear()
        self._plan.begin()

    def _begin(self, node: int, work: Coroutine[Any, Any, bool]) -> None:
        task = asyncio.create_task(work)
        self._pending_tasks.add(task)
        self._in_flight.add(node)
        task.add_done_callback(partial(self._done, node))

    def _done(self, node: int, task: "asyncio.Task[bool]") -> None:
        if task.cancelled() or task.exception() is not None or not task.result():
            self._free(node, 0)
            return
        for waiter in self._fetch_waiters:
            self._notify(waiter)
        self._free(node, _TURNS)

    def _free(self, node: int, turns: int) -> None:
        """Ask it again after so many turns. Until then it counts as asked: taking what it brought wakes the fetcher."""
        if turns == 0:
            self._in_flight.discard(node)
            self._wake()
        else:
            asyncio.get_running_loop().call_soon(self._free, node, turns - 1)

    def _take_results(self) -> None:
        """Raise what went wrong in a way that nothing here knows of: the consumer ends with it."""
        ended = [task for task in self._pending_tasks if task.done()]
        self._pending_tasks.difference_update(ended)
        for task in ended:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                raise KafkaError(f"records could not be fetched: {error!r}") from error

    def _listen(self, paused: list["asyncio.Future[None]"]) -> None:
        for future in paused:
            if future not in self._paused:
                self._paused.add(future)
                future.add_done_callback(self._resumed)

    def _resumed(self, future: "asyncio.Future[None]") -> None:
        self._paused.discard(future)
        self._wake()

    def _wake(self, _: object = None) -> None:
        self._notify(self._wait_consume_future)

    async def _proc_fetch_request(self, assignment: Any, node: int, request: FetchRequest) -> bool:
        """Ask, and keep what comes. Whether whoever waits is to be woken."""
        try:
            answer = await self._client.send(node, request)
        except KafkaError as error:
            log.warning("nothing was fetched from broker %s: %s", node, error, extra={"action": "fetch"})
            self._invalidate_preferred_read_replica_for_node(node, request)
            await asyncio.sleep(max(self._retry_backoff, _AWAY_SECONDS))
            return False
        if assignment.unassign_future.done():
            return False
        asked = {(topic, each[0]): each[1] for topic, parts in request.topics for each in parts}
        before = len(self._records)
        refused: dict[TopicPartition, int] = {}
        for topic, parts in answer.topics:
            for part in parts:
                state = assignment._tp_state[topic, part[0]]
                offset = asked[topic, part[0]]
                if state._position != offset:
                    continue  # it has been sought elsewhere meanwhile
                target = TopicPartition(topic, part[0])
                if part[1] == OffsetOutOfRangeError.errno and self._resets:
                    refused[target] = offset
                elif part[1]:
                    self._refused(target, state, part[1])
                else:
                    self._keep(target, state, part)
        if refused:
            self._moved.update(await self._out_of_range.relocate(assignment, node, refused))
        return len(self._records) > before or bool(self._moved)

    def _keep(self, target: TopicPartition, state: Any, part: Sequence[Any]) -> None:
        """What has come of a partition: its number, error, high watermark, then by version, and the records."""
        state.highwater = part[2]
        state.lso = part[3] if len(part) > _OLDEST else None
        state.timestamp = int(1000 * time.time())
        if self._out_of_range.gone:
            self._out_of_range.gone.discard(target)
        if self._client_rack and len(part) == _WITH_REPLICA:
            self._update_preferred_read_replica(target, part[-2])
        if not part[-1]:
            return
        if MemoryRecords(part[-1]).has_next():
            self._records[target] = Fetched(
                target,
                state,
                part[-1],
                backoff=self._prefetch_backoff,
                check_crcs=self._check_crcs,
                aborted=_aborted(part) if self._isolation_level else None,
            )
        else:
            # Brokers since 0.10.1 send a first record whole, however long it is.
            self._set_error(
                target,
                RecordTooLargeError(
                    f"the record at {state._position} of {target.topic}/{target.partition} is longer than "
                    f"max_partition_fetch_bytes ({self._max_partition_fetch_bytes}): it is passed over"
                ),
            )
            state.consumed_to(state._position + 1)

    @property
    def _resets(self) -> bool:
        return bool(self._default_reset_strategy != OffsetResetStrategy.NONE)

    def _refused(self, target: TopicPartition, state: Any, code: int) -> None:
        kind = for_code(code)
        self._preferred_read_replica.pop(target, None)
        if issubclass(kind, NotLeaderForPartitionError | UnknownTopicOrPartitionError):
            self._client.force_metadata_update()
            if issubclass(kind, UnknownTopicOrPartitionError):
                self._out_of_range.gone.add(target)
        elif issubclass(kind, OffsetOutOfRangeError):
            self._set_error(target, OffsetOutOfRangeError({target: state._position}))
        elif issubclass(kind, TopicAuthorizationFailedError):
            log.warning("topic %s may not be read", target.topic, extra={"action": "fetch"})
            self._set_error(target, TopicAuthorizationFailedError(target.topic))
        else:
            log.warning("%s could not be fetched: %s", target, kind.__name__, extra={"action": "fetch"})


def _aborted(part: Sequence[Any]) -> Sequence[tuple[int, int]] | None:
    """The aborted transactions among what has come of a partition (see `_keep`), as the broker names them."""
    if len(part) <= _OLDEST:
        return None
    aborted: Sequence[tuple[int, int]] | None = part[-3] if len(part) == _WITH_REPLICA else part[-2]
    return aborted


async def end_fetcher(fetcher: Fetcher) -> None:
    """As its `close` does, which takes the end of a fetch that waits for its next try for its own."""
    fetcher._fetch_task.cancel()
    await asyncio.gather(fetcher._fetch_task, return_exceptions=True)
    await _end_fetches(fetcher)


async def _end_fetches(fetcher: Fetcher) -> None:
    fetches = list(fetcher._pending_tasks)
    for fetch in fetches:
        fetch.cancel()
    await asyncio.gather(*fetches, return_exceptions=True)
    fetcher._pending_tasks.clear()
