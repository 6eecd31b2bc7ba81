"""What a consumer asks for next: which broker for the records of which partitions, and for where partitions begin."""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.protocol.fetch import FetchRequest

_NO_LEADER = (None, -1)

_LEFT_OUT_MS = 50
"""The longest that a broker may hold a fetch which leaves out partitions of its: they are asked for only after it."""


class Actions(NamedTuple):
    """What is to be done now, and when to look again."""

    fetches: list[tuple[int, FetchRequest]]
    """Which node is asked for records, and for which."""
    resets: dict[int, list[TopicPartition]]
    """Which node is asked where partitions begin or end that have no position yet."""
    seconds: float
    """Until there may be other things to do, though nothing comes."""
    leaderless: bool
    """Whether a leader is unknown."""
    paused: list["asyncio.Future[None]"]
    """Each tells that its partition is wanted again."""


class _Leaders(dict[TopicPartition, int | None]):
    """Asks for each once."""

    def __init__(self, ask: Callable[[TopicPartition], int | None]) -> None:
        self._ask = ask

    def __missing__(self, target: TopicPartition) -> int | None:
        leader = self[target] = self._ask(target)
        return leader


class FetchPlan:
    """Decides for one fetcher, by what it has asked for and what it has brought that nobody has taken yet."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._cluster = fetcher._client.cluster
        self._turn = 0
        self._nodes: set[int | None] = set()
        """Where the partitions were when that was last looked at."""
        self._metadata: object = None
        self._leaders = _Leaders(self._cluster.leader_for_partition)
        """By this metadata of the cluster; with any other they are asked for anew."""

    def begin(self) -> None:
        """Begin anew: with other partitions."""
        self._nodes = set()

    def actions(self, assignment: Any) -> Actions:
        """What is to be done now for these partitions."""
        fetcher, in_flight = self._fetcher, self._fetcher._in_flight
        if self._nodes and self._nodes <= in_flight:
            # Each has been asked, and answers.
            return Actions([], {}, fetcher._fetcher_timeout, leaderless=False, paused=[])
        wanted: dict[int, list[tuple[TopicPartition, int]]] = defaultdict(list)
        resets: dict[int, list[TopicPartition]] = defaultdict(list)
        held: dict[int, float] = {}
        left_out: set[int] = set()
        paused: list[asyncio.Future[None]] = []
        leaderless = False
        leader_of = self._leader_of()
        source_of = fetcher._select_read_replica if fetcher._preferred_read_replica else leader_of
        waiting = fetcher._records
        nodes: set[int | None] = set()
        for target, state in assignment._tp_state.items():
            node = source_of(target)
            nodes.add(node)
            if target in waiting:
                # What waits to be consumed holds its node up, for a while.
                backoff = waiting[target].calculate_backoff()
                if backoff:
                    held[node] = max(backoff, held.get(node, 0.0))
                left_out.add(node)
                continue
            if node in in_flight:
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
                left_out.add(node)
            else:
                wanted[node].append((target, state._position))
        self._nodes = nodes
        longest_ms = fetcher._fetch_max_wait_ms
        fetches = [
            (node, self._request(targets, wait_ms=min(_LEFT_OUT_MS, longest_ms) if node in left_out else longest_ms))
            for node, targets in wanted.items()
            if node not in held and node not in resets
        ]
        return Actions(fetches, resets, min(held.values(), default=fetcher._fetcher_timeout), leaderless, paused)

    def _leader_of(self) -> Callable[[TopicPartition], Any]:
        if self._metadata is not self._cluster._partitions:
            self._metadata = self._cluster._partitions
            self._leaders = _Leaders(self._cluster.leader_for_partition)
        return self._leaders.__getitem__

    def _request(self, targets: list[tuple[TopicPartition, int]], *, wait_ms: int) -> FetchRequest:
        fetcher = self._fetcher
        # Whoever comes first gets the most of what a fetch may bring: each in its turn.
        self._turn += 1
        first = self._turn % len(targets)
        topics: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for target, position in targets[first:] + targets[:first]:
            topics[target.topic].append((target.partition, position, fetcher._max_partition_fetch_bytes))
        return FetchRequest(
            wait_ms,
            fetcher._fetch_min_bytes,
            fetcher._fetch_max_bytes,
            fetcher._isolation_level,
            list(topics.items()),
            rack_id=fetcher._client_rack or "",
        )
