"""What each operation of the gateway asks of the engine, and what it answers."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...application.catalog import Catalog
from ...application.clients.answer import Asked as AskedOfRun
from ...application.clients.event_json import failure_json
from ...application.clients.runlist import Place, RunList
from ...application.clients.runs import Runs, Started
from ...application.messages import Summary
from ...bounds import within
from ...domain.ids import INPUT, NodeName, RunId
from ...domain.payload import Inline, Json
from ...domain.plan import Plan
from ...errors import InvalidInput, NotFound, TimedOut
from ...ports.log import Appender, Reader
from .allowance import Allowance
from .operation import Asked, Given
from .problem import Problem
from .publishing import outgoing
from .result import Result, output_of
from .stream import LIVE, Frame, Wish
from .tokens import Tokens

RESULT_MOST_SECONDS = 60.0
PAGE = 1_000

Follow = Callable[[Wish], AsyncGenerator[Frame | None, None]]
"""A run's stream as the gateway sends it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What the gateway serves. `publishable` are the topics that events may be sent to."""

    runs: Runs
    catalog: Catalog
    appender: Appender
    reader: Reader
    listing: RunList
    publishable: frozenset[str] = frozenset()


class Operations:
    """The operations on one engine; `table.py` says who may call which, and how."""

    def __init__(
        self,
        engine: Engine,
        tokens: Tokens,
        allowance: Allowance,
        follow: Follow,
        *,
        stream_token_seconds: float,
        wait_seconds: float,
    ) -> None:
        self._engine = engine
        self._runs = engine.runs
        self._allowance = allowance
        self._follow = follow
        self._wait_seconds = wait_seconds
        self._tokens = tokens
        self._stream_token_seconds = stream_token_seconds

    async def start(self, asked: Asked) -> Given:
        graph = asked.path["graph"]
        plan = await self._plan(graph)
        await self._check_input(plan, asked.form.input)
        started = await self._runs.request(
            graph,
            asked.form.input,
            idempotency_key=asked.headers.get("idempotency-key"),
            tags=asked.form.tags,
            timeout_ms=asked.form.timeout_ms,
            trace=asked.headers.get("traceparent"),
        )
        return _started(started)

    async def list_graphs(self, asked: Asked) -> Given:
        await self._engine.catalog.refresh()
        plans = sorted(self._engine.catalog.plans(), key=lambda plan: plan.definition.name)
        return Given({"graphs": [_graph_json(plan) for plan in plans]})

    async def show_graph(self, asked: Asked) -> Given:
        plan = await self._plan(asked.path["graph"])
        nodes = [_node_json(plan, name) for name in plan.order]
        return Given(_graph_json(plan) | {"nodes": nodes, "finish": list(plan.definition.finish)})

    async def list_runs(self, asked: Asked) -> Given:
        wanted = dict(tag.split("=", 1) for tag in asked.query.get("tag", ())).items()
        graph, status = asked.query.get("graph"), asked.query.get("status")

        def fits(summary: Summary) -> bool:
            return (
                graph in (None, summary.graph) and status in (None, summary.status) and wanted <= summary.tags.items()
            )

        after = _place(asked.query["after"]) if "after" in asked.query else None
        limit, newest = int(asked.query.get("limit", PAGE)), asked.query.get("newest", False)
        found, more = await self._engine.listing.page(after, limit, fits, newest=newest)
        following = None if more is None else f"{more.started_ms}-{more.run}"
        return Given({"runs": [_run_json(summary) for summary in found], "next": following})

    async def show_run(self, asked: Asked) -> Given:
        run = RunId(asked.path["run"])
        summary = await self._runs.summary(run)
        if summary is None:
            raise NotFound(f"there is no run {run} (yet)", run=run)
        return Given(_run_json(summary))

    async def result(self, asked: Asked) -> Given:
        run = RunId(asked.path["run"])
        result = Result(run)
        async with self._waiting(asked, Wish(run, None, asked_of(asked))) as told:
            async for frame in told:
                result.hear(frame)
        return Given({"run": run, "output": result.value()})

    async def node_output(self, asked: Asked) -> Given:
        run, node = RunId(asked.path["run"]), asked.path["node"]
        result = Result(run)
        async with self._waiting(asked, Wish(run, None, asked_of(asked), outputs=node)) as told:
            async for frame in told:
                result.hear(frame)
                data = {} if frame is None else frame.data
                if data.get("node") == node and data.get("status") == "succeeded":
                    return Given({"run": run, "output": output_of(run, data)})
        raise NotFound(f"run {run} has no output of {node!r}", run=run, node=node)

    @contextlib.asynccontextmanager
    async def _waiting(self, asked: Asked, wish: Wish) -> AsyncGenerator[AsyncGenerator[Frame | None, None], None]:
        """The run's stream for as long as the caller waits, and holds one of its streams. Raises `Problem` 409.

        That the run takes longer is a state of the run, and no fault of the gateway. Reading what is there is no wait:
        who waits for no time at all gets what has come.
        """
        seconds = min(asked.query.get("timeout", RESULT_MOST_SECONDS), self._wait_seconds)
        with self._allowance.stream(asked.caller.name):
            try:
                async with (
                    within(self._wait_seconds) as limit,
                    contextlib.aclosing(self._follow(wish)) as told,
                    contextlib.aclosing(_bounded(told, limit, seconds)) as bounded,
                ):
                    yield bounded
            except TimeoutError as error:
                if isinstance(error, TimedOut):
                    raise
                late = TimedOut(f"run {wish.run} has not come so far yet; it goes on: ask again", run=wish.run)
                raise Problem(409, late) from error

    async def stream_token(self, asked: Asked) -> Given:
        run = asked.path["run"]
        token, until_ms = self._tokens.stream_token(asked.caller, run, self._stream_token_seconds)
        events = f"/v1/runs/{run}/events?token={token}"
        return Given({"token": token, "expires_ms": until_ms, "events": events})

    async def cancel(self, asked: Asked) -> Given:
        await self._runs.cancel(RunId(asked.path["run"]), asked.form.reason)
        return Given({"run": asked.path["run"]}, 202)

    async def retry(self, asked: Asked) -> Given:
        ends_after = await self._runs.request_retry(RunId(asked.path["run"]))
        return Given({"run": asked.path["run"], "ends_after": ends_after}, 202)

    async def fork(self, asked: Asked) -> Given:
        of, given = RunId(asked.path["run"]), asked.form
        started = await self._runs.request_fork(
            of,
            given.node,
            edited=Inline(given.input) if "input" in given.model_fields_set else None,
            idempotency_key=asked.headers.get("idempotency-key"),
            trace=asked.headers.get("traceparent"),
        )
        return _started(started)

    async def override(self, asked: Asked) -> Given:
        run, given = RunId(asked.path["run"]), asked.form
        await self._runs.override(run, asked.path["node"], timeout_ms=given.timeout_ms, attempts=given.attempts)
        return Given({"run": run}, 202)

    async def signal(self, asked: Asked) -> Given:
        run, given = RunId(asked.path["run"]), asked.form
        await self._runs.signal(run, asked.path["signal"], given.value, id=given.id, checked=True)
        return Given({"run": run}, 202)

    async def publish(self, asked: Asked) -> Given:
        topic = asked.path["topic"]
        if topic not in self._engine.publishable:
            raise NotFound(f"topic {topic!r} is not among those that events may be sent to: declare it in topics/ "
                           f"where the gateway runs (BELUGA_TOPICS)", topic=topic)  # fmt: skip
        await self._engine.reader.partitions(topic)  # a producer might have the broker create it
        record = outgoing(topic, asked.body, asked.headers, asked.query.get("key"))
        (position,) = await self._engine.appender.append([record])
        return Given({"topic": topic, "partition": position.partition, "offset": position.offset}, 202)

    async def _plan(self, graph: str) -> Plan:
        plan = await self._engine.catalog.find(None, graph)
        if plan is None:
            close = self._engine.catalog.meant(graph)
            hint = "no worker has published it" if close is None else f"is {close!r} meant?"
            raise NotFound(f"there is no graph {graph!r}: {hint}", graph=graph)
        return plan

    async def _check_input(self, plan: Plan, value: Json) -> None:
        """Refuse at once what the coordinator would; by the newest definition, before it is refused."""
        catalog = self._engine.catalog
        try:
            catalog.check_input(plan, value)
        except InvalidInput:
            await catalog.refresh()
            catalog.check_input(await self._plan(plan.definition.name), value)


