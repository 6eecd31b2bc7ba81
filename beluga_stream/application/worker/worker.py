"""The worker: takes node-ready records, runs the handlers, and reports what they did.

A batch is acknowledged when each of its nodes is done, or held by a lease: a node that runs
longer than `lease_after_ms` is reported as started and kept alive by heartbeats, so that it holds
no partition.

What may have killed a worker before is begun with care: its lease is taken before it runs. So the next death with it
is seen by the coordinator, and no worker after that one takes the same attempt (docs/decisions/0010-poison.md).
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from ...domain.ids import Incarnation, RunId
from ...domain.payload import Payload
from ...errors import BelugaError
from ...ports.clock import Clock
from ...ports.handlers import Deployment
from ...ports.log import Appender, Outgoing, Position, Reader, Record
from ...ports.spans import NO_SPANS, Spans
from ...ports.telemetry import NO_TELEMETRY, Telemetry
from .. import codec
from ..deadletters import Refusals
from ..execution.execution import Executions
from ..execution.streams import HeldElsewhere, Streams
from ..messages import NodeReady, Outcome
from ..outbox import Outbox
from ..payloads import Payloads
from ..topics import Topics
from .attempts import Attempts, done
from .fusion import FUSED_MOST, Fusion, segment
from .incarnations import new_incarnation
from .leases import Leases
from .notices import Notices
from .reported import Reported
from .slots import Slot, Slots
from .underway import Batch, Underway

log = logging.getLogger("beluga_stream.worker")

_STOP_SECONDS = 10.0
"""How long handlers that are told to stop are waited for: one may ignore it."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Times in milliseconds. `slots` is how many handlers run at once, `fuse_ms` is explained in `fusion`."""

    slots: int = 256
    fuse_ms: int = 0
    lease_after_ms: int = 2_000
    heartbeat_ms: int = 2_500
    sweep_ms: int = 500
    drain_ms: int = 5_000


