"""The trace of users' own workflows: from whoever starts one, through the workflow, to the spans of its activities.

It travels in Temporal's headers. The workflow only hands it on, since its code is replayed at any time. Graphs have
theirs in their own records.
"""

from collections.abc import Mapping
from typing import Any, NoReturn

from temporalio import activity, client, worker, workflow
from temporalio.api.common.v1 import Payload

from ...application.execution.spanned import told_when_stopped
from ...ports.spans import Of, Spans
from . import envelopes

_HEADER = "traceparent"

Headers = Mapping[str, Payload]


class Starting(client.Interceptor):
    """What workflows are started with: the trace that goes on where they are started."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002 - the SDK's name for it
        return _Client(next, self._spans)


class _Client(client.OutboundInterceptor):
    def __init__(self, inner: client.OutboundInterceptor, spans: Spans) -> None:
        super().__init__(inner)
        self._spans = spans

    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:  # noqa: A002 - see above
        trace = self._spans.here()
        if trace is not None and input.workflow != envelopes.INTERPRETER:
            payload = Payload(metadata={"encoding": b"json/plain"}, data=f'"{trace}"'.encode())
            input.headers = {**input.headers, _HEADER: payload}
        return await super().start_workflow(input)


class Executing(worker.Interceptor):
    """What a worker does about it: workflows hand it on, and activities tell a span."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002 - see above
        return _Activity(next, self._spans) if self._spans.on else next

    def workflow_interceptor_class(
        self,
        input: worker.WorkflowInterceptorClassInput,  # noqa: A002 - see above
    ) -> type[worker.WorkflowInboundInterceptor]:
        return _Workflow


class _Activity(worker.ActivityInboundInterceptor):
    def __init__(self, inner: worker.ActivityInboundInterceptor, spans: Spans) -> None:
        super().__init__(inner)
        self._spans = spans

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:  # noqa: A002 - see above
        found = input.headers.get(_HEADER)
        if found is None:
            return await super().execute_activity(input)
        info = activity.info()
        facts: dict[str, str | int] = {
            "workflow.name": info.workflow_type or "",
            "workflow.activity": info.activity_type,
            "workflow.attempt": info.attempt,
        }
        of = Of(found.data.decode().strip('"'), "consumer")
        with self._spans.span("workflow.activity", facts, of=of) as span, told_when_stopped(span):
            return await super().execute_activity(input)


class _Workflow(worker.WorkflowInboundInterceptor):
    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(worker.WorkflowOutboundInterceptor):
    def start_activity(self, input: worker.StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - see above
        input.headers = _handed_on(input.headers)
        return super().start_activity(input)

    def start_local_activity(self, input: worker.StartLocalActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002 - see above
        input.headers = _handed_on(input.headers)
        return super().start_local_activity(input)

    async def start_child_workflow(
        self,
        input: worker.StartChildWorkflowInput,  # noqa: A002 - see above
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        input.headers = _handed_on(input.headers)
        return await super().start_child_workflow(input)

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:  # noqa: A002 - see above
        input.headers = _handed_on(input.headers)
        super().continue_as_new(input)


def _handed_on(headers: Headers) -> Headers:
    found = workflow.info().headers.get(_HEADER)
    return headers if found is None else {**headers, _HEADER: found}
