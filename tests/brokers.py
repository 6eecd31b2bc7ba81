"""The brokers that tests and benchmarks run against, and the choice among them.

`BELUGA_TEST_BROKER` chooses: an address (`127.0.0.1:9092`), or `docker`, `jars` or `embedded`. Without it the
best that is here: Apache Kafka in Docker through testcontainers, else the embedded broker.
`BELUGA_REQUIRE_KAFKA=1` makes it an error not to have Apache Kafka itself.

    python -m tests.brokers jars      # Apache Kafka without Docker, until Ctrl-C
"""

import gc
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

HOST = "127.0.0.1"
KAFKA_IMAGE = "apache/kafka:4.1.0"
TEST_LABEL = {"beluga.test": os.environ.get("BELUGA_TEST_LABEL", "local")}
"""Containers carry it, so that `.ci/run` finds those of a test session that was killed."""

_REPO = Path(__file__).resolve().parent.parent
_READY_WITHIN = 60.0
_BACK_WITHIN = 180.0
"""A broker that was killed looks through all that it has, on a machine where many do something else."""

_STOP_WITHIN = 60.0
_CLUSTER = "5L6g3nShT-eMCtK--X86sw"  # any id will do: one broker is the whole cluster

_SETTINGS = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    # One broker holds every replica.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    # Hundreds of small groups come and go: no waiting for more members, and few partitions of bookkeeping.
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # A topic that nobody declared is a mistake, and must look like one.
    "auto.create.topics.enable": "false",
}
"""One KRaft node, in Kafka's own names; the container gets them as KAFKA_... variables."""

_BRIEF = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Options of Java for a broker that lives for minutes: else it spends more on compiling itself than on its work."""


class BrokerUnavailable(Exception):
    """This kind of broker cannot be had on this machine; the message says why."""


class Broker(Protocol):
    """A broker that a session starts, uses and stops."""

    real: bool
    """Whether it is Apache Kafka itself."""

    @property
    def address(self) -> str:
        """`host:port` for clients on this machine."""

    @property
    def title(self) -> str:
        """What it is, in a line of the test report."""

    def start(self) -> None:
        """Return when it answers. Raises `BrokerUnavailable`."""

    def stop(self) -> None:
        """Leave nothing behind. May be called when it never started."""


@runtime_checkable
class HarmableBroker(Broker, Protocol):
    """A broker of our own: what it holds survives whatever is done to it, and each method waits for the outcome."""

    def restart(self) -> None:
        """Stop it cleanly and start it again with what it had, as an upgrade of a broker does."""

    def crash(self) -> None:
        """`kill -9`, and start it again with what it had."""

    def down(self) -> None:
        """Stop it cleanly: connections are refused."""

    def up(self) -> None:
        """Start it again with what it had."""

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nothing is answered."""

    def resume(self) -> None:
        """Let it go on."""


class Door(Protocol):
    """Another listener of a broker, with settings of its own; tests/secured.py has one that asks who is there."""

    port: int

    def added_to(self, settings: dict[str, str], host: str) -> dict[str, str]:
        """The broker's settings with this listener among them, bound to `host`."""


class ExternalBroker:
    """Somebody else's broker: used, never stopped."""

    real = True

    def __init__(self, address: str) -> None:
        self.address = address
        self.title = "the broker of BELUGA_TEST_BROKER"

    def start(self) -> None:
        if not _answers(self.address):
            raise BrokerUnavailable(f"no Kafka broker answers at {self.address}")

    def stop(self) -> None:
        return


