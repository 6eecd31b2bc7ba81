"""Looks at every run that goes on, again and again: none hangs, and what waits too long is seen.

It goes round in slices, so that many runs hold nothing up. Four things come of a look:

1. A run that waits longer than it should is counted, by what it waits for, and told of in the log once.
2. A run that waits for nothing is told of as an error, and becomes a `RunStalled` event, which takes it up again.
3. Work that no worker has, and none will get, becomes a `DispatchLost` event, which sends it again.
4. A child that nobody has heard of for long, durable or not, is asked after (see `lookout`).

That work is lost, and not only late, is known from offsets and not from clocks. Whatever was sent of it lies
before the end that its queue had when it was first suspected. When the workers have acknowledged all up to there
(or retention has removed it), all that they have to tell of it is in `node-done` already; and when that is read up
to the end it had then, and the node still waits for a worker, nobody has it.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...domain.events import DispatchLost, Event, RunStalled
from ...domain.ids import NodeKey, RunId, node_of
from ...domain.state import NodeStatus, RunState
from ...domain.waiting import Reason, Waiting, waits
from ...errors import LogUnavailable
from ...ports.log import Appender, Outgoing, Reader, Workers
from ...ports.telemetry import Telemetry
from .. import codec
from ..catalog import Catalog
from ..elapsed import has_elapsed
from ..topics import Topics
from .lookout import Lookout
from .partition import RunPartition

log = logging.getLogger("beluga_stream.coordinator")

_TOLD_MOST = 20
"""Most stuck runs that get a line of their own in one round; the others are told as a number."""

_ASKED_AFTER = frozenset({"workflow", "child"})

_SUSPECTS_MOST = 2_000
"""Most suspects for each partition of a queue; the oldest come first, and as they are cleared the next ones."""


class Watch(Protocol):
    """Something that looks at the owned partitions as time goes by."""

    async def look(self, owned: Mapping[int, RunPartition], now: int) -> None:
        """One look, and as little work as one look takes. Times in epoch milliseconds."""

    def forget(self, partitions: Iterable[int]) -> None:
        """These are another's now."""


@dataclass(frozen=True, slots=True)
class WatchdogOptions:
    """Times in milliseconds. `at_once` is the most runs of one look, `round_ms` the least time of a whole round.

    After `child_ms` a child is asked after; None: never.
    """

    patience_ms: int = 60_000
    redispatch_ms: int = 300_000
    look_after_ms: int = 30_000
    child_ms: int | None = 300_000
    round_ms: int = 10_000
    at_once: int = 200


@dataclass(slots=True)
class _Suspect:
    """Work that may be lost. `queue_end`: what was sent of it lies before; `done_end`: what is told of it, too."""

    partition: int
    queue: str
    queue_end: int | None = None
    done_end: int | None = None


_Work = tuple[RunId, NodeKey, int]


