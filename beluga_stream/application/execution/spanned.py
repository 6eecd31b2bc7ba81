"""The span of one execution of a node of a run that has a trace."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from ...domain.events import NodeFailed, NodeSucceeded, OfAttempt
from ...domain.ids import Incarnation
from ...errors import TaskCanceled
from ...ports.spans import Facts, Of, Span, Spans
from .. import tracing
from ..messages import NodeReady

Told = TypeVar("Told", bound=OfAttempt)

_NO_SPAN: AbstractContextManager[None] = nullcontext()


def spanned(
    spans: Spans, work: NodeReady, incarnation: Incarnation, *, kind: str, topic: str | None = None
) -> AbstractContextManager[Span | None]:
    """The parent of whatever the execution's handler traces, for as long as it is entered; None: it is not recorded.

    `kind` is that of its graph or chain. `topic` is the one that the work came from; None: it never was in the log.
    """
    if work.trace is None or not spans.on:
        return _NO_SPAN
    if not spans.records(work.trace):
        return spans.beneath(work.trace)
    span_id = tracing.node_span(work.run, work.node, work.attempt, incarnation)
    alike = tracing.of_node(work.graph, work.node, work.attempt, topic)
    of = Of(work.trace, "internal" if topic is None else "consumer", work.links, span_id, alike)
    facts: Facts = {"beluga.run": work.root}
    return spans.span("chain.step" if kind == "chain" else "graph.node.execute", facts, of=of)


@contextmanager
def told_when_stopped(span: Span) -> Iterator[None]:
    """What is stopped has not succeeded, and its span says so: its run was cancelled or left, or its worker ends."""
    try:
        yield
    except asyncio.CancelledError:
        span.tell({"error.type": TaskCanceled.code})
        span.fail("it was told to stop")
        raise


async def tell_outcome(span: Span | None, execution: Awaitable[Told]) -> Told:
    """What comes of the execution, which its span is told as well: nothing is said of a success."""
    if span is None:
        return await execution
    with told_when_stopped(span):
        outcome = await execution
    if isinstance(outcome, NodeSucceeded):
        return outcome
    if isinstance(outcome, NodeFailed):
        span.tell({"error.type": outcome.failure.code})
        span.fail(outcome.failure.message)
    else:
        span.fail(outcome.type)
    return outcome
