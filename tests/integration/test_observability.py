"""One trace, metrics, logs and probes of an engine whose every role is a process of its own."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import connect
from tests.brokers import free_port
from tests.engine import Engine, client_environ
from tests.observed import AGENTS, ROLES, Deployed, ask, started, topics_of
from tests.otlp import ReceivedSpan, receiving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRACE = "1" * 32
CALLER = f"00-{TRACE}-{'2' * 16}-01"


@pytest.fixture(scope="module")
def deployed(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with receiving() as receiver:
        folder = tmp_path_factory.mktemp("observed")
        with started(Deployed(broker, folder, receiver)) as deployed:
            yield deployed


def _of_trace(spans: Any, trace: str) -> list[ReceivedSpan]:
    return [span for span in spans if span.trace == trace]


def _ended(run: str) -> Any:
    return lambda spans: any(
        span.name.endswith(".invoke") and span.attributes.get("beluga.run") == run for span in spans
    )


def _count(spans: Any, run: str) -> int:
    """How many executions of a run there are."""
    return sum(span.name == "graph.node.execute" and span.attributes["beluga.run"] == run for span in spans)


def test_a_run_is_one_trace_of_gateway_coordinator_and_workers(deployed: Deployed) -> None:
    run = deployed.run("diamond", 1, CALLER)
    spans = deployed.receiver.wait(lambda spans: _ended(run)(spans) and _count(spans, run) >= 4)
    found = {str(span.attributes.get("beluga.node", span.name)): span for span in _of_trace(spans, TRACE)}
    prefix = deployed.prefix
    request = found["POST /v1/graphs/{graph}/runs"]
    sent, whole = found[f"send {prefix}.run-requests"], found["graph.invoke"]
    assert request.parent == "2" * 16
    assert (sent.parent, whole.parent) == (request.id, sent.id)
    assert {found[node].parent for node in ("first", "left", "right", "both")} == {whole.id}
    assert set(found["both"].links) == {(TRACE, found["left"].id), (TRACE, found["right"].id)}
    assert not found["left"].links, "what follows on one node is no joining"
    assert [found[node].service for node in ("graph.invoke", "first")] == [f"{prefix}-coordinator", f"{prefix}-worker"]
    assert request.service == sent.service == f"{prefix}-gateway"
    assert found["first"].name == "graph.node.execute"
    assert found["first"].attributes["messaging.system"] == "kafka"
    assert found["first"].attributes["messaging.destination.name"] == f"{prefix}.node-ready.default"
    assert whole.attributes["beluga.status"] == "succeeded"
    assert whole.began <= found["first"].began + 1_000_000_000
    assert not any(span.failed for span in found.values())


def test_an_event_begins_a_trace_unless_it_is_in_one(deployed: Deployed) -> None:
    deployed.publish("orders", {"key": "k", "n": 5})
    taken = f"process {deployed.prefix}-in.orders"
    spans = deployed.receiver.wait(
        lambda spans: {taken, "graph.invoke"} <= {s.name for s in spans if s.attributes.get("beluga.graph") == "orders"}
    )
    event = next(span for span in spans if span.name == taken)
    whole = next(span for span in _of_trace(spans, event.trace) if span.name == "graph.invoke")
    assert (event.parent, whole.parent) == ("", event.id)
    assert event.attributes["messaging.kafka.offset"] == 0


def test_a_run_that_nobody_traces_has_its_own_span_as_the_root(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in client_environ(deployed.roles["worker"]).items():
        monkeypatch.setenv(name, value)

    async def start() -> str:
        async with connect() as client:
            run = await client.start("diamond", 2)
            await run.result()
            return run.id

    run = asyncio.run(start())
    spans = deployed.receiver.wait(lambda spans: _ended(run)(spans) and _count(spans, run) >= 4)
    whole = next(s for s in spans if s.attributes.get("beluga.run") == run and s.name == "graph.invoke")
    assert whole.parent == ""
    assert {span.parent for span in _of_trace(spans, whole.trace)} == {"", whole.id}


def test_a_subgraphs_run_is_inside_its_parents(deployed: Deployed) -> None:
    run = deployed.run("outer", 1)
    spans = deployed.receiver.wait(_ended(run))
    whole = next(s for s in spans if s.attributes.get("beluga.run") == run and s.name == "graph.invoke")
    part = next(s for s in _of_trace(spans, whole.trace) if s.name == "graph.invoke" and s is not whole)
    assert (part.parent, part.attributes["beluga.graph"]) == (whole.id, "diamond")


def test_each_attempt_that_fails_is_a_failed_span_with_its_code(deployed: Deployed) -> None:
    run = deployed.run("broken", 7)
    spans = deployed.receiver.wait(lambda spans: _count(spans, run) >= 2 and _ended(run)(spans))
    whole = next(s for s in spans if s.attributes.get("beluga.run") == run and s.name == "graph.invoke")
    attempts = [s for s in _of_trace(spans, whole.trace) if s.name == "graph.node.execute"]
    assert whole.failed
    assert sorted((s.attributes["beluga.attempt"], s.failed, s.attributes["error.type"]) for s in attempts) == [
        (1, True, "execution_failed"),
        (2, True, "execution_failed"),
    ]


def test_what_events_start_together_is_linked_to_each(deployed: Deployed) -> None:
    deployed.publish("a", {"key": "k", "n": 1}, f"00-{'a' * 32}-{'b' * 16}-01")
    deployed.publish("b", {"key": "k", "n": 2}, f"00-{'c' * 32}-{'d' * 16}-01")
    spans = deployed.receiver.wait(lambda spans: any(span.name == "trigger.gather" for span in spans))
    gathered = next(span for span in spans if span.name == "trigger.gather")
    (link,) = gathered.links
    assert {(gathered.trace, gathered.parent), link} == {("a" * 32, "b" * 16), ("c" * 32, "d" * 16)}


def test_log_lines_carry_the_ids_of_the_trace(deployed: Deployed) -> None:
    run = deployed.run("diamond", 3)
    spans = deployed.receiver.wait(lambda spans: _count(spans, run) >= 1)
    node = next(
        s for s in spans if s.attributes.get("beluga.run") == run and s.attributes.get("beluga.node") == "first"
    )
    (line,) = [line for line in deployed.roles["worker"].said("counting") if line["run"] == run]
    assert (line["node"], line["attempt"], line["trace_id"], line["span_id"]) == ("first", 1, node.trace, node.id)


def test_every_role_answers_probes_and_shows_metrics(deployed: Deployed) -> None:
    for role in ROLES:
        assert deployed.ask(role, "/live")[0] == 200
        assert deployed.ask(role, "/ready") == (200, b'{"status":"ready","waiting":[]}')
        status, body = deployed.ask(role, "/health")
        told = json.loads(body)
        assert (status, told["status"]) == (200, "ok")
        assert {name: each["ok"] for name, each in told["dependencies"].items()} == {"broker": True, "blobs": True}
        assert all(one["partitions"] for one in told["roles"].values())
        assert (
            f'orchestration_recovery_seconds_count{{role="{role}"}} 1.0' in deployed.ask(role, "/metrics")[1].decode()
        )
    assert ask(f"{deployed.gateway.url}/ready")[0] == 200
    dependencies = json.loads(ask(f"{deployed.gateway.url}/health")[1])["dependencies"]
    assert {name: each["ok"] for name, each in dependencies.items()} == {"broker": True, "blobs": True}


def test_metrics_are_exported_over_otlp_too(deployed: Deployed) -> None:
    deployed.run("diamond", 1)
    wanted = {"orchestration_active_graphs", "orchestration_queue_wait_seconds", "orchestration_consumer_lag_records"}
    deployed.receiver.wait(lambda _: wanted <= deployed.receiver.metrics)


def test_an_exporter_that_is_down_is_one_line_for_each_and_stops_nothing(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(broker, tmp_path, agents=str(AGENTS), telemetry="otlp")
    (tmp_path / "topics").mkdir()
    (tmp_path / "topics" / "in.yaml").write_text(topics_of(engine.prefix))
    engine.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }
    for name, value in client_environ(engine).items():
        monkeypatch.setenv(name, value)

    async def run() -> int:
        async with connect() as client:
            output: int = await (await client.start("diamond", 2)).result()
            return output

    engine.start(groups=4)
    try:
        assert asyncio.run(run()) == 15
        while len(engine.said("telemetry.away")) < 2:
            assert asyncio.run(run()) == 15
    finally:
        code = engine.stop()
    assert code == 0
    told = [str(line["message"]).split()[0] for line in engine.said("telemetry.away")]
    assert sorted(told) == ["metrics", "traces"]
    assert "opentelemetry" not in engine.log.read_text(), "and the SDK says nothing of its own"
