"""What a simulation sees while it goes on, and what its log cannot tell afterwards: who did what, knowing what.

Three promises of docs/guarantees.md are judged from it. A deadline counts only when its owner has read all that lay
in the log when it passed. What is decided is sent once, but for what a new owner sends again. A worker that takes
work knows every cancel from before it was given its partitions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from ..adapters.memory.log import MemoryLog
from ..application import codec
from ..application.execution.context import Context
from ..application.execution.verdict import Completed, Failed
from ..application.messages import CancelNotice
from ..application.topics import Topics
from ..application.worker.worker import Worker
from ..domain.events import LeaseExpired, LimitDue, RunRequested, TimerFired
from ..domain.gathering import GatheringDue
from ..domain.ids import attempt_key
from ..domain.ticks import TicksDue
from ..errors import InvalidInput
from ..ports.calls import Isolation
from ..ports.log import Outgoing, Role
from .process import Process
from .story import Story
from .threads import SimulatedExecutions
from .virtual_time import EPOCH_MS

if TYPE_CHECKING:
    from ..application.coordinator.partition import RunPartition

Reads = Callable[[str, int], int]
"""How far a process has been given a partition of a topic: the offset after the last record it got."""


class _Begin(NamedTuple):
    """A handler's call: whose, and how far `control` reached when its process was last given partitions."""

    process: str
    root: str
    attempt: str
    known: int