class KafkaContainer:
    """Apache Kafka in Docker, through testcontainers.

    A generic container: testcontainers' own class for Kafka expects the scripts of another vendor's image.
    """

    real = True

    def __init__(self, image: str | None = None, *, door: "Door | None" = None, brief: bool = False) -> None:
        self._door = door
        self._brief = brief
        self._image = image or os.environ.get("KAFKA_IMAGE") or KAFKA_IMAGE
        self._port = free_port()
        self._container: Any = None
        self.address = f"{HOST}:{self._port}"
        self.title = f"Apache Kafka in testcontainers ({self._image})"

    def start(self) -> None:
        with warnings.catch_warnings():
            # docker leaves the socket of a connection that was refused to the collector, which would warn of it.
            warnings.simplefilter("ignore", ResourceWarning)
            problem = _docker_problem()
            gc.collect()
        if problem is not None:
            raise BrokerUnavailable(f"Docker does not answer ({problem})")
        # Ryuk would remove forgotten containers, but is one more image to pull; `stop` and the label do.
        os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
        # Imported here: without Docker nothing of testcontainers is needed, and it takes 0.3 s to import.
        from docker.errors import DockerException  # noqa: PLC0415
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415

        settings = _SETTINGS | {
            "listeners": f"PLAINTEXT://:{self._port},CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": "1@localhost:9093",
        }
        if self._door is not None:
            settings = self._door.added_to(settings, "")
        container: Any = DockerContainer(self._image).with_kwargs(labels=TEST_LABEL)
        for key, value in settings.items():
            container.with_env("KAFKA_" + key.replace("-", "___").replace(".", "_").upper(), value)
        container.with_env("KAFKA_HEAP_OPTS", "-Xmx1g -Xms256m")
        if self._brief:
            container.with_env("KAFKA_JVM_PERFORMANCE_OPTS", " ".join(_BRIEF))
        # A fixed port, known before the start: the broker tells its clients the address to come back to.
        # (host, port) keeps it on the loopback; the declared type knows ports only.
        container.ports[str(self._port)] = (HOST, self._port)
        if self._door is not None:
            container.ports[str(self._door.port)] = (HOST, self._door.port)
        try:
            container.start()
        except DockerException as error:
            raise BrokerUnavailable(f"the image {self._image} cannot be run ({_first_line(error)})") from error
        self._container = container
        if not wait_until_ready(self.address):
            output = b"\n".join(container.get_logs()).decode(errors="replace")
            self.stop()
            raise BrokerUnavailable(f"{self._image} did not answer within {_READY_WITHIN:.0f} s:\n{output[-2000:]}")

    def stop(self) -> None:
        if self._container is not None:
            self._container.stop()
            self._container = None

    def restart(self) -> None:
        """Stop it cleanly and start it again with what it had, as an upgrade of a broker does."""
        self._container.get_wrapped_container().restart()
        self._come_back()

    def crash(self) -> None:
        """`kill -9`, and start it again with what it had."""
        self._container.get_wrapped_container().kill()
        self.up()

    def down(self) -> None:
        """Stop it cleanly."""
        self._container.get_wrapped_container().stop()

    def up(self) -> None:
        """Start it again with what it had."""
        self._container.get_wrapped_container().start()
        self._come_back()

    def pause(self) -> None:
        """Let it stand still."""
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        """Let it go on."""
        self._container.get_wrapped_container().unpause()

    def _come_back(self) -> None:
        if not wait_until_ready(self.address, within=_BACK_WITHIN):
            raise BrokerUnavailable(f"{self._image} did not come back within {_BACK_WITHIN:.0f} s")


class JarKafka:
    """Apache Kafka from its jars, without Docker: Java, free ports of the loopback, a temporary folder."""

    real = True

    def __init__(
        self, jars: Path | None = None, *, heap: str = "1g", door: "Door | None" = None, brief: bool = False
    ) -> None:
        found = os.environ.get("KAFKA_JARS")
        self._jars = jars or (Path(found) if found else _REPO / "build" / "kafka-jars")
        self._heap = heap
        self._brief = brief
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        port, controller = free_port(), free_port()
        self.address = f"{HOST}:{port}"
        self.title = "Apache Kafka from its jars"
        self._settings = _SETTINGS | {
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
        }
        if door is not None:
            self._settings = door.added_to(self._settings, HOST)

    @property
    def pid(self) -> int:
        """The broker's process, for tests that pause or kill it."""
        if self._process is None:
            raise BrokerUnavailable("the broker is not running")
        return self._process.pid

    def start(self) -> None:
        if not any(self._jars.glob("kafka_*.jar")):
            self._fetch_jars()
        self._folder = Path(tempfile.mkdtemp(prefix="beluga-kafka-"))
        settings = self._settings | {"log.dirs": str(self._folder / "data")}
        config = self._folder / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        with (self._folder / "format.log").open("wb") as log:
            formatted = self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", config, log=log)
            if formatted.wait(timeout=_READY_WITHIN) != 0:
                raise self._failed("could not format its folder", "format.log")
        self._run()

    def stop(self) -> None:
        self._halt(signal.SIGTERM)
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = Path()

    def restart(self) -> None:
        """Stop it cleanly and start it again with what it had, as an upgrade of a broker does."""
        self._halt(signal.SIGTERM)
        self._run()

    def crash(self) -> None:
        """`kill -9`, and start it again with what it had."""
        self._halt(signal.SIGKILL)
        self._run()

    def down(self) -> None:
        """Stop it cleanly."""
        self._halt(signal.SIGTERM)

    def up(self) -> None:
        """Start it again with what it had."""
        self._run()

    def pause(self) -> None:
        """Let it stand still."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _run(self) -> None:
        with (self._folder / "broker.log").open("ab") as log:
            config = self._folder / "server.properties"
            self._process = self._java("kafka.Kafka", config, log=log, heap=self._heap)
        if not wait_until_ready(self.address, self._process, within=_BACK_WITHIN):
            self._halt(signal.SIGKILL)
            raise self._failed("did not start", "broker.log")

    def _java(self, main: str, *arguments: str | Path, log: IO[bytes], heap: str = "256m") -> subprocess.Popen[bytes]:
        logging = _REPO / "deploy" / "kafka" / "log4j2.properties"
        options = [
            *(_BRIEF if self._brief else ()),
            f"-Xmx{heap}",
            f"-Dlog4j2.configurationFile={logging}",
            "-cp",
            f"{self._jars}/*",
        ]
        try:
            return subprocess.Popen(["java", *options, main, *map(str, arguments)], stdout=log, stderr=log)
        except FileNotFoundError as error:
            raise BrokerUnavailable("java is not installed") from error

    def _fetch_jars(self) -> None:
        script = _REPO / "deploy" / "kafka" / "jars.sh"
        fetched = subprocess.run(["bash", script, self._jars], capture_output=True, text=True, check=False)
        if fetched.returncode != 0:
            raise BrokerUnavailable(f"Kafka's jars cannot be had: {fetched.stderr.strip()[-500:]}")

    def _halt(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        _end(process, how, patience=_STOP_WITHIN)

    def _failed(self, what: str, log: str) -> BrokerUnavailable:
        output = (self._folder / log).read_text(errors="replace")[-2000:]
        self.stop()
        return BrokerUnavailable(f"Apache Kafka from its jars {what}:\n{output}")


class EmbeddedBroker:
    """The broker that `beluga dev` starts: one small process that speaks a subset of Kafka's protocol."""

    real = False

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._port = free_port()
        self.address = f"{HOST}:{self._port}"
        self.title = "the embedded broker (noida-db)"

    def start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="beluga-embedded-"))
        # The program itself, not the wheel's script around it: that one does not pass a signal on.
        with as_file(files("noida_db") / "noida-db") as program, (self._folder / "log").open("wb") as log:
            program.chmod(0o755)
            options = [
                "--only",
                "kafka",
                "--kafka-port",
                str(self._port),
                "--data-dir",
                str(self._folder / "data"),
            ]
            self._process = subprocess.Popen([program, "start", *options], stdout=log, stderr=log)
        if not wait_until_ready(self.address, self._process):
            output = (self._folder / "log").read_text(errors="replace")[-2000:]
            self.stop()
            raise BrokerUnavailable(f"the embedded broker did not start:\n{output}")

    def stop(self) -> None:
        if self._process is not None:
            _end(self._process, signal.SIGTERM, patience=5)
            self._process = None
        if self._folder != Path():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = Path()


