"""What is traced and what is healthy, on an engine that fails as a seed decides."""

import asyncio
from collections import Counter, defaultdict

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from beluga_stream.adapters.otel.ids import AgreedIds
from beluga_stream.adapters.otel.spans import OtelSpans
from beluga_stream.application.clients.runs import Runs
from beluga_stream.application.health import Health, RoleHealth
from beluga_stream.errors import LogUnavailable
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.simulation import simulate
from tests.simulation.starts import starts_of
from tests.simulation.test_uses import desk
from tests.simulation.uses import GO, used


def _simulated(seed: int, faults: int) -> tuple[Counter[str], list[ReadableSpan]]:
    """How often runs ended in each way, and all spans that were told."""
    told = InMemorySpanExporter()
    provider = TracerProvider(id_generator=AgreedIds(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(told))
    spans = OtelSpans(provider.get_tracer("simulated"))
    starts = [start for start in starts_of(seed) if not start.retry]
    report = simulate(starts, seed, ClusterOptions(faults=faults, spans=spans))
    provider.shutdown()
    return Counter(ended.status for ended in report.ended.values()), list(told.get_finished_spans())


@pytest.mark.parametrize("faults", [0, ClusterOptions().faults])
@pytest.mark.parametrize("seed", range(8))
def test_the_spans_of_a_run_hang_together_whoever_tells_them(seed: int, faults: int) -> None:
    ended, spans = _simulated(seed, faults)
    by_trace: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in spans:
        assert span.context is not None
        by_trace[span.context.trace_id].append(span)
    roots: dict[int, str] = {}
    for trace, of_run in by_trace.items():
        runs = {span.context.span_id: span for span in of_run if span.context and span.name == "graph.invoke"}
        for span in of_run:
            assert span.context is not None
            if span.name == "graph.invoke" and span.parent is None:
                status = str((span.attributes or {})["beluga.status"])
                assert roots.setdefault(trace, status) == status, "a run's end is one, however often it is told"
            elif faults == 0:
                assert span.parent is not None
                assert span.parent.span_id in runs, f"{span.name} hangs on nothing"
    if faults == 0:
        assert Counter(roots.values()) == ended
    else:
        # One that dies when an end is durable, and before it is told, takes the span with it.
        assert Counter(roots.values()) <= ended
    executed = Counter(span.context.span_id for span in spans if span.context and span.name == "graph.node.execute")
    assert set(executed.values()) <= {1}, "each execution is one span"


def _is_ready(cluster: Cluster) -> dict[str, RoleHealth]:
    """What each role would say: it is ready with its partitions, and not while it stands still."""
    return {
        member.process.name: RoleHealth(not member.process.frozen, tuple(sorted(member.driver.assigned)))
        for members in cluster.roles.values()
        for member in members.members
    }


@pytest.mark.parametrize("seed", range(6))
def test_a_process_is_ready_with_its_roles_and_well_with_what_it_depends_on(seed: int) -> None:
    graph = desk()

    async def hangs() -> None:
        await asyncio.Event().wait()

    async def is_away() -> None:
        raise LogUnavailable("the broker is away (simulated)")

    async def use(cluster: Cluster, runs: Runs) -> None:
        health = Health({"broker": lambda: cluster.log.end(cluster.topics.run_events)})
        assert health.ready() == (False, {"status": "starting", "waiting": []})
        assert not (await health.report())[0]
        health.roles = lambda: _is_ready(cluster)
        run = await runs.start(graph.name, 1, idempotency_key="one")
        for _ in range(20):
            await asyncio.sleep(cluster.faults.random.uniform(0, 5))
            frozen = sorted(
                member.process.name
                for members in cluster.roles.values()
                for member in members.members
                if member.process.frozen
            )
            is_ready, told = health.ready()
            assert (is_ready, told["waiting"]) == (not frozen, frozen)
        await runs.signal(run, GO.name, "go", id="1")
        assert await runs.result(run, timeout_seconds=3_000) == 1
        await cluster.rest()
        is_well, told = await health.report()
        assert (is_well, told["status"]) == (True, "ok")
        ill = Health({"hangs": hangs, "away": is_away})
        ill.roles = health.roles
        is_well, told = await ill.report()
        assert (is_well, told["status"]) == (False, "degraded")
        assert told["dependencies"]["hangs"]["error"] == "no answer within 3 s"
        assert told["dependencies"]["away"]["error"].startswith("LogUnavailable: ")

    used(seed, [graph.compile()], use)