async def _bounded(
    told: AsyncGenerator[Frame | None, None], limit: asyncio.Timeout, seconds: float
) -> AsyncGenerator[Frame | None, None]:
    """These frames; what is not there yet is waited for so long, within the limit."""
    most = limit.when()
    async for frame in told:
        if frame is not None and frame.kind == LIVE:
            until = asyncio.get_running_loop().time() + seconds
            limit.reschedule(until if most is None else min(until, most))
        yield frame


def _started(started: Started) -> Given:
    run = started.run
    told = {
        "run": run,
        "graph": started.graph,
        "events": f"/v1/runs/{run}/events",
        "digest": started.digest,
        "since": started.since,
    }
    return Given(told, 202, {"Location": f"/v1/runs/{run}"})


def asked_of(asked: Asked) -> AskedOfRun:
    """What the caller says that it has asked for the run."""
    query = asked.query
    return AskedOfRun(query.get("digest"), int(query.get("since", 0)), int(query.get("ends_after", 0)))


def _graph_json(plan: Plan) -> dict[str, Any]:
    definition = plan.definition
    return {"name": definition.name, "definition": definition.hash, "input_schema": definition.input_schema}


def _node_json(plan: Plan, name: NodeName) -> dict[str, Any]:
    node = plan.nodes[name]
    return {
        "name": name,
        "kind": node.kind,
        "after": list(dict.fromkeys(edge.source for edge in plan.incoming[name] if edge.source != INPUT)),
        "signal": node.signal,
        "signal_schema": None if node.signal is None else plan.definition.takes.get(name, {}).get(node.signal),
    }


def _run_json(summary: Summary) -> dict[str, Any]:
    failure = summary.failure
    return {
        "run": summary.run,
        "graph": summary.graph,
        "status": summary.status,
        "trigger": summary.trigger,
        "started_ms": summary.started_ms,
        "ended_ms": summary.ended_ms,
        "tags": dict(summary.tags),
        "parent": summary.parent,
        "error": None if failure is None else failure_json(failure),
        "forked_from": summary.forked_from,
        "retry_until_ms": summary.retry_until_ms,
    }


def _place(after: str) -> Place:
    started, _, run = after.partition("-")
    return Place(int(started), run)


def publishable(declared: Iterable[str], prefix: str) -> frozenset[str]:
    """Of the declared topics those that are not the engine's own: who could write these could forge a run's events."""
    own = (f"{prefix}.", f"{prefix}-", "__")
    return frozenset(name for name in declared if not name.startswith(own))
