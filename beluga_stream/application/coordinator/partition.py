"""One owned partition of runs: their states in memory, their deadlines and leases, and what a batch changes.

The table holds every run as bytes; `States` keeps those decoded that are at work.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...domain.commands import Command, PublishNode, RejectRun, ReturnSlot
from ...domain.draft import Decision
from ...domain.frozen import replace
from ...domain.ids import GraphHash, NodeKey, RunId
from ...domain.plan import Plan
from ...domain.retention import FINAL, marker, shrunk, spent
from ...domain.state import NodeState, NodeStatus, RunState, timers
from ...ports.log import PartitionTable, Record
from .. import codec
from ..codec import Kept
from ..outbox import Outbox
from . import early, limits
from .early import EarlySignals
from .leases import Leases
from .limits import Limits
from .offsets import Offsets
from .states import RESTING_BYTES, States
from .timers import Timers
from .unanswered import Unanswered

log = logging.getLogger("beluga_stream.coordinator")

_NO_RUN = "~"
"""Begins the keys of rows that are no runs."""

_ANSWERED = "~answered"
_AT_A_TIME = 500
_READ = "~read"
_HOUR_MS = 3_600_000


@dataclass(slots=True)
class Changed:
    """One run's part of the batch under way."""

    state: RunState
    plan: Plan | None
    intents: list[Command] = field(default_factory=list)
    source: dict[str, int] = field(default_factory=dict)
    """As the run's row has it, and with what has changed it since."""
    size: int = 0
    """In the table, in bytes; known once the batch is encoded."""


class Sealed(NamedTuple):
    """A batch that takes no more decisions: it is being written, then sent."""

    number: int
    changed: Mapping[RunId, Changed]


class Unsent(NamedTuple):
    """What one durable batch decided about a run, while its records may not have been sent yet."""

    batch: int
    intents: Sequence[Command]


