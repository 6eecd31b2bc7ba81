"""What runs workflows of one kind: durable graphs by the interpreter, and users' own classes."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from inspect import signature
from typing import Any

import msgspec
from pydantic import ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateStage,
)
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from ...application.clients.signalling import check_taken
from ...application.durable.pinned import closure
from ...application.durable.standing import Standing
from ...application.execution.conversion import declared_result, input_json, json_of
from ...application.execution.judging import said
from ...application.payloads import Payloads
from ...application.topics import Topics
from ...domain.events import RunRequested, SignalReceived
from ...domain.ids import RunId
from ...domain.payload import NOTHING
from ...domain.state import RunStatus
from ...errors import InvalidConfig, InvalidGraph, InvalidInput, InvalidState, NotFound, RunFailed, TaskCanceled
from ...ports.clock import Clock
from ...ports.handlers import Program
from ...ports.spans import NO_SPANS, Spans
from ...ports.workflow_runner import NO_VALUE, Description, Started
from . import envelopes
from .beginning import beginning_of
from .calls import CALL, called, check_health, check_size, failed, queried, translated
from .envelopes import Ended, Start, Told
from .stalled import awaited
from .workflows import STATES, ended_of

Connect = Callable[[], Awaitable[Client]]


@dataclass(frozen=True)
class Terms:
    """How they are started. `timeout` None: as long as it takes; `retries`: how often one that failed begins again.

    Temporal ends a workflow whose time is up, and nothing of it is undone. So a graph that has something to undo is
    told its timeout, and ends by itself.
    """

    task_queue: str
    timeout: timedelta | None = None
    retries: int = 0
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class TemporalRunner(ABC):
    """What both have: how to reach a workflow, and its errors as ours."""

    def __init__(self, connect: Connect, terms: Terms) -> None:
        self._connect = connect
        self._terms = terms

    async def result(self, started: Started) -> Any:
        """See the port. The wait is as long as the workflow."""
        client, name = await self._connect(), started.workflow_id
        handle = client.get_workflow_handle(name, run_id=started.run_id, result_type=self._result_type)
        try:
            with translated("result of", name):
                return await self._loaded(started, await awaited(client, name, handle.result()))
        except WorkflowFailureError as error:
            raise self._failure(error, started) from error
        except (ValidationError, msgspec.DecodeError, InvalidGraph) as error:
            raise InvalidState(
                f"workflow {name} has ended with something else than {self._results}: {said(error)}: is it the id of "
                f"another workflow? A class has to return what it declares",
                workflow=name,
            ) from error

    async def query(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        client, handle = await self._connect(), await self._handle(started)
        asked = handle.query(name, args=list(arguments), result_type=self._answers.get(name), rpc_timeout=CALL)
        answer = awaited(client, started.workflow_id, asked)
        return self._told(await queried(client, handle, name, answer, workflow=started.workflow_id))

    async def update(self, started: Started, name: str, arguments: Sequence[Any], update_id: str | None = None) -> Any:
        """See the port. That it is taken is waited for as for any call, and its answer as long as that takes."""
        client, handle, what = await self._connect(), await self._handle(started), f"update {name!r} of"
        await check_size(client, arguments, what, started.workflow_id)
        sent = handle.start_update(
            name,
            args=list(arguments),
            id=update_id,
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
            rpc_timeout=CALL,
        )
        with translated(what, started.workflow_id):
            taken = await awaited(client, started.workflow_id, sent)
            return await awaited(client, started.workflow_id, taken.result())

    async def cancel(self, started: Started, reason: str) -> None:
        handle = await self._handle(started)
        # The server takes the cancel of a workflow that has ended, and does nothing.
        if (state := (await self.describe(started)).state) != "running":
            raise NotFound(f"cancel: workflow {started.workflow_id} has ended: {state}", workflow=started.workflow_id)
        await called(handle.cancel(reason=reason, rpc_timeout=CALL), "cancel", started.workflow_id)

    async def terminate(self, started: Started, reason: str) -> None:
        handle = await self._handle(started)
        await called(handle.terminate(reason=reason, rpc_timeout=CALL), "terminate", started.workflow_id)

    async def describe(self, started: Started) -> Description:
        handle = await self._handle(started)
        found = await called(handle.describe(rpc_timeout=CALL), "describe", started.workflow_id)
        return Description(
            found.id,
            found.run_id,
            "unknown" if found.status is None else STATES.get(found.status, "unknown"),
            await self._began(found),
            found.close_time,
            found.history_length,
            await found.memo(),
        )

    async def _began(self, found: WorkflowExecutionDescription) -> datetime:
        """When its first execution began; of the latest, when the server keeps that no longer."""
        first = found.raw_description.workflow_execution_info.first_run_id
        if first in ("", found.run_id):
            return found.start_time
        handle = (await self._connect()).get_workflow_handle(found.id, run_id=first)
        try:
            return (await called(handle.describe(rpc_timeout=CALL), "describe", found.id)).start_time
        except NotFound:
            return found.start_time

    async def check(self) -> None:
        await check_health(await self._connect())

    async def _begin(
        self, workflow: Any, arguments: Sequence[Any], workflow_id: str, limit: timedelta | None
    ) -> Started:
        terms = self._terms
        try:
            with translated("start", workflow_id):
                handle: WorkflowHandle[Any, Any] = await (await self._connect()).start_workflow(
                    workflow,
                    args=arguments,
                    id=workflow_id,
                    task_queue=terms.task_queue,
                    execution_timeout=limit,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    retry_policy=RetryPolicy(maximum_attempts=terms.retries + 1) if terms.retries else None,
                    memo=terms.metadata or None,
                    static_summary=terms.description or None,
                    rpc_timeout=CALL,
                )
        except WorkflowAlreadyStartedError as error:
            raise InvalidState(
                f"the workflow id {workflow_id!r} is taken: get_result() waits for that one, or give another id",
                workflow=workflow_id,
            ) from error
        return Started(workflow_id, handle.result_run_id)

    async def _handle(self, started: Started) -> WorkflowHandle[Any, Any]:
        """The workflow as it is now: one that has begun again has another execution than the one that was started."""
        client = await self._connect()
        return client.get_workflow_handle(started.workflow_id, first_execution_run_id=started.run_id)

    @property
    def _answers(self) -> Mapping[str, Any]:
        """The types of what queries answer, where they are known."""
        return {}

    def _told(self, answer: Any) -> Any:
        return answer

    @property
    @abstractmethod
    def _result_type(self) -> Any: ...

    @property
    @abstractmethod
    def _results(self) -> str:
        """What its results are, in words."""

    @abstractmethod
    async def _loaded(self, started: Started, result: Any) -> Any: ...

    def _failure(self, error: WorkflowFailureError, started: Started) -> Exception:
        return failed(error, started.workflow_id)


class GraphRunner(TemporalRunner):
    """Runs a durable graph: its workflow's id is the run's, and its trace that in which it is started."""

    def __init__(  # noqa: PLR0913 - it is wired in one place, by name
        self,
        connect: Connect,
        terms: Terms,
        program: Program,
        *,
        topics: Topics,
        payloads: Payloads,
        clock: Clock,
        spans: Spans = NO_SPANS,
    ) -> None:
        super().__init__(connect, terms)
        self._spans = spans
        self._program = program
        self._topics = topics
        self._payloads = payloads
        self._clock = clock
        self._family = _family(program)
        self._definitions = {found.definition.hash: found.definition for found in self._family}

    async def start(self, value: Any, workflow_id: str) -> Started:
        definition, run = self._program.definition, RunId(workflow_id)
        json, timeout = input_json(self._program, value), self._terms.timeout
        from_within = timeout if definition.undoes else None
        request = RunRequested(
            run=run,
            key=workflow_id,
            at_ms=self._clock.now_ms(),
            graph=definition.name,
            definition=definition.hash,
            input=await self._payloads.store(workflow_id, json),
            digest=self._payloads.digest(json),
            trigger="workflow",
            trace=self._spans.here(),
            timeout_ms=None if from_within is None else max(1, from_within // timedelta(milliseconds=1)),
        )
        start = Start(
            definitions=closure(request, self._definitions.get),
            prefix=self._topics.prefix,
            partitions=self._topics.partitions,
            event=request,
            spans=request.trace is not None,
        )
        from_outside = timeout if from_within is None else None
        begun = await self._begin(envelopes.INTERPRETER, [start], workflow_id, from_outside)
        return Started(begun.workflow_id)  # a long one goes on in another execution

    async def signal(self, started: Started, name: str, value: Any) -> None:
        fitting = self._fitting(name, value)
        if not any(name in found.signals for found in self._family):
            await self._check_taken(started, name)
        event = SignalReceived(
            run=RunId(started.workflow_id),
            key=started.workflow_id,
            at_ms=self._clock.now_ms(),
            signal=name,
            id=secrets.token_hex(8),
            value=await self._payloads.store(started.workflow_id, fitting),
        )
        handle = await self._handle(started)
        sent = handle.signal(envelopes.SIGNAL, Told(event), rpc_timeout=CALL)
        await called(sent, f"signal {name!r} for", started.workflow_id)

    async def _check_taken(self, started: Started, name: str) -> None:
        """The workflow may be of an earlier definition, which waits for what this one does not. Raises `NotFound`."""
        start = (await beginning_of(await self._connect(), started.workflow_id)).start
        if start is not None:
            check_taken(start.definitions, name, started.workflow_id)

    def _fitting(self, name: str, value: Any) -> Any:
        """The value as JSON. Raises `InvalidInput` when none of the waits for this signal, here or below, takes it."""
        refused: InvalidInput | None = None
        for adapter in [found.signals[name] for found in self._family if name in found.signals]:
            try:
                return json_of(adapter, value, f"the value of signal {name!r}")
            except InvalidInput as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return value

    @property
    def _result_type(self) -> Any:
        return Ended

    @property
    def _results(self) -> str:
        return f"a result of graph {self._program.definition.name!r}"

    @property
    def _answers(self) -> Mapping[str, Any]:
        return {envelopes.STATE: Standing}

    def _told(self, answer: Any) -> Any:
        return msgspec.to_builtins(answer)

    async def _loaded(self, started: Started, result: Ended) -> Any:
        try:
            output = await self._payloads.load(result.output or NOTHING)
        except NotFound as error:
            raise NotFound(f"the result of {started.workflow_id} is kept no longer: {error}") from error
        return declared_result(self._program, output)

    def _failure(self, error: WorkflowFailureError, started: Started) -> Exception:
        ended = ended_of(error)
        if ended is None or ended.failure is None:
            return super()._failure(error, started)
        if ended.status == RunStatus.CANCELLED:  # by an execution before this one, or by its parent
            return TaskCanceled(f"run {started.workflow_id} was cancelled", run=started.workflow_id)
        failure = ended.failure
        return RunFailed(
            f"run {started.workflow_id} failed: {failure.message}",
            reason=failure.code,
            run=started.workflow_id,
            node=failure.node,
            attempt=failure.attempt,
        )


class ClassRunner(TemporalRunner):
    """Runs a user's workflow class, whatever it is made of."""

    def __init__(self, connect: Connect, terms: Terms, workflow: type[Any]) -> None:
        super().__init__(connect, terms)
        defined = getattr(workflow, "__temporal_workflow_definition", None)
        if defined is None or defined.name is None:
            raise InvalidConfig(
                f"{workflow.__name__} is no workflow: decorate it with temporalio's @workflow.defn, and its run method "
                f"with @workflow.run; or give a Graph(durable=True)"
            )
        self._name: str = defined.name
        self._type = defined.ret_type
        self._handlers = {name: handler.fn for name, handler in defined.signals.items()}

    async def start(self, value: Any, workflow_id: str) -> Started:
        return await self._begin(self._name, [value], workflow_id, self._terms.timeout)

    async def signal(self, started: Started, name: str, value: Any) -> None:
        given = [] if value is NO_VALUE else [value]
        self._check_fits(name, given)
        handle = await self._handle(started)
        sent = handle.signal(name, args=given, rpc_timeout=CALL)
        await called(sent, f"signal {name!r} for", started.workflow_id)

    def _check_fits(self, name: str, given: Sequence[Any]) -> None:
        """Raises `InvalidInput` for a signal that its handler does not take: it would fail the workflow."""
        handler = self._handlers.get(name)
        if handler is None:
            return  # a dynamic handler may take it, or none does, and then it is kept
        try:
            signature(handler).bind(None, *given)
        except TypeError as error:
            raise InvalidInput(f"signal {name!r} of class {self._name} does not take {given}: {error}") from error

    @property
    def _result_type(self) -> Any:
        return self._type

    @property
    def _results(self) -> str:
        return f"what class {self._name} declares ({self._type})"

    async def _loaded(self, started: Started, result: Any) -> Any:
        return result


def _family(program: Program) -> Sequence[Program]:
    return [program, *(found for child in program.children.values() for found in _family(child))]
