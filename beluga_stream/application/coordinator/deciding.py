"""Decides about each record of a batch: what it tells, whether it is news, and what follows for its run."""

import logging
from typing import Any

from ...domain.commands import RejectRun
from ...domain.draft import Decision
from ...domain.events import Event, LeaseExpired, LimitEvent, OwnerEvent, RunRequested, SignalReceived, SlotGranted
from ...domain.frozen import replace
from ...domain.ids import RunId
from ...domain.plan import Plan
from ...domain.reducer import overflow, reduce
from ...domain.state import RunState, RunStatus
from ...errors import InvalidInput, LogUnavailable, NotFound
from ...ports.log import Record
from ...ports.spans import Spans
from ...ports.telemetry import Telemetry
from .. import codec, tracing
from ..catalog import Catalog
from ..deadletters import Refusals
from ..messages import Heartbeat, Segment
from ..payloads import Payloads
from ..requests import ASKED, check_asked, check_limit, check_request
from ..topics import Topics
from .admission import Admission
from .batch import Batch
from .limits import give_back, told
from .partition import RunPartition
from .rendering import Step
from .stamping import stamped

PAGE_LIMIT_BYTES = 1024
"""A page's results above this go to the blob store: its parent holds one reference for each page."""

log = logging.getLogger("beluga_stream.coordinator")


class Decider:
    """Adds what each record leads to to the batch of its partition. What it cannot apply becomes a dead letter."""

    def __init__(
        self,
        *,
        topics: Topics,
        catalog: Catalog,
        payloads: Payloads,
        telemetry: Telemetry,
        spans: Spans,
        workflows: bool,
    ) -> None:
        """`workflows`: whether somebody hosts those of durable graphs."""
        self._names = topics
        self._catalog = catalog
        self._payloads = payloads
        self._telemetry = telemetry
        self._spans = spans
        self._admission = Admission(topics, catalog, payloads, spans, workflows=workflows)
        self._refusals = Refusals("coordinator", topics.dead_letters, payloads, telemetry)

    async def take(self, batch: Batch, record: Record) -> None:
        """Decide about one record, or refuse it. Raises `LogUnavailable`, which is no fault of the record."""
        try:
            await self._apply(batch, record)
        except LogUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - it would come again, and end every process that takes it
            # It has changed nothing.
            batch.owned.answer(record)
            batch.answers.append(await self._refusals.letter(record, error))

    async def give_up(self, batch: Batch, run: RunId, size: int, message: str) -> None:
        """Fail a run that no longer fits its records; nothing of its batch is sent but that."""
        owned = batch.owned
        state = owned.state(run)
        assert state is not None, "the run is in the batch under way"
        # Without a definition it was cancelled before it began, and is only remembered.
        plan = None if state.definition is None else await self._plan(state)
        decision = overflow(plan, state, message, batch.now_ms)
        decision = owned.overrule(decision)
        log.warning(
            "failed run %s: %s",
            run,
            message,
            extra={"action": "state_overflow", "run": run, "graph": state.graph, "bytes": size},
        )
        self._count(batch, plan, state, decision.state)
        batch.decided[run] = (plan, [Step(decision.state, decision.commands)])

    async def _apply(self, batch: Batch, record: Record) -> None:
        """Decide about one record; what it leads to is added to the batch."""
        owned = batch.owned
        event = _decoded(record)
        size = len(record.value or b"")
        if isinstance(event, LimitEvent):
            check_limit(event, size)
            batch.answers.extend(told(self._names, owned.limits.apply(event, record.offset, batch.now_ms)))
            return
        if isinstance(event, Heartbeat):
            owned.leases.beat(event, batch.now_ms)
            return
        if type(event) in ASKED:
            check_asked(event, size)
        event = stamped(event, record.offset, batch.now_ms)
        state = _started(owned, event) if type(event) is RunRequested else owned.state(event.run)
        if state is None and isinstance(event, RunRequested):
            check_request(event, size, record.partition, self._names.partitions)
            event, plan, refusal = await self._admission.admit(event, batch.now_ms)
            if refusal is not None:
                owned.answer(record)
                batch.answers.extend(refusal)
                return
        elif state is None and isinstance(event, SlotGranted):
            owned.answer(record)
            batch.answers.append(give_back(self._names, event))
            return
        else:
            plan = None if state is None or state.definition is None else await self._plan(state)
        is_signal = type(event) is SignalReceived
        if (is_signal or owned.offsets.repeats) and _comes_to_nothing(owned, record, event, state, plan):
            return
        for outcome in event.outcomes if isinstance(event, Segment) else (event,):
            if not await self._decide(batch, record, plan, outcome):
                return
        if state is None:
            for signal in owned.early.take(event.run):
                await self._decide(batch, record, plan, replace(signal, at_ms=batch.now_ms))

    async def _decide(self, batch: Batch, record: Record, plan: Plan | None, event: Event) -> bool:
        """Reduce one event into the batch; False when it was no news."""
        owned = batch.owned
        state = _started(owned, event) if type(event) is RunRequested else owned.state(event.run)
        decision = reduce(plan, state, event)
        if decision is None and isinstance(event, OwnerEvent):
            return False  # of an owner that died before it had written that the run began
        if decision is None:
            raise NotFound(f"there is no run {event.run}: a {event.type} for it came to nothing", run=event.run)
        if decision.state is state and not decision.commands:
            return False
        if decision.state.ended and (state is None or not state.ended):
            decision = await self._with_stored_output(decision)
        owned.apply(record, plan, state, decision, batch.now_ms)
        if type(event) is RunRequested:
            _tell_conflict(event, decision)
        if isinstance(event, LeaseExpired):
            self._telemetry.lease_expired(decision.state.graph)
        batch.decide(plan, decision)
        self._count(batch, plan, state, decision.state)
        return True

    def _count(self, batch: Batch, plan: Plan | None, before: RunState | None, state: RunState) -> None:
        if plan is None or state.page is not None or (before is not None and before.ended == state.ended):
            return
        kind, name = plan.definition.kind, state.graph
        if before is None or not state.ended:
            self._telemetry.run_started(kind, name, len(plan.nodes))
        if state.ended:
            seconds = ((state.ended_ms or state.started_ms) - state.started_ms) / 1000
            self._telemetry.run_ended(kind, name, success=state.status is RunStatus.SUCCEEDED, seconds=seconds)
            batch.ended.extend(tracing.run_ended(self._spans, kind, state))

    async def _plan(self, state: RunState) -> Plan:
        plan = self._catalog.plan(state.definition)
        if plan is None:
            plan = await self._catalog.find(state.definition)
        if plan is None:
            raise NotFound(
                f"the definition {state.definition} of graph {state.graph!r} is not in {self._names.graphs}",
                run=state.run,
            )
        return plan

    async def _with_stored_output(self, decision: Decision) -> Decision:
        """A long output of a run that has just ended goes to the blob store before anything names it."""
        state = decision.state
        if state.output is None:
            return decision
        limit = PAGE_LIMIT_BYTES if state.page is not None else None
        stored = await self._payloads.shortened(str(state.run), state.output, limit_bytes=limit)
        return decision._replace(state=replace(state, output=stored))


