"""Bugs, planted one at a time: a simulation that does not find them proves nothing.

Each is a function that breaks one guarantee of docs/guarantees.md by replacing a piece of the engine.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from beluga_stream.adapters.memory.tables import Changelog
from beluga_stream.application.codec import Kept
from beluga_stream.application.coordinator import deciding, limits, rendering, timers
from beluga_stream.application.coordinator.coordinator import Coordinator
from beluga_stream.application.coordinator.deadlines import Deadlines, Due
from beluga_stream.application.coordinator.limits import Limits
from beluga_stream.application.coordinator.partition import RunPartition
from beluga_stream.application.coordinator.settlement import Settlement
from beluga_stream.application.execution.sequence import ChunkSequence
from beluga_stream.application.messages import Argument, ChunkEmitted, NodeReady
from beluga_stream.application.worker.underway import Slot
from beluga_stream.application.worker.worker import Worker
from beluga_stream.domain import streams, transitions
from beluga_stream.domain.commands import DispatchNode
from beluga_stream.domain.draft import Decision, Draft
from beluga_stream.domain.events import Event, NodeSucceeded
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey
from beluga_stream.domain.payload import NOTHING
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.slots import Slots
from beluga_stream.domain.state import NodeState, NodeStatus, RunState
from beluga_stream.ports.log import Record

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledged_before_the_changelog(patch: pytest.MonkeyPatch) -> None:
    """A batch counts as done when it is decided."""
    handle = Coordinator.handle

    async def handled(self: Coordinator, records: Sequence[Record]) -> Awaitable[None] | None:
        await handle(self, records)
        return None

    patch.setattr(Coordinator, "handle", handled)


def sent_before_the_changelog(patch: pytest.MonkeyPatch) -> None:
    """What a decision causes leaves before the decision is durable."""
    settle = Settlement._settle

    async def settled(self: Settlement, decided: Sequence[Any], writing: Sequence[Any]) -> None:
        rendered = [batch.render() for batch in decided]
        outputs = [record for each in rendered for record in each.outputs]
        if outputs:
            await self._outbox.submit(outputs)
        left = [each._replace(outputs=()) for each in rendered]
        await settle(self, [batch._replace(render=lambda n=n: left[n]) for n, batch in enumerate(decided)], writing)

    patch.setattr(Settlement, "_settle", settled)


def intents_not_sent_again(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes it that its predecessor has sent everything."""
    recover = RunPartition.recover

    async def recovered(self: RunPartition, now_ms: int) -> AsyncIterator[Kept]:
        async for kept in recover(self, now_ms):
            if not kept.intents:
                yield kept

    patch.setattr(RunPartition, "recover", recovered)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """An owner that was paused writes on when it wakes."""
    append = Changelog.append

    def appended(self: Changelog, _epoch: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        append(self, self.epoch, changes)

    patch.setattr(Changelog, "append", appended)


def inputs_dropped(patch: pytest.MonkeyPatch) -> None:
    """A node is dispatched again without what it was to work on."""
    node_ready = rendering.node_ready

    def without_inputs(*arguments: Any) -> NodeReady:
        work: NodeReady = node_ready(*arguments)
        if work.attempt == 1:
            return work
        return replace(work, arguments=tuple(Argument(each.name, NOTHING) for each in work.arguments))

    patch.setattr(rendering, "node_ready", without_inputs)


def any_incarnation_accepted(patch: pytest.MonkeyPatch) -> None:
    """A second outcome of an attempt is applied over the first."""

    def is_current(node: NodeState, event: Any) -> bool:
        return bool(node.attempt == event.attempt and node.incarnation != event.incarnation)

    again = transitions.Transition(transitions._succeeded, (NodeStatus.SUCCEEDED,), is_current)
    patch.setattr(
        "beluga_stream.domain.reducer.TABLE", {**transitions.TABLE, (NodeStatus.SUCCEEDED, NodeSucceeded): again}
    )


def slots_not_told_again(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes it that everybody knows of the slot that it was given."""
    patch.setattr(Limits, "unconfirmed", lambda *_: iter(()))


def more_slots_than_there_are(patch: pytest.MonkeyPatch) -> None:
    """A limit gives out one slot too many."""
    patch.setattr(Slots, "_has_room", lambda self: len(self.held) <= (self.row.limit.at_once or len(self.held)))


def fired_before_caught_up(patch: pytest.MonkeyPatch) -> None:
    """A deadline counts as soon as it has passed, whatever still lies unread."""

    def ripe(self: Deadlines, owned: Mapping[int, RunPartition]) -> list[tuple[int, Due]]:
        waiting, self._waiting = self._waiting, []
        return [(number, what) for number, _, what in waiting if number in owned]

    patch.setattr(Deadlines, "_ripe", ripe)


def control_not_read_back(patch: pytest.MonkeyPatch) -> None:
    """A worker takes work when it is given some, and hears of earlier cancels by and by."""

    async def acquire(self: Worker, partitions: frozenset[int]) -> None:
        pass

    patch.setattr(Worker, "acquire", acquire)


def duplicates_answered(patch: pytest.MonkeyPatch) -> None:
    """An event that is no news is answered with what its run waits for."""

    def answered(plan: Plan | None, state: RunState | None, event: Event) -> Decision | None:
        decision = reduce(plan, state, event)
        if state is None or decision is None or decision.state is not state or decision.commands or state.ended:
            return decision
        waiting = [DispatchNode(key, node.attempt) for key, node in state.nodes.items() if node.status in _AT_WORKERS]
        return decision._replace(commands=tuple(waiting))

    patch.setattr(deciding, "reduce", answered)


def deadlines_not_rebuilt(patch: pytest.MonkeyPatch) -> None:
    """A new owner waits only for what it decides itself."""
    recover = RunPartition.recover

    async def recovered(self: RunPartition, now_ms: int) -> AsyncIterator[Kept]:
        async for kept in recover(self, now_ms):
            yield kept
        self.timers._heap.clear()

    patch.setattr(RunPartition, "recover", recovered)


def time_told_once(patch: pytest.MonkeyPatch) -> None:
    """That a time has come is told once, whatever becomes of it."""
    for module in (timers, limits):
        patch.setattr(module, "TOLD_AGAIN_MS", 1 << 60)


_AT_WORKERS = frozenset({NodeStatus.READY, NodeStatus.RUNNING})


def offsets_without_a_record_hold_time_up(patch: pytest.MonkeyPatch) -> None:
    """A partition that ends in no record is never read to its end."""

    def passed(self: Coordinator, topic: str, partition: int, offset: int) -> None: ...

    patch.setattr(Coordinator, "passed", passed)


def clocks_of_senders_trusted(patch: pytest.MonkeyPatch) -> None:
    """An event takes place when its sender's clock says that it did."""
    patch.setattr(deciding, "stamped", lambda event, _offset, _now_ms: event)


PLANTS: tuple[Plant, ...] = (
    offsets_without_a_record_hold_time_up,
    acknowledged_before_the_changelog,
    sent_before_the_changelog,
    intents_not_sent_again,
    no_fence,
    inputs_dropped,
    any_incarnation_accepted,
    slots_not_told_again,
    more_slots_than_there_are,
    fired_before_caught_up,
    control_not_read_back,
    duplicates_answered,
    deadlines_not_rebuilt,
    time_told_once,
    clocks_of_senders_trusted,
)


def readers_not_begun_again(patch: pytest.MonkeyPatch) -> None:
    """Who reads a stream that proves void is left to make of it what it can."""

    def close(draft: Draft, key: NodeKey) -> None:
        draft.keep(key, replace(draft.node(key), stream=None))

    patch.setattr(streams, "close", close)


def late_chunks_counted(patch: pytest.MonkeyPatch) -> None:
    """What an attempt emits counts also when the next one has read what it goes on after."""
    read = ChunkSequence.read

    def read_all(self: ChunkSequence, record: Any) -> Any:
        found = read(self, record)
        if isinstance(record, ChunkEmitted) and record.seq == self.count:
            self.count += 1
            return record.value
        return found

    patch.setattr(ChunkSequence, "read", read_all)


def slots_kept_while_waiting(patch: pytest.MonkeyPatch) -> None:
    """A handler that waits for a chunk keeps its slot."""
    patch.setattr(Slot, "give_back", lambda self: self._check_left())

    def left(self: Slot) -> None:
        if self._over and self._held and self._of is not None:
            self._held = False
            self._of.release()

    patch.setattr(Slot, "_check_left", left)


STREAM_PLANTS: tuple[Plant, ...] = (
    readers_not_begun_again,
    late_chunks_counted,
    slots_kept_while_waiting,
)