class Witness:
    """Follows the processes of one simulation. `broken` says what they did that they must not."""

    def __init__(self, log: MemoryLog, topics: Topics, queues: Sequence[str], story: Story) -> None:
        self.story = story
        self._log = log
        self._topics = topics
        self._ready = tuple(topics.node_ready(queue) for queue in queues)
        self._seen: list[str] = []
        self._roles: dict[Process, tuple[Role, Reads]] = {}
        self._recovering: set[Process] = set()
        self._known: dict[Process, int] = {}
        self._begins: list[_Begin] = []
        self._sent: Counter[tuple[str, ...]] = Counter()

    def drives(self, process: Process, role: Role, reads: Reads) -> None:
        """Know what this process is, and how far it has been given the log."""
        self._roles[process] = role, reads

    def acquires(self, process: Process) -> Callable[[], None]:
        """The process is about to be given partitions; call what is returned when it has them."""
        self._recovering.add(process)
        control = len(self._log.records(self._topics.control, 0, most=1 << 30))

        def acquired() -> None:
            self._recovering.discard(process)
            self._known[process] = control

        return acquired

    def sends(self, process: Process, records: Sequence[Outgoing]) -> None:
        """The process hands these records to its appender."""
        for record in records:
            if record.topic == self._topics.run_events:
                event = codec.incoming.decode(record.value)
                if isinstance(event, TimerFired | LeaseExpired):
                    self._fires(process, record, event)
                elif isinstance(event, RunRequested) and not event.again:  # or it asks how the child stands
                    self._once(process, ("the start of a child", event.run))
            elif record.topic == self._topics.workflow_requests:
                request = codec.workflow_requests.decode(record.value)
                if isinstance(request, RunRequested):
                    self._once(process, ("the start of a durable run", request.run))
            elif record.topic == self._topics.control:
                notice = codec.control.decode(record.value)
                if isinstance(notice, CancelNotice):
                    self._once(process, ("a cancel", notice.run, str(notice.generation), *notice.attempts))
            elif record.topic in self._ready and not isinstance(self._roles[process][0], Worker):
                # A worker that stops puts back what it has not begun.
                work = codec.node_ready.decode(record.value)
                self._once(process, ("the work", work.run, work.node, str(work.attempt)))

    def tells_the_time(self, records: Sequence[Outgoing]) -> bool:
        """Whether these say that a time has come; such are appended apart from all else."""
        for record in records[:1]:
            if record.topic == self._topics.run_events:
                return isinstance(codec.incoming.decode(record.value), TimerFired | LeaseExpired | LimitDue)
            if record.topic == self._topics.trigger_events:
                return isinstance(codec.gathering_events.decode(record.value), GatheringDue | TicksDue)
        return False

    def begins(self, process: Process, context: Context) -> None:
        """The process calls a handler."""
        attempt = f"{context.node}/{context.attempt}"
        self.story.tell(process.name, f"calls {attempt} as {context.incarnation}", context.run_id)
        self._begins.append(_Begin(process.name, context.run_id, attempt, self._known.get(process, 0)))

    def broken(self) -> Iterator[str]:
        """What must not have happened, first what was seen first."""
        yield from self._seen
        for what, times in self._sent.items():
            if times > 1:
                yield f"{' '.join(what)} was sent {times} times, and not only again by new owners"
        yield from self._begun_in_spite_of_a_cancel()

    def _once(self, process: Process, what: tuple[str, ...]) -> None:
        if process not in self._recovering:
            self._sent[what] += 1

    def _fires(self, process: Process, record: Outgoing, event: TimerFired | LeaseExpired) -> None:
        """A deadline is said to have passed: what of the run lay in the log by then must have been read."""
        role, reads = self._roles[process]
        assert record.partition is not None, "the coordinator names its partition"
        owned: RunPartition | None = getattr(role, "owned", {}).get(record.partition)
        if isinstance(event, TimerFired):
            passed = event.due_ms
        else:
            lease = None if owned is None else owned.leases.held.get((event.run, event.node))
            if lease is None:
                return  # it was released in between: nobody's expiry, and none that counts
            passed = lease.heard_ms
        passed -= process.skew_ms
        for topic in role.topics:
            if topic == self._topics.run_requests:
                continue  # its state is there: what lies unread is the start that it came from
            # What an earlier owner's table says is done is read again, and skipped, or is not.
            done = 0 if owned is None else owned.offsets.done.get(topic, 0)
            read = max(reads(topic, record.partition), done)
            for unread in self._log.records(topic, record.partition, read, most=1 << 30):
                if unread.timestamp_ms >= passed:
                    break
                if unread.key == record.key:
                    self._seen.append(
                        f"{process.name} let a deadline of {event.run}/{event.node} pass at {passed - EPOCH_MS} ms, "
                        f"while {topic}/{unread.partition}/{unread.offset} of the run lay unread since "
                        f"{unread.timestamp_ms - EPOCH_MS} ms"
                    )
                    return

    def _begun_in_spite_of_a_cancel(self) -> Iterator[str]:
        notices: dict[str, list[tuple[int, CancelNotice]]] = {}
        for record in self._log.records(self._topics.control, 0, most=1 << 30):
            try:
                notice = codec.control.decode(record.value)
            except InvalidInput:
                continue  # the workers ignore it too
            if isinstance(notice, CancelNotice):
                notices.setdefault(notice.run, []).append((record.offset, notice))
        if not notices:
            return
        works = self._works()
        for begin in self._begins:
            work = works.get((begin.root, begin.attempt))
            if work is None:
                continue  # a worker went on with it by itself
            run, generation = work
            for offset, notice in notices.get(run, ()):
                before = generation <= notice.generation if notice.attempts else generation < notice.generation
                meant = before and (not notice.attempts or begin.attempt in notice.attempts)
                if meant and offset < begin.known:
                    yield (
                        f"{begin.process} began {run}/{begin.attempt}, and it was given partitions when "
                        f"control/{offset} had cancelled that"
                    )

    def _works(self) -> dict[tuple[str, str], tuple[str, int]]:
        """For each attempt of a root, its run and the latest generation that it was dispatched in."""
        found: dict[tuple[str, str], tuple[str, int]] = {}
        for topic, partition in product(self._ready, range(self._topics.partitions)):
            for record in self._log.records(topic, partition, most=1 << 30):
                try:
                    work = codec.node_ready.decode(record.value)
                except InvalidInput:
                    continue  # nobody works on it
                key = (str(work.root), attempt_key(work.node, work.attempt))
                before = found.get(key, ("", -1))[1]
                found[key] = (str(work.run), max(before, work.generation))
        return found


class WitnessedExecutions(SimulatedExecutions):
    """The executions of one process, each call noted."""

    def __init__(self, witness: Witness, process: Process, isolation: Isolation) -> None:
        super().__init__(process, isolation)
        self._witness = witness
        self._process = process

    async def run(self, handler, values, context, **how) -> Completed | Failed:  # type: ignore[no-untyped-def] # noqa: ANN001, ANN003
        self._witness.begins(self._process, context)
        return await super().run(handler, values, context, **how)
