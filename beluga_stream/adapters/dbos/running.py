"""The port `WorkflowRunner` over DBOS: a run is a workflow whose id is the run's."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from dbos import WorkflowStatus

from ...application.clients.signalling import check_taken
from ...application.durable.pinned import closure
from ...application.execution.conversion import declared_result, input_json, sent
from ...application.local.local_attempts import payloads_here
from ...domain.definition import Definition
from ...domain.events import CancelRequested, RunRequested, SignalReceived
from ...domain.ids import GraphHash, RunId
from ...domain.payload import NOTHING, Inline
from ...errors import (
    InvalidGraph,
    InvalidInput,
    InvalidState,
    NotFound,
    NotSerializable,
    RunFailed,
    TaskCanceled,
    TimedOut,
)
from ...ports.clock import Clock
from ...ports.handlers import Program
from ...ports.spans import NO_SPANS, Spans
from ...ports.workflow_runner import Description, Started
from ...ports.workflows import WorkflowState
from .engine import DbosEngine
from .records import Ended, Start
from .serializer import RunEnded

_STATES: Mapping[str, WorkflowState] = {
    "ENQUEUED": "running",
    "DELAYED": "running",
    "PENDING": "running",
    "SUCCESS": "succeeded",
    "ERROR": "failed",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "failed",
    "CANCELLED": "terminated",
}
_ENDINGS: Mapping[str, WorkflowState] = {"cancelled": "cancelled", "timed_out": "timed_out"}

_POLL_SECONDS = 0.1
"""How often DBOS is asked for a run that is not here yet, or whose end is being written."""

Opened = Callable[[], Awaitable[DbosEngine]]


@dataclass(frozen=True)
class Terms:
    """How they are started. `timeout` None: as long as it takes. A run that has something to undo fails then."""

    timeout: timedelta | None = None
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class DbosRunner:
    """Runs one graph. `opened` gives the engine when it is first needed."""

    def __init__(
        self, opened: Opened, terms: Terms, program: Program, clock: Clock, *, spans: Spans = NO_SPANS
    ) -> None:
        self._spans = spans
        self._opened = opened
        self._terms = terms
        self._program = program
        self._clock = clock
        self._definitions: dict[GraphHash, Definition] = {}
        self._learn(program)

    async def start(self, value: Any, workflow_id: str) -> Started:
        definition, run, now = self._program.definition, RunId(workflow_id), self._clock.now_ms()
        json, timeout = input_json(self._program, value), self._terms.timeout
        timeout_ms = None if timeout is None else max(1, timeout // timedelta(milliseconds=1))
        request = RunRequested(
            run=run,
            key=workflow_id,
            at_ms=now,
            graph=definition.name,
            definition=definition.hash,
            input=Inline(sent(json)),
            digest="dbos",
            trigger="workflow",
            trace=self._spans.here(),
            timeout_ms=timeout_ms if definition.undoes else None,
        )
        start = Start(
            definitions=closure(request, self._definitions.get),
            event=request,
            deadline_ms=None if timeout_ms is None or definition.undoes else now + timeout_ms,
            description=self._terms.description,
            metadata=self._terms.metadata,
        )
        _check_id(workflow_id)
        _check_kept(start, workflow_id)
        engine = await self._opened()
        if not await engine.start(run, start):
            raise InvalidState(
                f"the workflow id {workflow_id!r} is taken: get_result() waits for that one, or give another id",
                workflow=workflow_id,
            )
        return Started(workflow_id)

    async def result(self, started: Started) -> Any:
        engine, run = await self._opened(), RunId(started.workflow_id)
        while _state(status := await self._status(engine, run)) == "running":
            here = engine.going_on(run)
            if here is not None and not here.done.is_set():
                await here.done.wait()
            else:
                await asyncio.sleep(_POLL_SECONDS)
        status = await self._read(engine, run)
        if status.status == "SUCCESS":
            ended = msgspec.json.decode(status.output or "", type=Ended)
            output = await payloads_here().load(ended.output or NOTHING)
            try:
                return declared_result(self._program, output)
            except InvalidGraph as error:
                raise InvalidState(
                    f"workflow {run} has ended with something else: {error}: is it the id of another workflow?",
                    workflow=run,
                ) from error
        raise _failure(status, run)

    async def signal(self, started: Started, name: str, value: Any) -> None:
        content = Inline(sent(value))
        engine, run = await self._running(started, f"signal {name!r}")
        if all(node.signal != name for found in self._definitions.values() for node in found.nodes):
            # The workflow may be of an earlier definition, which waits for what this one does not.
            check_taken(_start(await self._read(engine, run)).definitions, name, run)
        signal = SignalReceived(
            run=run, key=run, at_ms=self._clock.now_ms(), signal=name, id=secrets.token_hex(8), value=content
        )
        await engine.send(run, signal)

    async def query(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        engine, run = await self._opened(), RunId(started.workflow_id)
        status = await self._read(engine, run)
        if name != "state":
            raise NotFound(f"a graph answers no query {name!r}, only 'state'", workflow=run)
        here = engine.going_on(run)
        if here is not None and here.is_live:
            return msgspec.to_builtins(here.standing)
        return msgspec.to_builtins(await engine.standing(run, _start(status)))

    async def update(self, started: Started, name: str, arguments: Sequence[Any], update_id: str | None = None) -> Any:
        raise NotFound(f"a graph has no update {name!r}: send it a signal", workflow=started.workflow_id)

    async def cancel(self, started: Started, reason: str) -> None:
        engine, run = await self._running(started, "cancel")
        await engine.send(run, CancelRequested(run=run, key=run, at_ms=self._clock.now_ms(), reason=reason))

    async def terminate(self, started: Started, reason: str) -> None:
        engine, run = await self._running(started, "terminate")
        await engine.terminate(run)

    async def describe(self, started: Started) -> Description:
        engine, run = await self._opened(), RunId(started.workflow_id)
        status = await self._read(engine, run)
        state = _state(status)
        return Description(
            run,
            None,
            state,
            _time(status.created_at),
            None if state == "running" else _time(status.updated_at),
            await engine.steps(run),
            {} if status.input is None else _start(status).metadata,
        )

    async def check(self) -> None:
        await self._opened()

    def _learn(self, program: Program) -> None:
        self._definitions[program.definition.hash] = program.definition
        for child in program.children.values():
            self._learn(child)

    async def _read(self, engine: DbosEngine, run: RunId) -> WorkflowStatus:
        """With its values, which `_status` does without. Raises `KeyMissing` and `Tampered`."""
        status = await engine.read(run)
        if status is None:
            raise NotFound(f"there is no workflow {run}", workflow=run)
        return status

    async def _status(self, engine: DbosEngine, run: RunId) -> WorkflowStatus:
        status = await engine.status(run)
        if status is None:
            raise NotFound(f"there is no workflow {run}", workflow=run)
        return status

    async def _running(self, started: Started, what: str) -> tuple[DbosEngine, RunId]:
        engine, run = await self._opened(), RunId(started.workflow_id)
        if (state := _state(await self._status(engine, run))) != "running":
            raise NotFound(f"{what}: workflow {run} has ended: {state}", workflow=run)
        return engine, run


def _check_id(workflow_id: str) -> None:
    """Raises `InvalidInput` for an id of spaces alone, which DBOS takes no workflow over by, and for no text."""
    try:
        if workflow_id.encode().strip():
            return
    except UnicodeEncodeError:
        pass
    raise InvalidInput(f"{workflow_id!r} is no id for a workflow: give one with letters or digits")


def _check_kept(start: Start, workflow_id: str) -> None:
    """Raises `NotSerializable` for what DBOS's database would not give back."""
    try:
        msgspec.json.decode(msgspec.json.encode(start), type=Start)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotSerializable(f"input or metadata of workflow {workflow_id} cannot become JSON: {error}") from error


