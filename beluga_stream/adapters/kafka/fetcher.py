"""Fetches ahead for one consumer, with one thing to wait for.

aiokafka's fetcher waits for all that may concern it at once and builds that anew for every fetch; whoever waits for
records is woken by it, and not by the answer that brought them. What is asked of whom, and how an answer is taken,
stays as it is.
"""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

from beluga_stream.adapters.kafka.fetch_session import in_sessions
from beluga_stream.adapters.kafka.pacing import pace

log = logging.getLogger(__name__)

_NO_LEADER = (None, -1)

_TURNS = 6
"""Of the loop, between an answer with records and the next fetch: about as many as it takes until what those lead to is
written. Whoever waits for it waits for that write, and a broker on the same machine takes the processor for a fetch."""

Actions: TypeAlias = tuple[
    list[tuple[int, FetchRequest]], dict[int, list[TopicPartition]], float, bool, list["asyncio.Future[None]"]
]
"""What to fetch and what to reset from whom, seconds until it may be otherwise, whether a leader is unknown, and what
tells that a partition is wanted again."""


class PromptConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # it ships no types
    """A consumer with the fetcher of this module, in fetch sessions, at the pace that its broker can hold."""

    def __init__(self, *topics: str, **settings: Any) -> None:
        super().__init__(*topics, **settings)
        pace(in_sessions(self))

    async def start(self) -> None:
        """Connect, and begin to fetch. Raises aiokafka's errors."""
        await super().start()
        await _end(self._fetcher)
        self._fetcher: Fetcher = PromptFetcher(
            self._client,
            self._subscription,
            key_deserializer=self._key_deserializer,
            value_deserializer=self._value_deserializer,
            fetch_min_bytes=self._fetch_min_bytes,
            fetch_max_bytes=self._fetch_max_bytes,
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            max_partition_fetch_bytes=self._max_partition_fetch_bytes,
            check_crcs=self._check_crcs,
            fetcher_timeout=self._consumer_timeout,
            retry_backoff_ms=self._retry_backoff_ms,
            auto_offset_reset=self._auto_offset_reset,
            isolation_level=self._isolation_level,
            client_rack=self._client_rack,
        )


class PromptFetcher(Fetcher):  # type: ignore[misc]  # it ships no types
    """See the module."""

    _turn = 0

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._paused: set[asyncio.Future[None]] = set()
        """Of these each tells when its partition is wanted again; each has been asked to."""
        self._nodes: set[int | None] = set()
        """Where the partitions were when that was last looked at."""
        self._metadata: object = None
        self._leaders = _Leaders(self._client.cluster.leader_for_partition)
        """By this metadata of the cluster; with any other they are asked for anew."""
        self._fetch_task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Fetch no more, and wake whoever waits for records."""
        self._closed = True
        await _end(self)
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
    ) -> Any:
        """As aiokafka's, without `asyncio.wait`, two dozen calls for a lone record. `timeout` is in seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while True:
            found = await super().fetched_records(partitions, 0, max_records)
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
                fetches, resets, seconds, leaderless, paused = self._get_actions_per_node(assignment)
                for node, request in fetches:
                    self._begin(node, self._proc_fetch_request(assignment, node, request))
                for node, targets in resets.items():
                    self._begin(node, self._update_fetch_positions(assignment, node, targets))
                if leaderless:
                    self._client.force_metadata_update().add_done_callback(self._wake)
                self._listen(paused)
                timer = loop.call_later(seconds, self._wake)
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
        self._paused.clear()
        self._nodes = set()

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

    def _get_actions_per_node(self, assignment: Any) -> Actions:
        if self._nodes and self._nodes <= self._in_flight:
            return [], {}, self._fetcher_timeout, False, []  # each has been asked, and answers
        wanted: dict[int, list[tuple[TopicPartition, int]]] = defaultdict(list)
        resets: dict[int, list[TopicPartition]] = defaultdict(list)
        held: dict[int, float] = {}
        paused: list[asyncio.Future[None]] = []
        leaderless = False
        leader_of = self._leader_of()
        source_of = self._select_read_replica if self._preferred_read_replica else leader_of
        waiting = self._records
        nodes: set[int | None] = set()
        for target, state in assignment._tp_state.items():
            node = source_of(target)
            nodes.add(node)
            if target in waiting:
                # What waits to be consumed holds its node up, for a while.
                backoff = waiting[target].calculate_backoff()
                if backoff:
                    held[node] = max(backoff, held.get(node, 0.0))
                continue
            if node in self._in_flight:
                continue
            if node in _NO_LEADER:
                leaderless = True
            elif state._position is None:
                leader = leader_of(target)  # of offsets a follower knows nothing
                if leader in _NO_LEADER:
                    leaderless = True
                else:
                    resets[leader].append(target)
            elif state._paused:
                paused.append(state._resume_fut)
            else:
                wanted[node].append((target, state._position))
        self._nodes = nodes
        fetches = [
            (node, self._request(targets))
            for node, targets in wanted.items()
            if node not in held and node not in resets
        ]
        return fetches, resets, min(held.values(), default=self._fetcher_timeout), leaderless, paused

    def _leader_of(self) -> Callable[[TopicPartition], Any]:
        cluster = self._client.cluster
        if self._metadata is not cluster._partitions:
            self._metadata = cluster._partitions
            self._leaders = _Leaders(cluster.leader_for_partition)
        return self._leaders.__getitem__

    def _request(self, targets: list[tuple[TopicPartition, int]]) -> FetchRequest:
        # Whoever comes first gets the most of what a fetch may bring: each in its turn.
        self._turn += 1
        first = self._turn % len(targets)
        topics: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for target, position in targets[first:] + targets[:first]:
            topics[target.topic].append((target.partition, position, self._max_partition_fetch_bytes))
        return FetchRequest(
            self._fetch_max_wait_ms,
            self._fetch_min_bytes,
            self._fetch_max_bytes,
            self._isolation_level,
            list(topics.items()),
            rack_id=self._client_rack or "",
        )


class _Leaders(dict[TopicPartition, int | None]):
    """Asks for each once."""

    def __init__(self, ask: Callable[[TopicPartition], int | None]) -> None:
        self._ask = ask

    def __missing__(self, target: TopicPartition) -> int | None:
        leader = self[target] = self._ask(target)
        return leader


async def _end(fetcher: Fetcher) -> None:
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