def _decoded(record: Record) -> Any:
    """What the record tells. Raises `InvalidInput` and `UnknownVersion`."""
    event = codec.incoming.decode(record.value)
    if record.key != event.key.encode():
        raise InvalidInput(
            f"a {event.type} of {event.key} has another record key than its member `key` says: "
            f"key each record by the run's id",
            run=getattr(event, "run", None),
        )
    return event


def _started(owned: RunPartition, event: RunRequested) -> RunState | None:
    """The run that already has the id of one that is to start.

    It does not count if it has ended, and an earlier run of its parent's id had started it: a run may be forgotten and
    begin again under its id, while the children of the earlier one are still remembered.
    """
    state = owned.state(event.run)
    if state is not None and state.ended and event.parent is not None and event.parent.is_after(state.parent):
        return None
    return state


def _tell_conflict(event: RunRequested, decision: Decision) -> None:
    """Nobody follows the run of an event to hear that it was refused."""
    for command in decision.commands:
        if isinstance(command, RejectRun):
            where = {"action": "reject", "run": event.run, "graph": event.graph, "trigger": event.trigger}
            log.warning("rejected a start by %s: %s", event.trigger, command.message, extra=where)


def _comes_to_nothing(
    owned: RunPartition, record: Record, event: Event | Segment, state: RunState | None, plan: Plan | None
) -> bool:
    """Whether the event waits for its run to come, or comes again."""
    if isinstance(event, SignalReceived) and owned.early.takes(event, state, plan):
        return True
    return state is not None and owned.has_seen(event.run, record)
