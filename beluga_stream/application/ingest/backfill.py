"""Backfill: starts the runs that a trigger's earlier events, or a schedule's earlier times, should have started.

Each has the id that it would have had, so what `beluga.runs` knows is left out, however long ago it ran; what is on its
way at the same moment is the same run for its coordinator. Runs are started some at a time.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import NamedTuple

from ...domain.events import RunRequested
from ...domain.ids import RunId
from ...errors import BelugaError, InvalidInput, LogUnavailable, RunRejected, TimedOut
from ...ports.clock import Clock
from ...ports.handlers import Deployment, Trigger
from ...ports.log import Outgoing, Reader
from .. import codec
from ..clients.runs import Runs
from ..deadletters import is_for
from ..payloads import Payloads
from ..topics import Topics
from .asking import asked
from .requesting import Requests, called
from .schedules import moment_of, ticks_between
from .windows import Windows

log = logging.getLogger("beluga_stream.backfill")


class Span(NamedTuple):
    """A part of a topic: offsets by partition. For a schedule or a join, the times from `begin_ms` up to `end_ms`."""

    begin: Mapping[int, int]
    end: Mapping[int, int]
    begin_ms: int = 0
    end_ms: int = 0


class Found(NamedTuple):
    """An event, or a time, and the run that is to be. `why` says why there is none."""

    place: str
    request: RunRequested | None
    why: str = ""


class Backfill:
    """Backfills one trigger of a deployment. Raises `InvalidInput` for a trigger that cannot be."""

    def __init__(
        self,
        trigger: Trigger,
        *,
        deployment: Deployment,
        topics: Topics,
        reader: Reader,
        payloads: Payloads,
        clock: Clock,
    ) -> None:
        gathers = trigger.gathers
        if trigger.kind == "run_finished" or (gathers is not None and gathers.kind != "join"):
            raise InvalidInput(
                f"trigger {trigger.name!r} of graph {trigger.graph!r} cannot be backfilled: that is possible for "
                f"triggers by one event of a topic, for joins, and for schedules. Which events a batch or a burst has "
                f"depends on when they came, so nobody could tell what ran",
                trigger=trigger.name,
            )
        self.trigger = trigger
        self._name = topics.trigger(trigger.graph, trigger.name)
        self._deployment = deployment
        self._reader = reader
        self._clock = clock
        self._ingest = asked(deployment, topics=topics, payloads=payloads, clock=clock)
        self._requests = Requests(topics, payloads)
        self._windows = None
        self._graphs = {trigger.graph}
        if gathers is not None:
            self._windows = Windows(
                trigger, deployment=deployment, topics=topics, reader=reader, payloads=payloads, clock=clock
            )
            self._graphs |= {gathers.graph or trigger.graph}

    async def known(self, runs: Runs) -> frozenset[RunId]:
        """Every run that this trigger has started and `beluga.runs` still has."""
        name = self.trigger.name
        summaries = runs.each_summary()
        return frozenset([each.run async for each in summaries if each.trigger == name and each.graph in self._graphs])

    async def missing(self, span: Span, known: frozenset[RunId]) -> AsyncGenerator[Found, None]:
        """What the span holds: with a request where a run is missing, else why there is none."""
        candidates = self._candidates(span)
        async with aclosing(candidates):
            seen: set[RunId] = set()
            async for found in candidates:
                request = found.request
                if request is None:
                    yield found
                elif request.run in known:
                    yield Found(found.place, None, "ran already")
                elif request.run in seen:
                    yield Found(found.place, None, "repeated")
                else:
                    seen.add(request.run)
                    yield found

    async def play(self, span: Span, runs: Runs, *, parallel: int, timeout_seconds: float) -> Mapping[str, int]:
        """Start what is missing, at most `parallel` runs at a time; how many came to which end."""
        told: Counter[str] = Counter()
        slots = asyncio.Semaphore(parallel)

        async def follow(request: RunRequested) -> None:
            try:
                told[await _ended(runs, request.run, timeout_seconds)] += 1
            finally:
                slots.release()

        known = await self.known(runs)
        try:
            async with asyncio.TaskGroup() as group, aclosing(self.missing(span, known)) as missing:
                async for found in missing:
                    if found.request is None:
                        told[found.why] += 1
                        continue
                    await slots.acquire()
                    await runs.submit(found.request)
                    group.create_task(follow(found.request))
        except ExceptionGroup as failed:
            # Not by `except*`: until Python 3.11.4 that puts what is raised in it into a group.
            if failed.split(LogUnavailable)[1] is not None:
                raise
            raise LogUnavailable(
                f"the broker was lost after {told.total()} events; say it again to go on: what ran is left out"
            ) from failed
        return told

    def _candidates(self, span: Span) -> AsyncGenerator[Found, None]:
        if self._windows is not None:
            return self._of_join(self._windows, span)
        return self._of_schedule(span) if self.trigger.schedule is not None else self._of_topic(span)

    async def _of_join(self, windows: Windows, span: Span) -> AsyncGenerator[Found, None]:
        async with aclosing(windows.between(span.begin_ms, span.end_ms)) as found:
            async for ended in found:
                yield Found(ended.place, None, ended.why) if ended.start is None else _found(ended.place, ended.start)

    async def _of_topic(self, span: Span) -> AsyncGenerator[Found, None]:
        async for records in self._reader.read(self.trigger.topic, span.begin, until=span.end):
            for record in records:
                place = f"{record.topic}/{record.partition}/{record.offset}"
                if not is_for(record, self._name):
                    yield Found(place, None, "of another trigger")
                    continue
                try:
                    answer = await self._ingest.answer(self.trigger, 0, record)
                except LogUnavailable:
                    raise  # no fault of the event
                except BelugaError as error:
                    # It is a dead letter since it came.
                    log.warning("refused %s: %s", place, error, extra={"action": "backfill_refused"})
                    yield Found(place, None, "refused")
                else:
                    yield Found(place, None, "filtered") if answer is None else _found(place, answer)

    async def _of_schedule(self, span: Span) -> AsyncGenerator[Found, None]:
        schedule, trigger = self.trigger.schedule, self.trigger
        program = self._deployment.latest(trigger.graph)
        assert schedule is not None, "asked for by its caller"
        assert program is not None, "a trigger belongs to a deployed graph"
        for tick_ms in ticks_between(schedule, span.begin_ms, span.end_ms):
            moment = moment_of(schedule, tick_ms)
            value = called(trigger.name, "input", schedule.input, moment)
            now = self._clock.now_ms()
            answer = await self._requests.start(program, trigger.name, str(tick_ms), value, None, now)
            yield _found(moment.isoformat(), answer)


def _found(place: str, answer: Outgoing) -> Found:
    request = codec.incoming.decode(answer.value)
    assert isinstance(request, RunRequested), "triggers lead to nothing else"
    return Found(place, request)


async def _ended(runs: Runs, run: RunId, timeout_seconds: float) -> str:
    try:
        await runs.result(run, timeout_seconds=timeout_seconds)
    except RunRejected as error:
        log.warning("%s", error, extra={"action": "backfill_rejected", "run": run})
        return "rejected"
    except TimedOut:
        return "still running"
    except LogUnavailable:
        raise
    except BelugaError as error:
        log.warning("%s", error, extra={"action": "backfill_failed", "run": run})
        return "failed"
    return "succeeded"
