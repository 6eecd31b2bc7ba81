"""The stack of docker-compose.yml with its profiles `temporal` and `observability`: what a run tells, and who sees it.

Run by `make observed`, which sets BELUGA_OBSERVED and builds the images. Panels are asked for through Grafana where its
image is here, and else through the Prometheus that its datasource names.
"""

import http
import json
import os
import secrets
import shlex
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from beluga_stream.adapters.http.tokens import SCOPES, new_token
from tests.brokers import free_port

pytestmark = [pytest.mark.observed, pytest.mark.slow, pytest.mark.timeout(900)]

REPO = Path(__file__).resolve().parents[2]
OBSERVABILITY = REPO / "deploy" / "observability"
FILES = ("docker-compose.yml", "tests/acceptance/observed_stack/compose.yml")
ROLES = ("coordinator", "worker", "ingest", "gateway", "workflows")
SERVICES = ("kafka", "temporal", "prometheus", "jaeger", "orchestrator", *ROLES)
PORTS = ("KAFKA", "GATEWAY", "TEMPORAL", "TEMPORAL_UI", "PROMETHEUS", "JAEGER", "GRAFANA")
GRAFANA_IMAGE = os.environ.get("GRAFANA_IMAGE", "grafana/grafana:12.2.0")
PATIENCE = 180.0