class RunPartition:
    """The runs of one partition, for as long as this process owns it.

    A run's value names every intent that is not known to be sent: those of its own batch, and those of the batches
    before it whose records are still on their way.
    """

    def __init__(self, number: int, table: PartitionTable, resting_bytes: int = RESTING_BYTES) -> None:
        self.number = number
        self.table = table
        self.summaries = Outbox(table)
        """What it writes as the owner beside its table."""
        self.leases = Leases()
        self.offsets = Offsets()
        self.ended: deque[tuple[int, RunId]] = deque()
        self.runs: dict[RunId, None] = {}
        """Those that go on, the longest known first."""
        self.of_graph: Counter[tuple[GraphHash, str]] = Counter()
        """How many of them are of each definition, by its hash and its graph's name; pages count with their run."""
        self._states = States(table, resting_bytes)
        self.timers = Timers(self.runs, self._states)
        self._changed: dict[RunId, Changed] = {}
        self._unsent: dict[RunId, list[Unsent]] = {}
        self._markers: dict[RunId, Kept] = {}
        self._unmarked: list[RunId] = []
        self._batch = 0
        self._latest: dict[RunId, int] = {}
        """For each run in a batch that is not durable, the last such batch."""
        self.writing: asyncio.Task[None] | None = None
        """Ends when all that was given to `write` is durable."""
        self.early = EarlySignals()
        self.limits = Limits()
        self.unanswered = Unanswered()
        self._answered: str | None = None
        self._told_ms: int | None = None

    def take_up(self, committed: Mapping[str, int], begins: Mapping[str, int]) -> None:
        """Find out how far it was read; see `Offsets.take_up`."""
        self.offsets.take_up(self.table.get(_READ), committed, begins)

    def has_seen(self, run: RunId, record: Record) -> bool:
        """Whether the run has changed by this record, or by a later one of its topic: then this one comes again.

        An event that changed nothing when it first came might change the run as it stands now.
        """
        if record.topic not in self.offsets.repeats:
            return False
        return record.offset <= self._states.source(run).get(record.topic, -1)

    async def recover(self, now_ms: int) -> AsyncIterator[Kept]:
        """Rebuild deadlines and leases from the table; yield every run that has intents which may not have been sent.

        Lets others have their turn from time to time: there may be a hundred thousand runs.
        """
        ended: list[tuple[int, RunId]] = []
        for number, (key, value) in enumerate(self.table.items()):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            if key.startswith(early.PREFIX):
                self.early.recover(value)
            if key.startswith(limits.PREFIX):
                self.limits.recover(key, value)
            if key.startswith(_NO_RUN):
                continue
            kept = codec.kept.decode(value)
            state = kept.state
            if self.offsets.recover(kept.source) and kept.intents:
                yield kept
            if state.ended:
                ended.append((state.ended_ms or 0, state.run))
                continue
            self._count_in(state)
            self.timers.put(timers(state))
            for place in state.nodes:
                self.leases.follow(state, place, now_ms)
        self.limits.recovered()
        self.early.recovered(lambda run: self.table.get(run) is not None)
        self.ended.extend(sorted(ended))

    def state(self, run: RunId) -> RunState | None:
        """The run as it is after all events applied so far, durable or not."""
        return self._states.get(run)

    def find(self, run: RunId) -> RunState | None:
        """The run, as long as it goes on, for somebody who looks at all of them: none is kept decoded for it."""
        return self._states.peek(run) if run in self.runs else None

    def is_at_rest(self, run: RunId) -> bool:
        """Whether all that was decided about it is durable and sent."""
        return run not in self._changed and run not in self._latest and run not in self._unsent

    def apply(
        self, record: Record, plan: Plan | None, before: RunState | None, decision: Decision, now_ms: int
    ) -> None:
        """Take a decision into the batch."""
        state = decision.state
        if state is before and not decision.commands:
            return
        changed = self._changed.get(state.run)
        if changed is None:
            source = {} if before is None else dict(self._states.source(state.run))
            changed = self._changed[state.run] = Changed(state, plan, source=source)
        self._markers.pop(state.run, None)
        changed.state = state
        changed.intents.extend(decision.commands)
        changed.source[record.topic] = record.offset
        self._states.put(state, changed.source)
        self.timers.put(decision.timers)
        if before is None:
            self.unanswered.begun(state.run, decision.commands, now_ms)
        else:
            self.unanswered.heard(state.run)
        if before is None or before.ended != state.ended:
            self._count(before, state)
        for command in decision.commands:
            if isinstance(command, PublishNode):
                self.leases.follow(state, command.node, now_ms)

    def overrule(self, decision: Decision) -> Decision:
        """Replace all that the batch decided about a run by this decision, except for what concerns others.

        That is the slots that it gives back, and the answers to starts that gave its key another input.
        """
        state = decision.state
        changed = self._changed[state.run]
        before, changed.state = changed.state, state
        others = [command for command in changed.intents if isinstance(command, ReturnSlot | RejectRun)]
        decision = decision._replace(commands=(*others, *decision.commands))
        changed.intents = list(decision.commands)
        self._states.put(state)
        self.leases.drop(state.run)
        if before.ended != state.ended:
            self._count(before, state)
        return decision

    def answer(self, record: Record) -> None:
        """Let the batch write to the table though no run changes: an owner that is fenced must not answer either."""
        self._answered = f"{record.topic}/{record.offset}"

    def changes(self, expired: list[RunId]) -> list[tuple[str, bytes | None]]:
        """The table's part of the batch: one value for each changed run, a tombstone for each expired one."""
        values: list[tuple[str, bytes | None]] = [*self.early.held(), *self.limits.changes()]
        values.extend(
            (str(run), codec.kept.encode(self._markers[run])) for run in self._unmarked if run in self._markers
        )
        if self._answered is not None:
            values.append((_ANSWERED, self._answered.encode()))
        values.extend((str(run), None) for run in expired)
        for run, changed in self._changed.items():
            intents = self._unconfirmed(run, changed)
            value = codec.kept.encode(Kept(shrunk(changed.state, intents), intents, changed.source))
            changed.size = len(value)
            values.append((str(run), value))
        # Last: a commit may be cut off, and a signal must not be gone before the run that has got it is there.
        values.extend(self.early.gone())
        if values:
            values.append((_READ, self.offsets.row()))
        return values

    def wide(self, most_bytes: int) -> list[RunId]:
        """The runs of the batch, as it was encoded last, of which a record may be longer than this."""
        return [
            run
            for run, changed in self._changed.items()
            if changed.plan is not None and changed.size * changed.plan.width > most_bytes
        ]

    def write(self, changes: Sequence[tuple[str, bytes | None]]) -> "asyncio.Task[None] | None":
        """Begin to make the batch durable; what is returned ends when it and all before it are.

        A batch that changes nothing waits too: what made its events no news must be durable before they are
        acknowledged.
        """
        if changes:
            self.writing = asyncio.create_task(self.table.commit(changes))
            self.writing.add_done_callback(_seen)
        return self.writing

    def seal(self) -> Sealed:
        """Begin the next batch. What this one decided is not known to be sent from now on."""
        for run in self._unmarked:
            self._markers.pop(run, None)
        self._unmarked.clear()
        self._batch += 1
        sealed = Sealed(self._batch, self._changed)
        if self.writing is not None:
            self.offsets.seal(sealed.number)
        for run, changed in sealed.changed.items():
            self._latest[run] = sealed.number
            if changed.intents:
                self._unsent.setdefault(run, []).append(Unsent(sealed.number, changed.intents))
        self._changed = {}
        self.early.rows.clear()
        self.limits.rows.clear()
        self._answered = None
        return sealed

    def durable(self, sealed: Sealed) -> None:
        """The batch is in the table, where the runs that have ended stay from now on, unless they go on already."""
        for run, changed in sealed.changed.items():
            if self._latest.get(run) != sealed.number:
                continue
            del self._latest[run]
            if run in self._changed:
                continue
            self._states.rest(run, changed.size)
            if changed.state.status in FINAL:
                self._markers[run] = Kept(marker(changed.state), source=changed.source)

    def sent(self, sealed: Sealed) -> None:
        """The records of a batch are sent: its intents are no more, nor the outputs that nobody will ask for."""
        self.offsets.sent(sealed.number)
        for run, changed in sealed.changed.items():
            self._forget_outputs(run, changed.plan, _ended(changed.intents))
            left = [unsent for unsent in self._unsent.pop(run, ()) if unsent.batch != sealed.number]
            if left:
                self._unsent[run] = left
            elif run in self._markers:
                self._unmarked.append(run)

    def expired(self, now_ms: int, window_ms: int, most: int) -> list[RunId]:
        """Markers past the deduplication window, or above its count, oldest first."""
        gone: list[RunId] = []
        while self.ended and (self.ended[0][0] < now_ms - window_ms or len(self.ended) > most):
            ended_ms, run = self.ended[0]
            if not self.is_at_rest(run):
                break  # its end is not told yet
            self.ended.popleft()
            state = self.state(run)
            # A run that was retried has a later end, with an entry of its own.
            if state is not None and state.ended and (state.ended_ms or 0) == ended_ms:
                gone.append(run)
                if ended_ms >= now_ms - window_ms and most:
                    self._tell_forgotten(now_ms, now_ms - ended_ms, most)
        return gone

    def _tell_forgotten(self, now_ms: int, age_ms: int, most: int) -> None:
        """A start that is repeated later than this runs again, though time alone would remember it: say so hourly."""
        if self._told_ms is not None and now_ms - self._told_ms < _HOUR_MS:
            return
        self._told_ms = now_ms
        log.warning(
            "partition %d forgets runs %d s after their end, before BELUGA_DEDUP_WINDOW_HOURS is over, for more than "
            "BELUGA_DEDUP_MOST=%d have ended since: raise it, or a start that is repeated later runs again",
            self.number,
            age_ms // 1000,
            most,
            extra={"action": "dedup_most", "partition": self.number, "seconds": age_ms // 1000},
        )

    def _unconfirmed(self, run: RunId, changed: Changed) -> tuple[Command, ...]:
        intents: list[Command] = []
        for unsent in self._unsent.get(run, ()):
            intents.extend(unsent.intents)
        return (*intents, *changed.intents)

    def _forget_outputs(self, run: RunId, plan: Plan | None, ended: Sequence[NodeKey]) -> None:
        state = self._states.at_hand(run)
        if state is None or plan is None or state.page is not None:
            return
        if self._states.was_reread(run):
            ended = [key for key, node in state.nodes.items() if node.status in _DONE]
        gone = spent(plan, state, ended) if ended else ()
        if gone:
            without: dict[NodeKey, NodeState] = {name: replace(state.nodes[name], output=None) for name in gone}
            self._states.change(replace(state, nodes={**state.nodes, **without}))

    def _count(self, before: RunState | None, state: RunState) -> None:
        if not state.ended:
            self._count_in(state)
            return
        self.ended.append((state.ended_ms or 0, state.run))
        if before is not None:
            del self.runs[state.run]
            if state.page is None and state.definition is not None:
                self.of_graph[state.definition, state.graph] -= 1

    def _count_in(self, state: RunState) -> None:
        self.runs[state.run] = None
        if state.page is None and state.definition is not None:
            self.of_graph[state.definition, state.graph] += 1


def _seen(written: "asyncio.Task[None]") -> None:
    """Whoever settles the batch tells of its failure; when its process ends there may be nobody left to."""
    if not written.cancelled():
        written.exception()


def _ended(intents: Sequence[Command]) -> list[NodeKey]:
    return [command.node for command in intents if isinstance(command, PublishNode) and command.status in _DONE]


_DONE = frozenset({NodeStatus.SUCCEEDED, NodeStatus.SKIPPED})
