"""Which span is whose: W3C trace contexts as records carry them, and the span ids that processes agree on unasked.

The span of a run is told when the run has ended, by whoever owns it then; the spans inside it end long before. So its
id, and that of a node's attempt, follow from what they are about. What is told twice after a crash has one id.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal

from ..domain.ids import Incarnation, NodeKey, NodeName, RunId, is_undo
from ..domain.plan import Plan
from ..domain.state import NODE_ENDED, RunState, RunStatus
from ..ports.log import Headers
from ..ports.spans import Ended, Facts, Of, Spans, Trace
from .messages import Summary

_DRAWN = re.compile(r"[0-9a-f]{12}").fullmatch
_HASHED = re.compile(r"(?!0{16})[0-9a-f]{32}").fullmatch
"""A run's id as the engine makes them: it is as good a trace's id, and its half a span's. W3C forbids only zeros."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LINKS_MOST = 32
"""Of more predecessors the first are linked: backends drop what goes beyond their own bound."""


def is_trace(told: str | None) -> bool:
    """Whether it is a W3C traceparent."""
    return told is not None and _TRACEPARENT.fullmatch(told) is not None


def new_trace(spans: Spans, run: RunId) -> Trace | None:
    """The trace of a run that nobody has begun one for: its parent is its own span, which is the root.

    Whoever has the run's id has the trace's: they are the same.
    """
    identity = run if _HASHED(run) is not None else _hash(16, run)
    sampled = spans.samples(identity)
    return None if sampled is None else Trace(f"00-{identity}-{run_span(run)}-{'01' if sampled else '00'}")


def run_span(run: RunId, retry: str = "") -> str:
    """The id of a run's span; a run that is taken up again by `retry` has another for what follows."""
    return run[:16] if not retry and _HASHED(run) is not None else _hash(8, "run", run, retry)


def node_span(run: RunId, node: NodeKey, attempt: int, incarnation: Incarnation) -> str:
    """The id of the span of one execution of an attempt.

    An incarnation is as good as unique in its trace, and all that a worker draws has the digits for most of an id:
    hashing that with each execution would take longer than keeping the span.
    """
    if _DRAWN(incarnation) is not None:
        return f"{incarnation}{_node_mark(node, attempt)}"
    return _hash(8, "node", run, node, str(attempt), incarnation)


@lru_cache(4096)
def _node_mark(node: NodeKey, attempt: int) -> str:
    return _hash(2, node, str(attempt))


def span_of(state: RunState) -> str:
    """The id of the run's span. Of a page, which has none, it is that of the run that it is a part of."""
    if state.page is not None and state.parent is not None:
        return run_span(state.parent.run)
    return run_span(state.run, state.retries_seen[-1] if state.retries_seen else "")


def inside(trace: str, span: str) -> Trace:
    """The same trace, with this span as the parent of what follows."""
    return Trace(f"{trace[:36]}{span}{trace[52:]}")


def within(spans: Spans, state: RunState) -> Trace | None:
    """The trace context of what a run causes: inside its span, if there will be one."""
    if state.trace is None:
        return None
    if not spans.on or not spans.records(state.trace):
        return Trace(state.trace)
    return inside(state.trace, span_of(state))


def trace_of(headers: Headers) -> str | None:
    """The trace context among a record's headers, if it is one."""
    found = next((value for name, value in headers if name == "traceparent"), None)
    told = None if found is None else found.decode("ascii", "replace")
    return told if is_trace(told) else None


def headers_of(trace: str | None) -> Headers:
    """A trace context as headers of a record."""
    return () if trace is None else (("traceparent", trace.encode()),)


def run_ended(spans: Spans, kind: str, state: RunState) -> list[Ended]:
    """The span of a run that has just ended, if anybody wants it."""
    if state.trace is None or not spans.records(state.trace):
        return []
    told: dict[str, str | int] = {"beluga.run": state.run}
    failure = None
    if state.status is not RunStatus.SUCCEEDED:
        failure = state.status if state.failure is None else state.failure.message
        told["error.type"] = state.status if state.failure is None else state.failure.code
    ended_ms = state.started_ms if state.ended_ms is None else state.ended_ms
    of = Of(state.trace, id=span_of(state), alike=_of_run(kind, state.graph, state.status))
    return [Ended(f"{kind}.invoke", told, of, state.started_ms, ended_ms, failure)]


def tell_when_durable(spans: Spans, ended: Sequence[Ended], writing: "asyncio.Task[None] | None") -> None:
    """Tell the spans of runs once their ends are written: whoever decides the same again finds them ended."""
    if writing is None or not ended:
        return

    def written(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is None:
            for span in ended:
                spans.ended(span)

    writing.add_done_callback(written)


def messaging(operation: Literal["send", "process"], topic: str, key: str | None = None) -> dict[str, str | int]:
    """The attributes that OpenTelemetry's conventions for messaging have for this."""
    told = _messaging(operation, topic)
    return {**told} if key is None else {**told, "messaging.kafka.message.key": key}


@lru_cache(4096)
def of_node(graph: str, node: NodeKey, attempt: int, topic: str | None) -> Facts:
    """What the span of each such execution says; with the topic that the node came by, if it came by one."""
    told: Facts = {"beluga.graph": graph, "beluga.node": node, "beluga.attempt": attempt}
    return MappingProxyType(told if topic is None else {**_messaging("process", topic), **told})


@lru_cache(4096)
def _of_run(kind: str, graph: str, status: str) -> Facts:
    """What the spans of all such runs say. A plain dict: it goes through a workflow's history."""
    return {f"beluga.{kind}": graph, "beluga.status": status}


@lru_cache(256)
def _messaging(operation: str, topic: str) -> Mapping[str, str]:
    return MappingProxyType(
        {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": topic,
        }
    )


def came_from(plan: Plan, state: RunState, key: NodeKey, name: NodeName) -> tuple[str, ...]:
    """The trace contexts of the executions whose outputs come together in a node; empty when it has but one.

    `name` is that of the node which the key belongs to.
    """
    sources = plan.joined.get(name)
    if sources is None or state.trace is None or state.page is not None or is_undo(key):
        return ()
    found: list[str] = []
    for source in sources:
        node = state.nodes.get(NodeKey(source))
        if node is not None and node.status in NODE_ENDED and node.incarnation is not None:
            span = node_span(state.run, NodeKey(source), node.attempt, node.incarnation)
            found.append(inside(state.trace, span))
    return tuple(found[:_LINKS_MOST])


def _hash(size: int, *parts: str) -> str:
    """So many bytes in hexadecimal digits, never only zeros: W3C forbids that."""
    found = blake2b("\x1f".join(parts).encode(), digest_size=size).hexdigest()
    return found if found.strip("0") else f"{found[:-1]}1"


def of_summary(spans: Spans, summary: Summary) -> str | None:
    """The trace context of what a run's end causes."""
    if summary.trace is None:
        return None
    return inside(summary.trace, run_span(summary.run)) if spans.on else summary.trace


def links_of(traces: Sequence[str | None]) -> tuple[str, ...]:
    """Those that are traces, each once."""
    return tuple(dict.fromkeys(trace for trace in traces if trace is not None))[:_LINKS_MOST]