def start_broker(environ: Mapping[str, str] = os.environ, *, brief: bool = False) -> Broker:
    """The best broker there is, started; `brief` if it is for minutes. Raises `BrokerUnavailable` if that is none."""
    asked = environ.get("BELUGA_TEST_BROKER", "")
    real_only = environ.get("BELUGA_REQUIRE_KAFKA", "") not in {"", "0"}
    candidates: list[Broker]
    match asked:
        case "docker":
            candidates = [KafkaContainer(brief=brief)]
        case "jars":
            candidates = [JarKafka(brief=brief)]
        case "embedded":
            candidates = [EmbeddedBroker()]
        case "":
            kafka = KafkaContainer(brief=brief)
            candidates = [kafka] if real_only else [kafka, EmbeddedBroker()]
        case address:
            candidates = [ExternalBroker(address)]
    reasons: list[str] = []
    for broker in candidates:
        if real_only and not broker.real:
            raise BrokerUnavailable(f"BELUGA_REQUIRE_KAFKA is set, and {broker.title} is not Apache Kafka")
        try:
            broker.start()
        except BrokerUnavailable as reason:
            reasons.append(str(reason))
            continue
        return broker
    raise BrokerUnavailable("; ".join(reasons))


def _docker_problem() -> str | None:
    """Why Docker does not answer; None when it does."""
    import docker  # noqa: PLC0415 - it takes long to import, and is needed only here
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except (DockerException, OSError) as error:
        return _first_line(error)
    return None


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(
    address: str, process: "subprocess.Popen[bytes] | None" = None, *, within: float = _READY_WITHIN
) -> bool:
    """Whether a broker answers there before the time (seconds) is up, and before its process ends."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            return False
        if _answers(address):
            return True
        time.sleep(0.05)
    return False


def _answers(address: str) -> bool:
    """Ask which versions of the API it speaks; an open port alone may be Docker's, with nobody behind it."""
    host, _, port = address.rpartition(":")
    api_versions, version, correlation, no_client_id = 18, 0, 1, -1
    request = struct.pack(">hhih", api_versions, version, correlation, no_client_id)
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=2) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        return len(connection.recv(8)) == 8
    return False


def _end(process: "subprocess.Popen[bytes]", how: signal.Signals, patience: float) -> None:
    process.send_signal(how)
    try:
        process.wait(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _main() -> None:
    """Run one kind of broker until Ctrl-C or SIGTERM."""
    kinds = {"docker": KafkaContainer, "jars": JarKafka, "embedded": EmbeddedBroker}
    kind = kinds.get(sys.argv[1] if len(sys.argv) > 1 else "jars")
    if kind is None:
        sys.exit(f"usage: python -m tests.brokers [{'|'.join(kinds)}]")
    broker: Broker = kind()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        broker.start()
        print(f"{broker.title} at {broker.address} (Ctrl-C stops it)", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print()
    except BrokerUnavailable as reason:
        sys.exit(str(reason))
    finally:
        broker.stop()


if __name__ == "__main__":
    _main()