class Worker:
    """A `Role` over the node-ready topics of some queues."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        *,
        topics: Topics,
        queues: Sequence[str],
        deployment: Deployment,
        appender: Appender,
        reader: Reader,
        payloads: Payloads,
        executions: Executions,
        clock: Clock,
        telemetry: Telemetry = NO_TELEMETRY,
        spans: Spans = NO_SPANS,
        options: WorkerOptions = WorkerOptions(),
        name: str | None = None,
        new_incarnation: Callable[[], str] = new_incarnation,
    ) -> None:
        self._new_incarnation = new_incarnation
        self.topics: tuple[str, ...] = tuple(topics.node_ready(queue) for queue in queues)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._names = topics
        self._outbox = Outbox(appender)
        self._reader = reader
        self._executions = executions
        self._streams = Streams(reader, topics.run_results, payloads)
        self._reads_streams = any(program.reads_streams for program in deployment.programs.values())
        self._attempts = Attempts(
            topics=topics,
            streams=self._streams,
            deployment=deployment,
            outbox=self._outbox,
            payloads=payloads,
            executions=executions,
            clock=clock,
            worker=self.name,
            telemetry=telemetry,
            spans=spans,
        )
        self._notices = Notices(topics.control, reader, self._cancelled)
        self._leases = Leases(
            topics=topics,
            outbox=self._outbox,
            notices=self._notices,
            clock=clock,
            worker=self.name,
            after_ms=options.lease_after_ms,
            heartbeat_ms=options.heartbeat_ms,
        )
        self._maybe_begun: dict[tuple[str, int], int] = {}
        """For each partition, the offset before which records may have been begun by whoever had it before."""
        self._fusion = Fusion(deployment, most_ms=options.fuse_ms)
        self._clock = clock
        self._telemetry = telemetry
        self._refusals = Refusals("worker", topics.dead_letters, payloads, telemetry)
        self._options = options
        self._slots = Slots(options.slots)
        self._running: dict[tuple[RunId, str, int], Underway] = {}
        self._by_run: dict[RunId, dict[tuple[RunId, str, int], None]] = {}
        self._reported = Reported()
        self._deliveries: set[asyncio.Future[None]] = set()
        self._failure: Exception | None = None

    @property
    def held_back(self) -> frozenset[str]:
        """Everything, while many nodes wait for a slot.

        The driver bounds what it has not acknowledged, but who waits for long is acknowledged by a lease.
        """
        return frozenset(self.topics) if self._slots.crowded else frozenset()

    @property
    def yielding(self) -> frozenset[str]:
        """Nothing: all queues are alike."""
        return frozenset()

    @property
    def running(self) -> Mapping[tuple[RunId, str, int], object]:
        """What is under way, by run, node key and attempt."""
        return self._running

    async def acquire(self, partitions: frozenset[int]) -> None:
        """Know the cancels before taking work, and which records another may have begun before."""
        if self._reads_streams:
            self._streams.open(partitions)
        await self._notices.catch_up()
        for topic in self.topics:
            ends = await self._reader.end(topic)
            for number in partitions & ends.keys():
                self._maybe_begun[topic, number] = ends[number]

    async def release(self, partitions: frozenset[int]) -> None:
        """Hold all that runs by leases, give back what has not begun: then nothing is unacknowledged any more.

        What runs on is as good as anybody's: its outcome still counts.
        """
        held = [execution for execution in self._running.values() if not (execution.leased or execution.reporting)]
        waiting = [execution for execution in self._running.values() if execution.leased and not execution.begun]
        _stop(waiting)
        await asyncio.gather(
            *(self._leases.take(execution) if execution.begun else self._return(execution) for execution in held),
            self._leases.give_back(waiting),
        )
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=self._options.drain_ms / 1000)
        await self._outbox.close()

    async def close(self) -> None:
        """Let what is under way finish within the bound, give the rest back, release the resources."""
        await self._end([execution for execution in self._running.values() if not execution.begun])
        await self._drain()
        await self._end(list(self._running.values()))
        await self._outbox.close()
        await self._streams.close()
        await self._executions.close()

    async def tend(self) -> None:
        """Follow `control`; report long nodes as started and keep their leases."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._notices.follow())
            group.create_task(self._sweep())

    async def handle(self, records: Sequence[Record]) -> Awaitable[None] | None:
        """Begin every node of the batch."""
        batch = Batch(len(records))
        for record in records:
            try:
                work = codec.node_ready.decode(record.value)
            except BelugaError as error:
                self._send_later(await self._refusals.letter(record, error), batch)
                continue
            before = self._maybe_begun.get((record.topic, record.partition), 0)
            # An execution that resumes must be the only one of its attempt: two could not go on with one stream.
            careful = work.losses > 0 or record.offset < before or work.resume
            self._begin(work, record.topic, batch, careful=careful)
        self._deliveries.add(batch.done)
        batch.done.add_done_callback(self._deliveries.discard)
        return batch.done

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """A worker goes by the records that it gets alone."""

    async def _drain(self) -> None:
        tasks = [execution.task for execution in self._running.values() if execution.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._options.drain_ms / 1000)

    async def _return(self, execution: Underway) -> None:
        """Let somebody else begin it: put it behind what waits in its partition, and acknowledge it then."""
        batches, execution.batches = execution.batches, []
        assert execution.task is not None
        execution.task.cancel()
        key, partition = self._names.place(execution.work.key)
        again = Outgoing(execution.topic, key, codec.node_ready.encode(execution.work), (), partition)
        await self._outbox.append([again])
        for batch in batches:
            batch.one_less()

    async def _end(self, executions: Sequence[Underway]) -> None:
        """Stop these. Those that are leased go to another worker at once, the others are not acknowledged."""
        for execution in executions:
            execution.batches.clear()
        tasks = _stop(executions)
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        await self._leases.give_back(executions)

    def _begin(self, work: NodeReady, topic: str, batch: Batch, *, careful: bool) -> None:
        key = (work.run, work.node, work.attempt)
        if self._notices.is_cancelled(work):
            batch.one_less()
            return
        outcome = self._reported.get(work)
        if outcome is not None:
            self._send_later(outcome, batch)
            return
        running = self._running.get(key)
        if running is not None:
            if running.leased:
                batch.one_less()
            else:
                running.batches.append(batch)
            return
        if self._notices.is_begun(work):
            log.info(
                "left %s/%s/%d to its lease: another worker has begun it",
                *key,
                extra={"action": "begun_elsewhere", "run": work.run, "node": work.node, "attempt": work.attempt},
            )
            batch.one_less()
            return
        execution = Underway(
            work=work,
            topic=topic,
            careful=careful,
            slot=Slot(None if work.apart and self._executions.isolates else self._slots),
            batches=[batch],
            incarnation=Incarnation(self._new_incarnation()),
            began_ms=self._clock.now_ms(),
        )
        self._running[key] = execution
        self._by_run.setdefault(work.run, {})[key] = None
        execution.task = asyncio.create_task(self._run(key, execution))
        # And no `finally` in it: a task that is cancelled before its first step runs none of its code.
        execution.task.add_done_callback(lambda _: self._over(key, execution))

    async def _run(self, key: tuple[RunId, str, int], execution: Underway) -> None:
        try:
            async with execution.slot:
                execution.begin(self._clock.now_ms(), self._telemetry)
                has_waited = execution.leased
                if execution.careful:
                    await self._leases.take(execution)
                if has_waited:
                    # From here on a death counts: nobody may take it for one of those that still wait.
                    await self._leases.beat(execution)
                outcome = await self._outcome(execution)
            sent = self._outbox.submit([outcome])
            execution.reported = True
            await sent
            self._reported.put(execution.work, outcome)
        except asyncio.CancelledError:
            # By a notice: the coordinator has moved on, there is nothing to report. Or it goes back, not yet begun.
            if execution.begun or execution.stopped_ms is not None:
                log.info("stopped %s/%s/%d", *key, extra={"action": "cancelled", "run": key[0], "node": key[1]})
        except HeldElsewhere:
            log.info(
                "left %s/%s/%d to its lease: another worker goes on with it",
                *key,
                extra={"action": "begun_elsewhere", "run": key[0], "node": key[1]},
            )
        except Exception as error:  # noqa: BLE001 - the log failed: the driver must end the process
            self._fail(execution, error)
            self._failure = error
        except BaseException as error:
            # It ends the loop. What is not done must not be acknowledged meanwhile.
            self._fail(execution, error)
            raise

    def _fail(self, execution: Underway, error: BaseException) -> None:
        for batch in execution.batches:
            batch.fail(error)
        execution.batches.clear()

    def _over(self, key: tuple[RunId, str, int], execution: Underway) -> None:
        execution.release()
        if execution.begun:
            self._telemetry.node_left()
        self._running.pop(key, None)
        of_run = self._by_run.get(key[0])
        if of_run is not None:
            of_run.pop(key, None)
            if not of_run:
                del self._by_run[key[0]]

    async def _outcome(self, execution: Underway) -> Outgoing:
        """Run the node, and those after it that one worker may go on with: one record reports them together."""

        async def beat(details: Payload | None) -> None:
            execution.details = details
            await self._leases.beat(execution)

        work: NodeReady | None = execution.work
        incarnation = execution.incarnation
        outcomes: list[Outcome] = []
        while work is not None:
            began = self._clock.now_ms()
            topic = None if outcomes else execution.topic
            outcome = await self._attempts.outcome(work, incarnation, beat, execution.slot, topic)
            outcomes.append(outcome)
            if len(outcomes) == FUSED_MOST:
                break
            now = self._clock.now_ms()
            self._fusion.took(work, now - began)
            if execution.careful or self._notices.is_cancelled(execution.work):
                break
            work = self._fusion.following(work, outcome, now - execution.began_ms)
            if work is None or self._notices.is_cancelled(work):
                break
            incarnation = Incarnation(self._new_incarnation())
            execution.details = None
        return done(self._names, execution.work, outcomes[0] if len(outcomes) == 1 else segment(outcomes))

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(self._options.sweep_ms / 1000)
            if self._failure is not None:
                # A leased node has no delivery left that could tell the driver.
                raise self._failure
            await self._keep_all(self._clock.now_ms())

    async def _keep_all(self, now: int) -> None:
        kept = [self._leases.keep(execution, now) for execution in tuple(self._running.values())]
        await asyncio.gather(*(told for told in kept if told is not None))

    def _cancelled(self, run: RunId) -> None:
        """There is news of cancels in this run: stop what they mean."""
        for key in tuple(self._by_run.get(run, ())):
            execution = self._running[key]
            if execution.task is None or execution.stopped_ms is not None:
                continue  # it cleans up already: a second cancellation would cut that off
            if self._notices.is_cancelled(execution.work):
                execution.stopped_ms = self._clock.now_ms()
                execution.task.cancel()

    def _send_later(self, record: Outgoing, batch: Batch) -> None:
        def sent(future: asyncio.Future[Sequence[Position]]) -> None:
            error = future.exception()
            if error is None:
                batch.one_less()
            else:
                batch.fail(error)

        self._outbox.submit([record]).add_done_callback(sent)


def _stop(executions: Sequence[Underway]) -> "list[asyncio.Task[None]]":
    """Cancel those that clean up by no notice yet; returns the tasks that are to end."""
    tasks = [(each, each.task) for each in executions if each.task is not None and not each.task.done()]
    for each, task in tasks:
        if each.stopped_ms is None:
            task.cancel()
    return [task for _, task in tasks]
