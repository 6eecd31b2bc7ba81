"""When the time of a gathering is over: not by a clock alone, but once all is read that lay in its topics by then.

So an idle topic stops no time, and events that wait unread after an outage are in time. First ingest must have
acknowledged each topic up to the end that was there when the time was over; what it took on then lies in the
gatherer's own topic, which must have been read up to the end that is there now.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...domain.gathering import GatheringDue
from ...domain.ids import GatheringId
from ...errors import LogUnavailable
from ...ports.log import Appender, Outgoing, Reader, Workers
from .. import codec
from ..elapsed import has_elapsed
from ..topics import Topics
from .gatherings import Gatherings

log = logging.getLogger("beluga_stream.gatherer")

_EVERY_MS = 500
"""Time between two questions of how far ingest is, at least: each is a connection."""


class _Over(NamedTuple):
    """A gathering whose time is over."""

    partition: int
    gathering: GatheringId
    due_ms: int


@dataclass(slots=True)
class _Cohort:
    """Those that were found at one time. `bounds` are the ends of their topics then, as far as ingest is not there."""

    over: Sequence[_Over]
    bounds: dict[tuple[str, int], int]
    own: Mapping[int, int] | None = None


class Horizon:
    """Watches the owned partitions, and writes an event for each gathering whose time is over."""

    def __init__(self, topics: Topics, *, appender: Appender, reader: Reader, ingest: Workers) -> None:
        self._names = topics
        self._appender = appender
        self._reader = reader
        self._ingest = ingest
        self._cohorts: list[_Cohort] = []
        self._asked_ms = 0

    def forget(self, partitions: Iterable[int]) -> None:
        """These are another's now, who finds what is due in their tables."""
        gone = set(partitions)
        for cohort in self._cohorts:
            cohort.over = [each for each in cohort.over if each.partition not in gone]

    async def look(
        self, owned: Mapping[int, Gatherings], sources: Mapping[tuple[str, str], Sequence[str]], now_ms: int
    ) -> None:
        """One look at the clock. `sources` are the topics of each graph's trigger."""
        found: list[_Over] = []
        topics: set[str] = set()
        for number, partition in owned.items():
            for gathering in partition.take_due(now_ms):
                found.append(_Over(number, gathering.id, gathering.row.due_ms))
                topics.update(sources.get((gathering.row.graph, gathering.row.trigger), ()))
        if found:
            self._cohorts.append(_Cohort(found, await self._bounds(topics)))
        await self._approach(now_ms)
        ripe = self._ripe(owned)
        if ripe:
            await self._appender.append([self._event(each, now_ms) for each in ripe])
        for each in ripe:
            if each.partition in owned:
                owned[each.partition].told(each.gathering, each.due_ms, now_ms)

    async def _bounds(self, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        bounds: dict[tuple[str, int], int] = {}
        for topic in sorted(topics):
            begins, ends = await self._reader.beginning(topic), await self._reader.end(topic)
            # What retention has removed is not waited for.
            bounds.update({(topic, number): end for number, end in ends.items() if begins[number] < end})
        return bounds

    async def _approach(self, now_ms: int) -> None:
        """See how far ingest has come."""
        self._cohorts = [cohort for cohort in self._cohorts if cohort.over]
        topics = {topic for cohort in self._cohorts for topic, _ in cohort.bounds}
        if topics and has_elapsed(self._asked_ms, now_ms, _EVERY_MS):
            self._asked_ms = now_ms
            try:
                for topic in sorted(topics):
                    self._compare(topic, await self._ingest.acknowledged(topic))
            except LogUnavailable as error:
                log.warning("nobody can say what ingest has acknowledged: %s", error, extra={"action": "horizon"})
        waiting = [cohort for cohort in self._cohorts if cohort.own is None and not cohort.bounds]
        if waiting:
            own = await self._reader.end(self._names.trigger_events)
            for cohort in waiting:
                cohort.own = own

    def _compare(self, topic: str, acknowledged: Mapping[int, int]) -> None:
        for cohort in self._cohorts:
            cohort.bounds = {
                place: end
                for place, end in cohort.bounds.items()
                if place[0] != topic or acknowledged.get(place[1], 0) < end
            }

    def _ripe(self, owned: Mapping[int, Gatherings]) -> list[_Over]:
        ripe: list[_Over] = []
        for cohort in self._cohorts:
            if cohort.own is None:
                continue
            still: list[_Over] = []
            for each in cohort.over:
                partition = owned.get(each.partition)
                if partition is not None:
                    (ripe if partition.read >= cohort.own[each.partition] else still).append(each)
            cohort.over = still
        return ripe

    def _event(self, over: _Over, now_ms: int) -> Outgoing:
        due = GatheringDue(key=over.gathering, at_ms=now_ms, due_ms=over.due_ms)
        key, value = over.gathering.encode(), codec.gathering_events.encode(due)
        return Outgoing(self._names.trigger_events, key, value, partition=over.partition)