class Stack:
    """One project of compose, beside any that a developer runs, and what is asked of it over HTTP."""

    def __init__(self) -> None:
        ports = {name: str(free_port()) for name in PORTS}
        self.urls = {name.lower(): f"http://127.0.0.1:{port}" for name, port in ports.items()}
        self.token, kept = new_token("test", frozenset(SCOPES))
        self.has_grafana = _succeeds("docker", "image", "inspect", GRAFANA_IMAGE)
        self._command = shlex.split(os.environ.get("BELUGA_COMPOSE_COMMAND", "docker compose"))
        self._command += [word for file in FILES for word in ("--file", file)]
        self._environment = {"COMPOSE_PROJECT_NAME": "beluga-observed"} | os.environ
        self._environment |= {f"{name}_PORT": port for name, port in ports.items()}
        self._environment |= {
            "COMPOSE_PROFILES": "gateway,temporal,observability",
            "BELUGA_HTTP_TOKENS": kept.line(),
            "BELUGA_TELEMETRY": "otlp,prometheus",
            "BELUGA_TEMPORAL_ADDRESS": "temporal:7233",
        }

    def compose(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=REPO,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"compose {shlex.join(arguments)}:\n{done.stderr[-3000:]}"
        return done.stdout

    def start(self, *services: str) -> None:
        self.compose("up", "--detach", "--no-build", "--wait", *services)

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def logs(self) -> str:
        return self.compose("logs", "--no-color", "--tail", "40", *ROLES, "orchestrator", "jaeger", "prometheus")

    def get(self, service: str, path: str, **query: str) -> Any:
        url = f"{self.urls[service]}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    def submit(self, graph: str, value: object, trace: str | None = None) -> str:
        """Start a run through the gateway; its id."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        if trace is not None:
            headers["traceparent"] = f"00-{trace}-{secrets.token_hex(8)}-01"
        url = f"{self.urls['gateway']}/v1/graphs/{graph}/runs"
        request = urllib.request.Request(url, json.dumps({"input": value}).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            run: str = json.load(answer)["run"]
        return run

    def result(self, run: str) -> Any:
        url = f"{self.urls['gateway']}/v1/runs/{run}/result?timeout=60"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.load(answer)

    def publish(self, topic: str, *values: object) -> None:
        """Events from outside, by the producer that Kafka's own image has not: a client in a role's container."""
        program = (
            "import asyncio, sys\n"
            "from aiokafka import AIOKafkaProducer\n"
            "async def main():\n"
            "    async with AIOKafkaProducer(bootstrap_servers='kafka:9092') as producer:\n"
            "        for value in sys.argv[2:]:\n"
            "            await producer.send_and_wait(sys.argv[1], value.encode())\n"
            "asyncio.run(main())\n"
        )
        told = [json.dumps(value) for value in values]
        self.compose("exec", "-T", "ingest", "python", "-c", program, topic, *told)

    def series(self, expression: str) -> list[Any]:
        """What an expression has now: by Grafana's datasource, or what that is provisioned with."""
        if self.has_grafana:
            path = "/api/datasources/proxy/uid/beluga-prometheus/api/v1/query"
            found = self.get("grafana", path, query=expression)
        else:
            found = self.get("prometheus", "/api/v1/query", query=expression)
        series: list[Any] = found["data"]["result"]
        return series

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire, with the service that they are about."""
        alerts = self.get("prometheus", "/api/v1/alerts")["data"]["alerts"]
        return {
            (alert["labels"]["alertname"], alert["labels"].get("service", ""))
            for alert in alerts
            if alert["state"] == "firing"
        }

    def spans(self, trace: str) -> list[tuple[str, str, dict[str, Any]]]:
        """Service, name and attributes of a trace's spans, as the store has them."""
        try:
            (found,) = self.get("jaeger", f"/api/traces/{trace}")["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code != http.HTTPStatus.NOT_FOUND:
                    raise
            return []
        services = {key: process["serviceName"] for key, process in found["processes"].items()}
        return [
            (
                services[span["processID"]],
                span["operationName"],
                {tag["key"]: tag["value"] for tag in span["tags"]}
                | {"span": span["spanID"], "parent": next((each["spanID"] for each in span["references"]), None)},
            )
            for span in found["spans"]
        ]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    stack = Stack()
    try:
        stack.start(*SERVICES, *(["grafana"] if stack.has_grafana else []))
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "20", "--remove-orphans")


def test_one_trace_spans_gateway_coordinator_workers_and_temporal(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    run = stack.submit("order", 4, trace)
    assert stack.result(run)["output"] == "signed 8, shipped"
    wanted = {
        ("beluga-gateway", "POST /v1/graphs/{graph}/runs", None),
        ("beluga-coordinator", "graph.invoke", "order"),
        ("beluga-worker", "graph.node.execute", "order"),
        ("beluga-workflows", "graph.invoke", "sale"),
        ("beluga-workflows", "graph.node.execute", "sale"),
    }
    spans: list[tuple[str, str, dict[str, Any]]] = []

    def is_whole() -> bool:
        spans[:] = stack.spans(trace)
        return wanted <= {(service, name, told.get("beluga.graph")) for service, name, told in spans}

    _until(is_whole, lambda: str(spans))
    # Nothing hangs in the air but the caller's own span, which is not in the store.
    known = {told["span"] for _, _, told in spans}
    assert [name for _, name, told in spans if told["parent"] not in known] == ["POST /v1/graphs/{graph}/runs"]
    inner = {told["span"] for service, name, told in spans if (service, name) == ("beluga-workflows", "graph.invoke")}
    (activity,) = (
        told for service, name, told in spans if (service, name) == ("beluga-workflows", "graph.node.execute")
    )
    assert activity["parent"] in inner


def test_a_stopped_worker_raises_an_alert_and_every_panel_has_series(stack: Stack) -> None:
    loading = lambda: load(stack)  # noqa: E731 - what goes on meanwhile
    loading()
    # Two workers: one is stopped as an operator does, the other dies with a node that it holds by a lease.
    stopped, other = stack.containers("worker")
    _docker("stop", "--time", "20", stopped)
    _until(lambda: ("BelugaProcessDown", "worker") in stack.firing())
    assert ("BelugaNoWorker", "") not in stack.firing()
    stack.submit("sleeper", 30)
    _until(lambda: bool(stack.series("orchestration_nodes_in_flight > 0")))
    _docker("kill", other)
    _until(lambda: bool(stack.series("orchestration_lease_expiries_total > 0")))
    stack.submit("words", 1)
    _until(lambda: ("BelugaNoWorker", "") in stack.firing())
    _until(lambda: bool(stack.series("orchestration_stuck_runs > 0")))
    stack.start("worker")

    missing: list[tuple[str, str]] = []

    def all_there() -> bool:
        loading()
        missing[:] = [(title, each) for title, each in panels(stack) if not stack.series(each)]
        return not missing

    _until(all_there, lambda: f"no series: {missing}\n{stack.logs()}")
    assert ("BelugaDeadLetters", "") in stack.firing()
    _until(lambda: not {"BelugaNoWorker", "BelugaProcessDown"} & {name for name, _ in stack.firing()})


def test_the_datasources_reach_what_runs(stack: Stack) -> None:
    """By the addresses that they are provisioned with, from inside of the network."""
    provisioned = yaml.safe_load((OBSERVABILITY / "grafana/provisioning/datasources/datasources.yml").read_text())
    paths = {"prometheus": "/-/ready", "jaeger": "/api/services"}
    for source in provisioned["datasources"]:
        program = "import sys, urllib.request; sys.exit(urllib.request.urlopen(sys.argv[1], timeout=10).status != 200)"
        stack.compose("exec", "-T", "ingest", "python", "-c", program, source["url"] + paths[source["type"]])
    assert set(stack.get("jaeger", "/api/services")["data"]) >= {f"beluga-{role}" for role in ROLES}


def load(stack: Stack) -> None:
    """Something of everything: runs that end well and badly, an event, and one that is no order."""
    for graph, value in (("order", 1), ("words", 1), ("words", -1), ("broken", 1)):
        stack.submit(graph, value)
    stack.publish("orders.arrived", {"n": 1}, {"no": "order"})


def panels(stack: Stack) -> list[tuple[str, str]]:
    """Every expression of every panel, with its title; as Grafana has it, where it runs."""
    if stack.has_grafana:
        dashboards = [stack.get("grafana", "/api/dashboards/uid/beluga")["dashboard"]]
    else:
        dashboards = [json.loads(path.read_text()) for path in (OBSERVABILITY / "grafana/dashboards").glob("*.json")]
    return [
        (panel["title"], target["expr"])
        for dashboard in dashboards
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def _until(holds: Callable[[], bool], explain: Callable[[], str] = lambda: "it did not come to that") -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, explain()
        time.sleep(1)


def _docker(*arguments: str) -> None:
    subprocess.run(["docker", *arguments], check=True, capture_output=True, timeout=PATIENCE)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE).returncode == 0
