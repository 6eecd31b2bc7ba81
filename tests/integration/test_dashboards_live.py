"""Every panel shows series of a real engine, and alerts fire, in a real Prometheus."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.brokers import free_port
from tests.observed import Deployed, ask, started
from tests.otlp import receiving

PROMETHEUS = os.environ.get("BELUGA_PROMETHEUS") or shutil.which("prometheus")
OBSERVABILITY = Path(__file__).resolve().parents[2] / "deploy" / "observability"
PATIENCE = 90.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        PROMETHEUS is None and "BELUGA_REQUIRE_PROMETHEUS" not in os.environ,
        reason="there is no `prometheus`, and BELUGA_PROMETHEUS names none",
    ),
]


class Prometheus:
    """A server that scrapes the roles, by the rules that are shipped."""

    def __init__(self, folder: Path, ports: Mapping[str, str]) -> None:
        """`ports`: where each role shows its metrics."""
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        scraped = {
            "job_name": "beluga",
            "static_configs": [
                {"targets": [f"127.0.0.1:{port}"], "labels": {"service": role}} for role, port in ports.items()
            ],
        }
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(OBSERVABILITY / "rules.yml")],
            "scrape_configs": [scraped],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    @contextmanager
    def running(self) -> Iterator[None]:
        assert PROMETHEUS is not None, "BELUGA_REQUIRE_PROMETHEUS is set, and there is no prometheus"
        command = [
            PROMETHEUS,
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'tsdb'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                yield
            finally:
                process.terminate()

    def is_ready(self) -> bool:
        try:
            return ask(f"{self.url}/-/ready")[0] == 200
        except urllib.error.URLError:
            return False

    def ask(self, path: str, **query: str) -> Any:
        status, body = ask(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        assert status == 200, body
        return json.loads(body)["data"]

    def series(self, expression: str) -> int:
        """How many series an expression has now."""
        return len(self.ask("query", query=expression)["result"])

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}


@contextmanager
def orchestrating(port: str, folder: Path) -> Iterator[None]:
    """A program that is none of the engine's roles, and executes workflows by an orchestrator."""
    command = [sys.executable, "-m", "tests.acceptance.observed_stack.orchestrating", f"127.0.0.1:{port}", "dbos"]
    environ = {**os.environ, "BELUGA_DBOS_DATABASE": str(folder / "dbos.sqlite")}
    with (
        (folder / "orchestrating.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def _until(holds: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        meanwhile()
        time.sleep(0.2)


def expressions() -> list[tuple[str, str]]:
    """Every expression of every panel, with the panel's title."""
    return [
        (panel["title"], target["expr"])
        for path in sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]


def test_every_alert_is_raised_by_what_it_is_about() -> None:
    assert PROMETHEUS is not None
    promtool = Path(PROMETHEUS).with_name("promtool")
    command = [str(promtool), "test", "rules", str(OBSERVABILITY / "rules_test.yml")]
    played = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert played.returncode == 0, played.stdout + played.stderr


def test_every_panel_shows_a_run_and_a_stopped_worker_raises_an_alert(broker: str, tmp_path: Path) -> None:
    quick = {"lease_after_seconds": "0.3", "heartbeat_seconds": "0.5", "lease_seconds": "3", "stuck_after_seconds": "1"}
    with receiving() as receiver, started(Deployed(broker, tmp_path, receiver, **quick)) as deployed:
        ports = {role: engine.environ["BELUGA_PROBE_ADDRESS"] for role, engine in deployed.roles.items()}
        ports["orchestrator"] = str(free_port())
        prometheus = Prometheus(tmp_path, ports)
        worker = deployed.roles["worker"]

        def load() -> None:
            for graph in ("diamond", "words", "broken"):
                deployed.run(graph, 1)
            deployed.publish("orders", {"key": "k", "n": 1})
            deployed.publish("orders", {"no": "order"})

        with prometheus.running(), orchestrating(ports["orchestrator"], tmp_path):
            _until(prometheus.is_ready)
            load()
            deployed.start("words", -1)
            # A worker dies with a node that it holds by a lease, and comes again.
            deployed.start("sleeper", 15)
            _until(lambda: prometheus.series("min_over_time(orchestration_nodes_in_flight[4s]) > 0"))
            os.kill(worker.pid, signal.SIGKILL)
            worker.stop()
            _until(lambda: prometheus.series("orchestration_lease_expiries_total > 0"))
            _until(lambda: prometheus.series("orchestration_stuck_runs > 0"))
            _until(lambda: {"BelugaNoWorker", "BelugaProcessDown"} <= prometheus.firing())
            worker.start(groups=2)
            missing: list[tuple[str, str]] = []

            deployed.start("words", -2)

            def all_there() -> bool:
                missing[:] = [(title, each) for title, each in expressions() if not prometheus.series(each)]
                return not missing

            try:
                _until(all_there, load)
            except AssertionError as error:
                raise AssertionError(f"no series: {missing}") from error
            assert "BelugaDeadLetters" in prometheus.firing()
            (failed,) = (each for title, each in expressions() if title == "Attempts that failed")

            def failing() -> set[str]:
                return {found["metric"]["node"] for found in prometheus.ask("query", query=failed)["result"]}

            # A rate is there from the second scrape on.
            _until(lambda: failing() == {"breaks", "first"}, load)
            _until(lambda: not {"BelugaNoWorker", "BelugaProcessDown"} & prometheus.firing(), load)