class Watchdog:
    """A `Watch` over the runs of the owned partitions."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        topics: Topics,
        *,
        appender: Appender,
        reader: Reader,
        workers: Workers,
        catalog: Catalog,
        telemetry: Telemetry,
        options: WatchdogOptions = WatchdogOptions(),
    ) -> None:
        self._names = topics
        self._appender = appender
        self._reader = reader
        self._workers = workers
        self._catalog = catalog
        self._telemetry = telemetry
        self._options = options
        self._lookout = Lookout(topics, options.look_after_ms, options.child_ms)
        self._round: list[tuple[int, list[RunId]]] = []
        self._began_ms: int | None = None
        self._stuck: dict[int, dict[RunId, frozenset[Reason]]] = {}
        self._untold = 0
        self._told = 0
        self._suspects: dict[_Work, _Suspect] = {}
        self._seen: dict[_Work, _Suspect] = {}
        self._suspected: Counter[tuple[str, int]] = Counter()

    def forget(self, partitions: Iterable[int]) -> None:
        """See `Watch`: whoever owns them now counts their stuck runs."""
        gone = set(partitions)
        for number in gone:
            for reasons in self._stuck.pop(number, {}).values():
                self._count(reasons, frozenset())
        self._round = [entry for entry in self._round if entry[0] not in gone]
        for suspects in (self._suspects, self._seen):
            for work in [work for work, suspect in suspects.items() if suspect.partition in gone]:
                del suspects[work]

    async def look(self, owned: Mapping[int, RunPartition], now: int) -> None:
        """See `Watch`. Raises `LogUnavailable`."""
        if not self._round:
            if self._began_ms is not None and not has_elapsed(self._began_ms, now, self._options.round_ms):
                return
            self._begin(owned, now)
        events: list[Outgoing] = []
        for number, run in self._slice():
            partition = owned.get(number)
            if partition is not None:
                events.extend(self._examine(partition, run, now))
        if not self._round:
            events.extend(await self._conclude(owned, now))
        if events:
            await self._appender.append(events)

    def _begin(self, owned: Mapping[int, RunPartition], now: int) -> None:
        self._began_ms = now
        self._told = self._untold = 0
        self._seen = {}
        self._suspected.clear()
        for number, partition in owned.items():
            runs = list(partition.runs)
            runs.extend(run for run in self._stuck.get(number, ()) if run not in partition.runs)
            runs.reverse()  # they are taken from the end, the oldest first
            self._round.append((number, runs))

    def _slice(self) -> list[tuple[int, RunId]]:
        """Take the runs of one look."""
        taken: list[tuple[int, RunId]] = []
        while self._round:
            number, runs = self._round[-1]
            while runs and len(taken) < self._options.at_once:
                taken.append((number, runs.pop()))
            if runs:
                break
            self._round.pop()
        return taken

    def _examine(self, partition: RunPartition, run: RunId, now: int) -> Sequence[Outgoing]:
        state = partition.find(run)
        if state is None:
            self._note(partition.number, run, frozenset())
            return ()
        if not partition.is_at_rest(run):
            return ()
        waiting = self._waits(state)
        late = [each for each in waiting if each.is_late(now, self._options.patience_ms)]
        new = self._note(partition.number, run, frozenset(each.on for each in late))
        stalled = [each for each in late if each.on == "nothing"]
        for each in late:
            if each.on in new:
                self._tell(state, each)
        events: list[Outgoing] = []
        for each in waiting:
            if each.on == "worker":
                if now - each.since_ms > self._options.redispatch_ms:
                    self._suspect(partition.number, state, each.node)
            elif each.on in _ASKED_AFTER:
                events.extend(self._ask(partition.number, state, each, now))
        if stalled:
            events.append(self._event(state, RunStalled(run=run, key=state.key, at_ms=now), partition.number))
        return events

    def _ask(self, number: int, state: RunState, waiting: Waiting, now: int) -> Sequence[Outgoing]:
        """What is asked about a run that is waited for, if it is due."""
        plan = self._catalog.plan(state.definition)
        question = self._lookout.look_after(number, state, waiting, now)
        if question is not None:
            return (question,)
        return () if plan is None else self._lookout.ask_child(plan, state, waiting, now)

    def _waits(self, state: RunState) -> list[Waiting]:
        plan = self._catalog.plan(state.definition)
        if plan is None:
            return [Waiting(None, "code", f"its definition {state.definition}", state.started_ms)]
        return waits(plan, state)

    def _note(self, number: int, run: RunId, reasons: frozenset[Reason]) -> frozenset[Reason]:
        """Remember why a run is stuck; returns the reasons that are new."""
        stuck = self._stuck.setdefault(number, {})
        before = stuck.pop(run, frozenset())
        if reasons:
            stuck[run] = reasons
        self._count(before, reasons)
        return reasons - before

    def _count(self, before: frozenset[Reason], after: frozenset[Reason]) -> None:
        for reason in before - after:
            self._telemetry.stuck(reason, -1)
        for reason in after - before:
            self._telemetry.stuck(reason, 1)

    def _tell(self, state: RunState, waiting: Waiting) -> None:
        self._told += 1
        if self._told > _TOLD_MOST:
            self._untold += 1
            return
        log.log(
            logging.ERROR if waiting.on == "nothing" else logging.WARNING,
            "%s waits for %s",
            state.run if waiting.node is None else f"{state.run}/{waiting.node}",
            waiting.what,
            extra={
                "action": "stuck",
                "run": state.run,
                "graph": state.graph,
                "node": waiting.node,
                "reason": waiting.on,
                "since_ms": waiting.since_ms,
            },
        )

    def _suspect(self, number: int, state: RunState, key: NodeKey | None) -> None:
        plan = self._catalog.plan(state.definition)
        if plan is None or key is None:
            return
        queue = self._names.node_ready(plan.nodes[node_of(key)].queue)
        self._suspected[queue, number] += 1
        if self._suspected[queue, number] > _SUSPECTS_MOST:
            return
        work = (state.run, key, state.nodes[key].attempt)
        self._seen[work] = self._suspects.get(work) or _Suspect(number, queue)

    async def _conclude(self, owned: Mapping[int, RunPartition], now: int) -> list[Outgoing]:
        """The end of a round: judge what was suspected in it."""
        self._lookout.conclude()
        if self._untold:
            log.warning("%d more runs are stuck", self._untold, extra={"action": "stuck", "runs": self._untold})
        self._suspects, self._seen = self._seen, {}
        for queue in {suspect.queue for suspect in self._suspects.values()}:
            await self._judge(queue)
        lost: list[Outgoing] = []
        for (run, node, attempt), suspect in self._suspects.items():
            partition = owned.get(suspect.partition)
            if partition is None or suspect.done_end is None or not partition.is_at_rest(run):
                continue
            state = partition.find(run)
            found = None if state is None else state.nodes.get(node)
            if state is None or found is None or (found.status, found.attempt) != (NodeStatus.READY, attempt):
                continue  # it has moved on since it was suspected
            if partition.offsets.read.get(self._names.node_done, 0) >= suspect.done_end:
                lost.append(self._lost(state, node, attempt, now, suspect.partition))
        return lost

    async def _judge(self, queue: str) -> None:
        """Learn of what was sent to this queue whether the workers are past it."""
        mine = [suspect for suspect in self._suspects.values() if suspect.queue == queue and suspect.done_end is None]
        if not mine:
            return
        try:
            passed = await self._workers.acknowledged(queue)
        except LogUnavailable as error:
            log.warning("nobody can say what workers have acknowledged: %s", error, extra={"action": "watchdog"})
            return
        begins, ends = await self._reader.beginning(queue), await self._reader.end(queue)
        done = await self._reader.end(self._names.node_done)
        for suspect in mine:
            number = suspect.partition
            # A topic that was created anew since then ends sooner.
            bound = ends[number] if suspect.queue_end is None else min(suspect.queue_end, ends[number])
            suspect.queue_end = bound
            if max(passed.get(number, 0), begins[number]) >= bound:
                suspect.done_end = done[number]

    def _lost(self, state: RunState, node: NodeKey, attempt: int, now: int, number: int) -> Outgoing:
        log.warning(
            "no worker has %s/%s/%d: dispatching it again",
            state.run,
            node,
            attempt,
            extra={"action": "dispatch_lost", "run": state.run, "node": node, "attempt": attempt},
        )
        lost = DispatchLost(run=state.run, key=state.key, at_ms=now, node=node, attempt=attempt)
        return self._event(state, lost, number)

    def _event(self, state: RunState, event: Event, number: int) -> Outgoing:
        value = codec.incoming.encode(event)
        return Outgoing(self._names.run_events, state.key.encode(), value, partition=number)
