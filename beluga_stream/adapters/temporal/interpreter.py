"""The workflow that runs a graph: it drives the reducer, and nodes are its activities.

Deterministic: what happens comes by activities, signals and timers, time is the workflow's, and the definitions are
part of its input, so that it stays with them whatever is deployed meanwhile. Retries, timeouts and joins are the
reducer's; Temporal only says when an execution is lost.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    import msgspec

    from ...application import tracing
    from ...application.coordinator.rendering import Renderer, Step
    from ...application.durable.standing import Standing, standing_of
    from ...application.local.family import AttemptKey, Effect, Family, Shown, Stop, TooLong, attempt_of
    from ...application.messages import NodeReady
    from ...application.topics import Topics
    from ...domain.commands import NotifyParent, PublishNode, PublishRun
    from ...domain.events import CancelRequested, Event, Failure
    from ...domain.frozen import replace
    from ...domain.ids import GraphHash, Incarnation, RunId
    from ...domain.payload import INLINE_LIMIT_BYTES, Payload, Stored
    from ...domain.plan import Plan
    from ...domain.reducer import outgrown, overlong
    from ...domain.references import references
    from ...domain.retention import FINAL, RENEW_MS, marker
    from ...domain.state import RunState, RunStatus
    from ...ports.spans import NO_SPANS, TOLD_ELSEWHERE
    from ...ports.spans import Ended as EndedSpan
    from . import envelopes
    from .backlog import MOST_BYTES, Backlog
    from .envelopes import Carried, Ended, Given, Long, Named, Records, Shortened, Start, Told
    from .locally import PATIENT_IF_THERE, locally
    from .lost import events_of, needs_pause, started
    from .queues import queue_for

_HEARTBEAT = timedelta(seconds=10)
"""A worker that is silent for so long is lost, as with a lease."""

_LONGEST = timedelta(days=3650)
_MARGIN = timedelta(hours=1)
"""The handler's own timeout is its worker's to keep; this is for a worker that does not."""

_PAUSE_SECONDS = 5.0
"""Before work whose worker could not do it, since its log or store was away, is given to another."""

_INLINE_BYTES = 256 * 1024
_PAGE_BYTES = 1024
_STATE_BYTES = 900_000
"""A run whose state is longer fails, as on Kafka: neither a record nor Temporal would take it."""

_KEEPS_WOKEN = "keeps-woken"
"""Histories without this patch may have lost the alarm that rang in the same task in which the log was told."""

T = TypeVar("T")


@workflow.defn(name=envelopes.INTERPRETER, sandboxed=False)
class Interpreter:
    """One durable run with all its children.

    It runs no code of users, and its own modules would pass the sandbox unchecked: it does without one.
    """

    @workflow.init
    def __init__(self, start: Start) -> None:
        self._start = start
        self._plans: dict[GraphHash, Plan] = {}
        for definition in start.definitions:
            self._plans[definition.hash] = Plan(definition, self._plans)
        self._topics = Topics(start.prefix, start.partitions)
        self._told = TOLD_ELSEWHERE if start.spans else NO_SPANS
        self._renderer = Renderer(self._topics, self._told)
        self._root = RunId(workflow.info().workflow_id)
        self._family = Family(self._root, self._plans, is_long=_is_long, spans=self._told)
        self._backlog = Backlog()
        self._inbox: list[Event] = []
        self._tasks: dict[AttemptKey, asyncio.Task[None]] = {}
        self._long: set[RunId] = set()
        self._is_short = False
        self._steps: dict[RunId, list[Step]] = {}
        self._spans: list[EndedSpan] = []
        self._unshown: list[Records] = []
        self._showing: asyncio.Task[None] | None = None
        self._alarms: list[int] = []
        self._woken = False
        self._renew_ms = start.renew_ms
        self._renewing: asyncio.Task[None] | None = None
        self._cancelled = False

    @workflow.run
    async def run(self, start: Start) -> Ended:
        """The run, to its end. One that failed raises, so that Temporal shows it as failed."""
        await self._begin()
        while True:
            self._take()
            if self._is_over():
                return await self._end()
            if self._may_begin_anew():
                await self._begin_anew()
            await self._wait(lambda: bool(self._inbox) or self._woken or self._is_over())

    @workflow.signal(name=envelopes.SIGNAL)
    def signal(self, told: Told) -> None:
        """A user's signal."""
        self._inbox.append(told.event)

    @workflow.signal(name=envelopes.TELL)
    def tell(self, told: Told) -> None:
        """What an execution has to say before its end."""
        self._inbox.append(told.event)

    @workflow.query(name=envelopes.STATE)
    def state(self) -> Standing:
        """How the run stands, and what it waits for."""
        return standing_of(self._family.root, self._family.states.values(), self._plans)

    def _is_over(self) -> bool:
        """Whether the run has ended, and the log has been told all of it."""
        return self._family.ended and self._showing is None and not (self._inbox or self._steps)

    async def _begin(self) -> None:
        """Take over what an execution before this one has carried here."""
        start = self._start
        carried = start.carried
        if start.stored is not None:
            taken = locally(envelopes.TAKE_OUT, start.stored, result_type=Carried, retry=PATIENT_IF_THERE)
            carried = await self._uncancelled(taken)
        if carried is not None:
            self._family = Family(self._root, self._plans, carried.states, is_long=_is_long, spans=self._told)
        if start.event is not None:
            self._inbox.insert(0, start.event)
        if carried is not None:
            self._backlog.add(carried.held)

    def _take(self) -> None:
        """Apply all that has happened, and let the log tell of it."""
        self._woken = False
        now = self._now()
        self._alarms = [at for at in self._alarms if at > now]
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            self._do(self._family.apply(event, now))
        self._do(self._family.fire(now))
        if self._backlog.held_until_ms is not None and now >= self._backlog.held_until_ms:
            self._backlog.let_go(workflow.info().get_current_history_length())
        self._bound(now)
        for work in self._backlog.take(len(self._tasks)):
            self._dispatch(work)
        self._tell(now)
        self._renew(now)
        soon = now + 1 if self._backlog.has_room(len(self._tasks)) else None
        times = (soon, self._family.next_due_ms(), self._backlog.held_until_ms, self._renew_ms)
        due = [at for at in times if at is not None]
        if due and not self._family.ended:
            self._set_alarm(min(due), now)

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, NodeReady):
                self._backlog.add([effect])
            elif isinstance(effect, Stop):
                self._stop(effect)
            elif isinstance(effect, Shown):
                self._note(effect)
            else:
                self._long.add(effect.run)
                asyncio.create_task(self._shorten(effect))  # noqa: RUF006 - the workflow keeps its tasks

    def _bound(self, now: int) -> None:
        """Give up the runs that have outgrown their bound. What is told of them has no values then."""
        for run in tuple(self._steps):
            state = self._family.states.get(run)
            if state is None or state.ended or (size := len(msgspec.json.encode(state))) <= _STATE_BYTES:
                continue
            self._give_up(run, outgrown(size, _STATE_BYTES), now)
        for work, size in self._backlog.overlong():
            if (state := self._family.states.get(work.run)) is not None and not state.ended:
                self._give_up(work.run, overlong(f"the work for {work.node}", size, MOST_BYTES), now)

    def _give_up(self, run: RunId, why: str, now: int) -> None:
        effects = self._family.give_up(run, why, now)
        given_up = self._family.states[run]
        self._steps[run] = [
            step._replace(state=given_up) if isinstance(step.commands[0], PublishNode) else step
            for step in self._steps.get(run, ())
        ]
        self._do(effects)

    def _note(self, shown: Shown) -> None:
        state, command = shown
        self._steps.setdefault(state.run, []).append(Step(state, (command,)))
        is_end = isinstance(command, PublishRun) and state.ended and command.status == state.status
        if is_end and state.page is None and state.definition is not None:
            kind = self._plans[state.definition].definition.kind
            self._spans.extend(tracing.run_ended(self._told, kind, state))

    async def _shorten(self, long: TooLong) -> None:
        """Put an output away, then let the run's parent have it, or the readers of the root."""
        told: Shortened = await locally(envelopes.SHORTEN, Long(str(self._root), long.output), result_type=Shortened)
        self._long.discard(long.run)
        if long.run != self._root:
            self._do(self._family.shorten(long.run, told.payload, self._now()))
        else:
            root = self._family.states[long.run]
            self._family.states[long.run] = replace(root, output=told.payload)
            self._steps[long.run] = [
                step if step.state.output is None else step._replace(state=replace(step.state, output=told.payload))
                for step in self._steps[long.run]
            ]
            self._is_short = True
        self._woken = True

    def _dispatch(self, work: NodeReady) -> None:
        incarnation = Incarnation(workflow.uuid4().hex[:12])
        if work.resume:
            # What resumes waits until the log says that it, and no other, holds the attempt.
            self._do(self._family.apply(started(work, incarnation, self._now()), self._now()))
        key = attempt_of(work)
        self._tasks[key] = asyncio.create_task(self._execute(work, incarnation))

    async def _execute(self, work: NodeReady, incarnation: Incarnation) -> None:
        key = attempt_of(work)
        timeout = _LONGEST if work.timeout_ms is None else timedelta(milliseconds=work.timeout_ms) + _MARGIN
        queue = self._plans[work.definition].nodes[work.name].queue
        events: Sequence[Event]
        try:
            told: Told = await workflow.execute_activity(
                envelopes.EXECUTE,
                Given(work, incarnation),
                result_type=Told,
                task_queue=queue_for(workflow.info().task_queue, queue),
                start_to_close_timeout=timeout,
                heartbeat_timeout=_HEARTBEAT,
                retry_policy=RetryPolicy(maximum_attempts=1),
                summary=f"{work.graph} {key[1]}",
            )
            events = [told.event]
        except ActivityError as error:
            if key not in self._tasks:
                return  # it was told to stop
            if needs_pause(error):
                workflow.logger.warning("%s could not be executed: %s", work.node, error.cause)
                await workflow.sleep(_PAUSE_SECONDS)
            state = self._family.states.get(work.run)
            node = None if state is None else state.nodes.get(work.node)
            events = events_of(work, incarnation, error, node, self._now())
        if self._tasks.pop(key, None) is not None:
            self._inbox.extend(events)

    def _stop(self, stop: Stop) -> None:
        self._backlog.drop(lambda work: stop.means(attempt_of(work)))
        for key in filter(stop.means, tuple(self._tasks)):
            self._tasks.pop(key).cancel()

    def _tell(self, now: int) -> None:
        """Render what was decided, and append it to the log after what came before."""
        root = self._family.root
        if root is not None and root.output is not None and not self._is_short and _is_long(root, root.output):
            if root.run not in self._long:
                self._do([TooLong(root.run, root.output)])
            return
        steps, self._steps = self._steps, {}
        first, then = [], []
        for run, shown in steps.items():
            state = shown[-1].state
            plan = None if state.definition is None else self._plans[state.definition]
            _, partition = self._topics.place(state.key)
            ends = [step for step in shown if isinstance(step.commands[0], NotifyParent)]
            told = [step for step in shown if step not in ends]
            if told:
                first.extend(self._renderer.render(plan, told, now, partition))
            if ends and run == self._root:
                then.extend(self._renderer.render(plan, ends, now, partition))
        if first or then:
            spans, self._spans = tuple(self._spans), []
            self._unshown.append(Records(tuple(first), tuple(then), spans))
            if self._showing is None:
                self._showing = asyncio.create_task(self._show())

    async def _show(self) -> None:
        while self._unshown:
            records, self._unshown = self._unshown, []
            first = tuple(record for each in records for record in each.first)
            then = tuple(record for each in records for record in each.then)
            spans = tuple(span for each in records for span in each.spans)
            await locally(envelopes.SHOW, Records(first, then, spans))
        self._showing = None
        if self._backlog.held_until_ms is not None:
            self._woken = True
        elif self._woken and not workflow.patched(_KEEPS_WOKEN):
            self._woken = False

    def _set_alarm(self, at: int, now: int) -> None:
        """Wake at this time, unless something does before: a timer that is cancelled would cost two more events."""
        if any(other <= at for other in self._alarms):
            return
        self._alarms.append(at)
        asyncio.create_task(self._ring(max(1, at - now) / 1000))  # noqa: RUF006 - the workflow keeps its tasks

    async def _ring(self, seconds: float) -> None:
        await workflow.sleep(seconds)
        self._woken = True

    async def _wait(self, condition: Callable[[], bool]) -> None:
        """Wait for it. A cancel meanwhile is one more thing that has happened."""
        try:
            await workflow.wait_condition(condition)
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise  # it is put away, and nobody wants the run to end
            self._cancelled = True
            self._inbox.append(
                CancelRequested(
                    run=self._root,
                    key=str(self._root),
                    at_ms=self._now(),
                    reason=workflow.cancellation_reason() or "",
                )
            )

    def _may_begin_anew(self) -> bool:
        """Whether another execution can take over now: the history is long, and nothing is on its way.

        New work is held back for a while so that this comes to pass; not for long, since what runs may wait for it.
        """
        info = workflow.info()
        if not info.is_continue_as_new_suggested() or not self._backlog.may_hold(info.get_current_history_length()):
            return False
        if self._inbox or self._showing is not None or self._tasks or self._long:
            if self._backlog.held_until_ms is None:
                self._set_alarm(self._backlog.hold(self._now()), self._now())
            return False
        return True

    async def _begin_anew(self) -> None:
        carried, stored = await self._packed()
        if self._inbox:
            return  # a signal came meanwhile: it is applied first
        renew_ms = self._renew_ms if self._renewing is None else self._now()  # what is on its way ends here
        workflow.continue_as_new(replace(self._start, event=None, carried=carried, stored=stored, renew_ms=renew_ms))

    async def _packed(self) -> tuple[Carried | None, str | None]:
        """What another execution needs; in the blob store, when it is long."""
        states = tuple(
            marker(state) if state.status in FINAL and state.run != self._root else state
            for state in self._family.states.values()
        )
        carried = Carried(states, self._backlog.works)
        if len(msgspec.json.encode(carried)) <= _INLINE_BYTES:
            return carried, None
        return None, await self._uncancelled(locally(envelopes.PUT_AWAY, str(self._root), carried, result_type=str))

    def _renew(self, now: int) -> None:
        if self._renew_ms is None or now < self._renew_ms:
            self._renew_ms = self._renew_ms or now + RENEW_MS
            return
        self._renew_ms = now + RENEW_MS
        named = list(references([*self._family.states.values(), *self._backlog.works]))
        if self._start.stored is not None:
            named.append(Stored(self._start.stored, 0))
        if named and self._renewing is None:
            self._renewing = asyncio.create_task(self._let_be_new(Named(tuple(named))))

    async def _let_be_new(self, named: Named) -> None:
        await locally(envelopes.RENEW, named)
        self._renewing = None

    async def _uncancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it to its end: a cancel meanwhile is told afterwards."""
        task = asyncio.create_task(work)
        while not task.done():
            await self._wait(task.done)
        return task.result()

    async def _end(self) -> Ended:
        root = self._family.root
        assert root is not None, "a run that has ended has begun"
        if root.status is RunStatus.SUCCEEDED:
            return Ended(root.status, output=root.output)
        if root.status is RunStatus.CANCELLED and self._cancelled:
            raise asyncio.CancelledError
        failure = root.failure or Failure("execution_failed", f"the run has {root.status}")
        carried, stored = (None, None) if root.compensated else await self._packed()
        raise ApplicationError(
            failure.message,
            Ended(root.status, failure=failure, carried=carried, stored=stored),
            type=failure.code,
            non_retryable=True,
        )

    @staticmethod
    def _now() -> int:
        return workflow.time_ns() // 1_000_000


def _is_long(state: RunState, output: Payload) -> bool:
    """Whether an output goes to the blob store when its run has ended, as a coordinator's would."""
    return len(msgspec.json.encode(output)) > (INLINE_LIMIT_BYTES if state.page is None else _PAGE_BYTES)