def _start(status: WorkflowStatus) -> Start:
    assert status.input is not None, "DBOS keeps it as long as the workflow"
    return msgspec.json.decode(status.input["args"][0], type=Start)


def _state(status: WorkflowStatus) -> WorkflowState:
    state = _STATES.get(status.status, "unknown")
    ended = _ended(status)
    return state if ended is None else _ENDINGS.get(ended.status, state)


def _ended(status: WorkflowStatus) -> Ended | None:
    """How a run ended that has not succeeded; None for a workflow whose error is another."""
    if not isinstance(status.error, RunEnded):
        return None
    try:
        return msgspec.json.decode(str(status.error), type=Ended)
    except msgspec.DecodeError:
        return None


def _failure(status: WorkflowStatus, run: RunId) -> Exception:
    state, ended = _state(status), _ended(status)
    failure = None if ended is None else ended.failure
    if state == "timed_out":
        return TimedOut(f"workflow {run} took longer than its timeout", workflow=run)
    if state in ("cancelled", "terminated"):
        return TaskCanceled(f"workflow {run} was {state}", workflow=run)
    if failure is None:
        return RunFailed(f"workflow {run} failed: {status.error or status.status}", reason="execution_failed", run=run)
    return RunFailed(
        f"run {run} failed: {failure.message}",
        reason=failure.code,
        run=run,
        node=failure.node,
        attempt=failure.attempt,
    )


def _time(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
