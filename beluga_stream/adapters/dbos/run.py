"""One run with all its children: what has happened goes into the journal first, and then to the reducer.

The journal is all that is kept. A process that takes a run over reads it again from its beginning, which leads to
the same decisions; whatever was at work then is lost, and is done again.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from ...application import tracing
from ...application.clients.results import Chunk
from ...application.clients.results import Event as Shows
from ...application.durable.standing import Standing, standing_of
from ...application.execution.leaving import Leaving
from ...application.execution.reports import about
from ...application.local.executing import Executing
from ...application.local.family import AttemptKey, Effect, Family, Shown, Stop, attempt_of
from ...application.local.local_attempts import LocalAttempts, payloads_here
from ...application.local.local_streams import LocalStreams
from ...application.local.showing import Showing
from ...application.messages import Heartbeat, NodeReady
from ...application.worker.code import Code
from ...bounds import within
from ...domain.commands import PublishRun
from ...domain.events import (
    Event,
    Failure,
    LeaseExpired,
    NodeFailed,
    NodeParked,
    NodeReleased,
    NodeStreaming,
    NodeSucceeded,
)
from ...domain.frozen import replace
from ...domain.ids import GraphHash, Incarnation, NodeKey, RunId
from ...domain.payload import Payload
from ...domain.plan import Plan
from ...domain.state import NodeStatus, RunState, RunStatus
from ...ports.spans import NO_SPANS, Spans
from .lost import lost, released
from .records import Emitted, Ended, Entry, Start, Told

_WAITING = 1_024
_LOOK_SECONDS = 60.0
"""How often a run that waits for a time looks at the clock: it may be set, and goes on while the machine sleeps."""

_OVER = (NodeSucceeded, NodeFailed, NodeParked, LeaseExpired, NodeReleased)
"""After these nothing more is heard of the execution."""


class Follower(Protocol):
    """Who is shown what happens in a run."""

    async def put(self, event: Shows | None) -> None:
        """Take it; whoever is slow keeps the run waiting. None: there will be no more."""


class Run:
    """One durable run in this process. It belongs to one event loop."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        root: RunId,
        start: Start,
        *,
        code: Code,
        executions: Executing,
        now_ms: Callable[[], int],
        taken_over: bool,
        follower: Follower | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._spans = spans
        self._start = start
        self._code = code
        self._plans: dict[GraphHash, Plan] = {}
        for definition in start.definitions:
            self._plans[definition.hash] = Plan(definition, self._plans)
        self._family = Family(root, self._plans, spans=spans)
        self._root = root
        self._executions = executions
        self._now_ms = now_ms
        self._follower = follower
        self._streams = LocalStreams()
        self._showing = Showing(root)
        self._resumed: dict[tuple[RunId, NodeKey], bool] = {}
        self._at_work: dict[AttemptKey, NodeReady] = {}
        self._details: dict[AttemptKey, Payload] = {}
        """Of those at work, what they told last by a heartbeat."""
        self._tasks: dict[AttemptKey, asyncio.Task[None]] = {}
        self._happened: asyncio.Queue[Told | Exception] = asyncio.Queue(_WAITING)
        self._woken = asyncio.Event()
        self._live = not taken_over
        self._taken_over = taken_over
        self._mail = taken_over
        self._closing = False
        self._given_back = False
        self.handed_over = asyncio.Event()
        """Set when it is closing and the journal knows what was still at work."""
        self.done = asyncio.Event()

    @property
    def standing(self) -> Standing:
        """How it stands, and what it waits for."""
        return standing_of(self._family.root, self._family.states.values(), self._plans)

    @property
    def is_live(self) -> bool:
        """Whether it has come to its present; before, it reads its journal again."""
        return self._live

    async def begin(self) -> None:
        """What happens first."""
        event = self._start.event
        await self._do(self._family.apply(event, event.at_ms))

    async def next(self) -> Entry:
        """Wait for the next entry of the journal. Not called for those that are in it."""
        self._live = True
        if self._taken_over:
            self._taken_over = False
            if self._given_back:
                self._given_back = False
                for key, work in self._at_work.items():
                    self._begin_work(replace(work, details=self._details.get(key, work.details)))
            elif self._at_work:
                return Entry(at_ms=self._now_ms(), told=self._lost(), mail=self._read_mail())
        while True:
            self._woken.clear()
            if self._closing:
                return await self._hand_over()
            now = self._now_ms()
            told = self._take()
            due = self._due_ms()
            # One that has nothing to do has ended with its beginning, and waits for nothing.
            if told or self._mail or self._family.ended or (due is not None and due <= now):
                return Entry(at_ms=now, told=told, mail=self._read_mail())
            try:
                async with within(None if due is None else min((due - now) / 1000, _LOOK_SECONDS)):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def apply(self, entry: Entry, mail: Sequence[Event]) -> Ended | None:
        """What the journal says has happened. How the run ended, once it has."""
        self._given_back = entry.last
        for told in entry.told:
            if told.chunk is not None:
                await self._chunk(told.chunk)
            elif told.event is not None:
                await self._event(told.event, entry.at_ms)
            elif told.beat is not None and told.beat.details is not None and attempt_of(told.beat) in self._at_work:
                self._details[attempt_of(told.beat)] = told.beat.details
        for event in mail:
            await self._event(event, entry.at_ms)
        await self._do(self._family.fire(entry.at_ms))
        deadline = self._start.deadline_ms
        root = self._family.root
        assert root is not None, "it has begun"
        if not root.ended and deadline is not None and deadline <= entry.at_ms:
            return Ended(status="timed_out", failure=Failure("timeout", "the workflow took longer than its timeout"))
        if not root.ended:
            return None
        return Ended(
            status=str(root.status),
            output=root.output if root.status is RunStatus.SUCCEEDED else None,
            failure=root.failure,
        )

    def wake(self) -> None:
        """There is mail."""
        self._mail = True
        self._woken.set()

    def hand_over(self) -> None:
        """The process stops: let the journal know that what is at work is given back."""
        self._closing = True
        self._woken.set()

    async def close(self, leaving: Leaving) -> None:
        """Cancel what is still running, and wait until it ends or is left behind."""
        await asyncio.gather(*(leaving.stop(task, key[1], key[0]) for key, task in self._tasks.items()))
        self.handed_over.set()
        self.done.set()

    def _take(self) -> tuple[Told, ...]:
        """All that has happened. Raises what is an error of ours: the run cannot go on."""
        told: list[Told] = []
        while not self._happened.empty():
            happened = self._happened.get_nowait()
            if isinstance(happened, Exception):
                raise happened
            told.append(happened)
        return tuple(told)

    def _read_mail(self) -> bool:
        mail, self._mail = self._mail, False
        return mail

    def _due_ms(self) -> int | None:
        due = [at for at in (self._family.next_due_ms(), self._start.deadline_ms) if at is not None]
        return min(due, default=None)

    async def _hand_over(self) -> Entry:
        """What has happened, and which attempts nobody holds now; then nothing more, until the run is closed."""
        if not self._given_back:
            for task in self._tasks.values():
                task.cancel()
            told = self._take()
            over = {attempt_of(one.event) for one in told if isinstance(one.event, _OVER)}
            if told or self._at_work:
                given = [
                    Told(released(work, incarnation, self._now_ms()))
                    for key, work in self._at_work.items()
                    if key not in over and (incarnation := self._held(work)) is not None
                ]
                return Entry(at_ms=self._now_ms(), told=(*told, *given), last=True)
        self.handed_over.set()
        never: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        return await never

    def _lost(self) -> tuple[Told, ...]:
        """The process before this one died with these: that counts, as a worker's death does."""
        now = self._now_ms()
        return tuple(Told(event) for work in self._at_work.values() for event in lost(work, self._held(work), now))

    def _held(self, work: NodeReady) -> Incarnation | None:
        """The execution that holds this attempt, as far as the run knows of one."""
        state = self._family.states.get(work.run)
        node = None if state is None else state.nodes.get(work.node)
        if node is None or node.status is not NodeStatus.RUNNING or node.attempt != work.attempt:
            return None
        return node.incarnation

    async def _event(self, event: Event, at_ms: int) -> None:
        if isinstance(event, _OVER):
            self._at_work.pop(attempt_of(event), None)
            details = self._details.pop(attempt_of(event), None)
            if isinstance(event, LeaseExpired | NodeReleased):
                event = replace(event, details=details)
        if isinstance(event, NodeStreaming):
            self._resumed[event.run, event.node] = event.resumed is not None
        await self._do(self._family.apply(event, at_ms))

    async def _chunk(self, chunk: Emitted) -> None:
        if not self._live:
            resumed = self._resumed.get((chunk.run, chunk.node), False)
            self._streams.add(chunk.run, chunk.node, chunk.incarnation, chunk.value, resumed=resumed)
        if chunk.run == self._root:
            shown = Chunk(
                cursor="",
                node=chunk.node,
                attempt=chunk.attempt,
                incarnation=chunk.incarnation,
                seq=chunk.seq,
                value=chunk.value,
            )
            await self._show(self._showing.chunk(shown))

    async def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, NodeReady):
                self._dispatch(effect)
            elif isinstance(effect, Stop):
                self._stop(effect)
            elif isinstance(effect, Shown):
                await self._tell(effect)

    def _dispatch(self, work: NodeReady) -> None:
        key = attempt_of(work)
        self._at_work[key] = work
        if self._live and not self._closing:
            self._begin_work(work)

    def _begin_work(self, work: NodeReady) -> None:
        key = attempt_of(work)
        task = asyncio.create_task(self._execute(work), name=f"beluga-{work.node}")
        self._tasks[key] = task
        task.add_done_callback(partial(self._finished, key))

    def _finished(self, key: AttemptKey, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]

    def _stop(self, stop: Stop) -> None:
        for key in filter(stop.means, tuple(self._at_work)):
            del self._at_work[key]
            self._details.pop(key, None)
            if key in self._tasks:
                self._tasks[key].cancel()

    async def _tell(self, shown: Shown) -> None:
        state, command = shown
        self._streams.heed(state.run, command)
        if isinstance(command, PublishRun):
            self._trace(state, command)
        await self._show(self._showing.status(shown))

    def _trace(self, state: RunState, command: PublishRun) -> None:
        """Tell the span of a run that has ended: once, and not again when another process takes over."""
        is_end = state.ended and command.status == state.status
        if self._live and is_end and state.page is None and state.definition is not None:
            for span in tracing.run_ended(self._spans, self._plans[state.definition].definition.kind, state):
                self._spans.ended(span)

    async def _show(self, events: Sequence[Shows]) -> None:
        if self._follower is not None:
            for event in events:
                await self._follower.put(event)

    async def _execute(self, work: NodeReady) -> None:
        program = self._code.of(work)
        if program is None:
            parked = NodeParked(run=work.run, key=work.key, at_ms=self._now_ms(), node=work.node, attempt=work.attempt)
            await self._put(Told(parked))
            return
        attempts = LocalAttempts(
            self._root,
            {work.definition: program},
            payloads=payloads_here(),
            executions=self._executions,
            streams=self._streams,
            tell=partial(self._meanwhile, work),
            now_ms=self._now_ms,
            spans=self._spans,
            beats=self._beats,
        )
        try:
            happened: Told | Exception = Told(await attempts.outcome(work))
        except Exception as error:  # noqa: BLE001 - ours, as a handler's is a failure: the run must hear of it
            happened = error
        await self._put(happened)

    async def _meanwhile(self, work: NodeReady, happened: Event | Shows) -> None:
        if isinstance(happened, Chunk):
            chunk = Emitted(
                work.run,
                work.node,
                happened.attempt,
                Incarnation(happened.incarnation),
                happened.seq,
                happened.value,
            )
            await self._put(Told(chunk=chunk))
        elif not isinstance(happened, Shows):
            await self._put(Told(happened))

    async def _beats(self, work: NodeReady, incarnation: Incarnation, details: Payload) -> None:
        beat = Heartbeat(**about(work, incarnation, self._now_ms()), details=details)
        await self._put(Told(beat=beat))

    async def _put(self, happened: Told | Exception) -> None:
        await self._happened.put(happened)
        self._woken.set()
