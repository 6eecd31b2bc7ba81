"""What runs workflows of one kind: durable graphs by the interpreter, and users' own classes."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from ...application.conversion import declared_result, input_json
from ...application.payloads import Payloads
from ...application.pinned import closure
from ...application.standing import Standing
from ...application.topics import Topics
from ...domain.events import RunRequested, SignalReceived
from ...domain.ids import RunId
from ...domain.payload import NOTHING
from ...domain.state import RunStatus
from ...errors import InvalidConfig, InvalidState, NotFound, RunFailed, TaskCanceled, TemporalUnavailable
from ...ports.clock import Clock
from ...ports.handlers import Program
from ...ports.spans import NO_SPANS, Spans
from ...ports.workflow_runner import Description, Started
from . import envelopes
from .calls import CALL, called, check_health, failed, translated
from .envelopes import Ended, Start, Told
from .stalled import result_of, stall_of
from .workflows import STATES, ended_of

Connect = Callable[[], Awaitable[Client]]

T = TypeVar("T")


@dataclass(frozen=True)
class Terms:
    """How they are started. `timeout` None: as long as it takes; `retries`: how often one that failed begins again."""

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
                return await self._loaded(started, await result_of(client, handle))
        except WorkflowFailureError as error:
            raise self._failure(error, started) from error

    async def query(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        handle = await self._handle(started)
        asked = handle.query(name, args=list(arguments), result_type=self._answers.get(name), rpc_timeout=CALL)
        return self._told(await self._answer(asked, f"query {name!r} of", started.workflow_id))

    async def update(self, started: Started, name: str, arguments: Sequence[Any]) -> Any:
        handle = await self._handle(started)
        asked = handle.execute_update(name, args=list(arguments), rpc_timeout=CALL)
        return await self._answer(asked, f"update {name!r} of", started.workflow_id)

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
            found.start_time,
            found.close_time,
            found.history_length,
            await found.memo(),
        )

    async def check(self) -> None:
        await check_health(await self._connect())

    async def _answer(self, asked: Awaitable[T], what: str, workflow_id: str) -> T:
        """What a worker answers. Raises `CodeMissing` when it does not, since the workflow stands still."""
        try:
            return await called(asked, what, workflow_id)
        except TemporalUnavailable as error:
            if (stall := await stall_of(await self._connect(), workflow_id)) is None:
                raise
            raise stall from error

    async def _begin(self, workflow: Any, arguments: Sequence[Any], workflow_id: str) -> Started:
        terms = self._terms
        try:
            with translated("start", workflow_id):
                handle: WorkflowHandle[Any, Any] = await (await self._connect()).start_workflow(
                    workflow,
                    args=arguments,
                    id=workflow_id,
                    task_queue=terms.task_queue,
                    execution_timeout=terms.timeout,
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
        self._definitions = {found.definition.hash: found.definition for found in _family(program)}

    async def start(self, value: Any, workflow_id: str) -> Started:
        definition, run = self._program.definition, RunId(workflow_id)
        json = input_json(self._program, value)
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
        )
        start = Start(
            definitions=closure(request, self._definitions.get),
            prefix=self._topics.prefix,
            partitions=self._topics.partitions,
            event=request,
            spans=request.trace is not None,
        )
        begun = await self._begin(envelopes.INTERPRETER, [start], workflow_id)
        return Started(begun.workflow_id)  # a long one goes on in another execution

    async def signal(self, started: Started, name: str, value: Any) -> None:
        event = SignalReceived(
            run=RunId(started.workflow_id),
            key=started.workflow_id,
            at_ms=self._clock.now_ms(),
            signal=name,
            id=secrets.token_hex(8),
            value=await self._payloads.store(started.workflow_id, value),
        )
        handle = await self._handle(started)
        sent = handle.signal(envelopes.SIGNAL, Told(event), rpc_timeout=CALL)
        await called(sent, f"signal {name!r} for", started.workflow_id)

    @property
    def _result_type(self) -> Any:
        return Ended

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

    async def start(self, value: Any, workflow_id: str) -> Started:
        return await self._begin(self._name, [value], workflow_id)

    async def signal(self, started: Started, name: str, value: Any) -> None:
        handle = await self._handle(started)
        sent = handle.signal(name, args=[] if value is None else [value], rpc_timeout=CALL)
        await called(sent, f"signal {name!r} for", started.workflow_id)

    @property
    def _result_type(self) -> Any:
        return self._type

    async def _loaded(self, started: Started, result: Any) -> Any:
        return result


def _family(program: Program) -> Sequence[Program]:
    return [program, *(found for child in program.children.values() for found in _family(child))]
