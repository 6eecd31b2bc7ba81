"""An engine whose every role is a process of its own, with a gateway, all of them observed."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer

from tests.brokers import free_port
from tests.engine import Engine
from tests.gateway import GatewayProcess
from tests.otlp import Receiver

AGENTS = Path(__file__).parent / "integration" / "observed_agents"
ROLES = {"coordinator": 1, "worker": 1, "ingest": 2}


def topics_of(prefix: str) -> str:
    """The declaration of the topics that the graphs listen to."""
    names = (f"{prefix}-in.{name}" for name in ("a", "b", "orders"))
    return "topics:\n" + "".join(f"  - name: {name}\n    partitions: 1\n" for name in names)


class Deployed:
    """The processes, and the receiver of what they export."""

    def __init__(self, broker: str, folder: Path, receiver: Receiver, **settings: str) -> None:
        self.broker = broker
        self.receiver = receiver
        self.roles: dict[str, Engine] = {}
        prefix = Engine(broker, folder).prefix
        for role in ROLES:
            own = folder / role
            own.mkdir()
            engine = self.roles[role] = Engine(
                broker,
                own,
                role=role,
                prefix=prefix,
                agents=str(AGENTS),
                blobs=str(folder / "blobs"),
                topics=str(folder / "topics"),
                telemetry="otlp,prometheus",
                probe_address=str(free_port()),
                **settings,
            )
            engine.prefix = prefix
            engine.environ |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "OTEL_METRIC_EXPORT_INTERVAL": "500",
            }
        self.prefix = prefix
        (folder / "topics").mkdir()
        (folder / "topics" / "in.yaml").write_text(topics_of(prefix))
        self.gateway = GatewayProcess(self.roles["ingest"])
        self.gateway._environ |= {
            "BELUGA_TELEMETRY": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def ask(self, role: str, path: str) -> tuple[int, bytes]:
        """What a role's process answers."""
        port = self.roles[role].environ["BELUGA_PROBE_ADDRESS"]
        return ask(f"http://127.0.0.1:{port}{path}")

    def run(self, graph: str, value: object, trace: str | None = None) -> str:
        """Run a graph through the gateway; its id once it has ended."""
        run = self.start(graph, value, trace)
        ask(f"{self.gateway.url}/v1/runs/{run}/result?timeout=30")
        return run

    def start(self, graph: str, value: object, trace: str | None = None) -> str:
        """Start a run through the gateway; its id."""
        headers = {"Content-Type": "application/json"} | ({} if trace is None else {"traceparent": trace})
        body = json.dumps({"input": value}).encode()
        request = urllib.request.Request(f"{self.gateway.url}/v1/graphs/{graph}/runs", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            run: str = json.load(answer)["run"]
        return run

    def publish(self, topic: str, value: object, trace: str | None = None) -> None:
        """Send an event."""

        async def send() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self.broker) as producer:
                headers = [] if trace is None else [("traceparent", trace.encode())]
                await producer.send_and_wait(f"{self.prefix}-in.{topic}", json.dumps(value).encode(), headers=headers)

        asyncio.run(send())


def ask(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=40) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@contextmanager
def started(deployed: Deployed) -> Iterator[Deployed]:
    """All of it, for as long as the block lasts."""
    begun: list[Engine | GatewayProcess] = []
    try:
        for role, engine in deployed.roles.items():
            begun.append(engine)
            engine.start(groups=ROLES[role])
        begun.append(deployed.gateway)
        deployed.gateway.start()
        yield deployed
    finally:
        for process in reversed(begun):
            process.stop()
