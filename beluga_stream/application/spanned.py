"""The span of one execution of a node of a run that has a trace."""

from collections.abc import Awaitable
from typing import TypeVar

from ..domain.events import NodeFailed, NodeSucceeded, OfAttempt
from ..domain.ids import Incarnation
from ..ports.spans import Of, Spans
from . import tracing
from .messages import NodeReady

O = TypeVar("O", bound=OfAttempt)  # noqa: E741 - the outcome's type


async def spanned(
    execution: Awaitable[O],
    spans: Spans,
    work: NodeReady,
    incarnation: Incarnation,
    *,
    kind: str,
    topic: str | None = None,
) -> O:
    """What comes of an execution, whose span is the parent of whatever its handler traces.

    `kind` is that of its graph or chain. `topic` is the one that the work came from; None: it never was in the log.
    """
    if work.trace is None or not spans.on:
        return await execution
    if not spans.records(work.trace):
        with spans.beneath(work.trace):
            return await execution
    span_id = tracing.node_span(work.run, work.node, work.attempt, incarnation)
    of = Of(work.trace, "internal" if topic is None else "consumer", work.links, span_id)
    facts = {
        **tracing.of_node(work.graph, work.node, topic),
        "beluga.run": work.root,
        "beluga.attempt": work.attempt,
    }
    with spans.span("chain.step" if kind == "chain" else "graph.node.execute", facts, of=of) as span:
        outcome = await execution
        if isinstance(outcome, NodeFailed):
            span.tell({"error.type": outcome.failure.code})
            span.fail(outcome.failure.message)
        elif not isinstance(outcome, NodeSucceeded):
            span.fail(outcome.type)
        return outcome
