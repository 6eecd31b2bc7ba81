"""Positions at which a broker has nothing: where their consumer goes on instead.

Where retention has removed what was next, it goes on at the beginning. Where the log has become shorter, it goes on at
the end, or all that the log still has would be done again; but if the topic was away in between, it is another log.
"""

# ruff: noqa: SLF001 - it replaces a part of aiokafka (contract test: test_kafka_internals)

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, OffsetResetStrategy
from aiokafka.errors import KafkaError

log = logging.getLogger("beluga_stream.adapters.kafka.fetcher")
"""The fetcher's: a process says what repeats in it only once in a while (`bootstrap/logs.py`)."""

_EARLIEST, _LATEST = OffsetResetStrategy.EARLIEST, OffsetResetStrategy.LATEST

_METADATA_SECONDS = 1.0
"""How long to wait until it is known who leads a partition now."""


class OutOfRange:
    """Knows for one fetcher which of its positions were refused, and what was known of their topics."""

    def __init__(self, fetcher: Fetcher, *, away_seconds: float) -> None:
        self._fetcher = fetcher
        self._away_seconds = away_seconds
        self._refused: dict[TopicPartition, int] = {}
        """The positions that a leader has refused, once."""
        self.gone: set[TopicPartition] = set()
        """Their topics were gone when they were last asked for."""

    def clear(self) -> None:
        """Forget everything: with another assignment there are other positions."""
        self._refused.clear()
        self.gone.clear()

    async def relocate(
        self, assignment: Any, node: int, refused: Mapping[TopicPartition, int]
    ) -> Iterable[TopicPartition]:
        """Move the positions that this node has just refused to where there is something; returns what has moved.

        A replica that lags, and a leader that is one no more, know less than there is: so the leader is looked up and
        asked once more, before it is believed.
        """
        known, self._refused = self._refused, {**self._refused, **refused}
        sure = {target: position for target, position in refused.items() if known.get(target) == position}
        if len(sure) < len(refused):
            for target in refused:
                self._fetcher._preferred_read_replica.pop(target, None)
            await asyncio.wait({self._fetcher._client.force_metadata_update()}, timeout=_METADATA_SECONDS)
        if not sure:
            return ()
        begins, ends = await self._bounds(node, sure, _EARLIEST), await self._bounds(node, sure, _LATEST)
        moved: list[TopicPartition] = []
        for target, position in sure.items():
            begin, end = begins.get(target), ends.get(target)
            if begin is None or end is None or assignment.unassign_future.done():
                continue
            del self._refused[target]
            state = assignment._tp_state[target]
            if begin <= position <= end or state._position != position:
                continue
            if position > end and target not in self.gone:
                _tell_lost(target, position, end)
                state.seek(end)
            else:
                log.info("%s has nothing at %s any more", target, position, extra={"action": "fetch"})
                state.seek(begin)
            moved.append(target)
        return moved

    async def _bounds(self, node: int, targets: Iterable[TopicPartition], which: int) -> Mapping[TopicPartition, int]:
        """Where the logs begin, or end; nothing when the broker does not say."""
        asked: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for target in targets:
            asked[target.topic].append((target.partition, which))
        try:
            found = await self._fetcher._proc_offset_request(node, asked)
        except KafkaError as error:
            log.warning("nobody says where logs begin or end: %s", error, extra={"action": "fetch"})
            await asyncio.sleep(max(self._fetcher._retry_backoff, self._away_seconds))
            return {}
        return {target: offset for target, (offset, _) in found.items()}


def _tell_lost(target: TopicPartition, position: int, end: int) -> None:
    log.error(
        "%s/%s ends at %s and was read up to %s already: the broker has lost records that it had confirmed. "
        "Reading goes on with what comes next. Check that the topic has replicas and min.insync.replicas, that "
        "unclean.leader.election.enable is false, and what became of the broker's disk",
        target.topic,
        target.partition,
        end,
        position,
        extra={"action": "log_lost", "topic": target.topic, "partition": target.partition},
    )
