"""Apache Kafka from its jars, without Docker."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from .answering import HOST, READY_WITHIN, free_port, wait_until_ready
from .broker import BrokerUnavailable, Door
from .ending import end
from .kafka import BACK_WITHIN, BRIEF, CLUSTER, SETTINGS

_REPO = Path(__file__).resolve().parents[2]
_STOP_WITHIN = 60.0
_COPIES = ("offsets.topic.replication.factor", "transaction.state.log.replication.factor")


@dataclass(frozen=True, slots=True)
class Seat:
    """One node's place in its cluster: its number, and the ports of the controllers of nodes 1, 2 and so on."""

    node: int
    controllers: tuple[int, ...]

    def settings(self, address: str) -> dict[str, str]:
        controller = f"{HOST}:{self.controllers[self.node - 1]}"
        voters = (f"{number}@{HOST}:{port}" for number, port in enumerate(self.controllers, 1))
        return {
            "node.id": str(self.node),
            "listeners": f"PLAINTEXT://{address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{address}",
            "controller.quorum.voters": ",".join(voters),
        } | dict.fromkeys(_COPIES, str(len(self.controllers)))


class JarKafka:
    """Apache Kafka from its jars, without Docker: Java, free ports of the loopback, a temporary folder."""

    real = True

    def __init__(
        self,
        jars: Path | None = None,
        *,
        heap: str = "1g",
        door: Door | None = None,
        brief: bool = False,
        seat: Seat | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        found = os.environ.get("KAFKA_JARS")
        self._jars = jars or (Path(found) if found else _REPO / "build" / "kafka-jars")
        self._heap = heap
        self._brief = brief
        self._folder = Path()
        self._process: subprocess.Popen[bytes] | None = None
        seat = seat or Seat(1, (free_port(),))
        self.address = f"{HOST}:{free_port()}"
        self.title = "Apache Kafka from its jars"
        self._settings = {**SETTINGS, **seat.settings(self.address), **settings}
        if door is not None:
            self._settings = door.added_to(self._settings, HOST)

    @property
    def pid(self) -> int:
        """The broker's process, for tests that pause or kill it."""
        if self._process is None:
            raise BrokerUnavailable("the broker is not running")
        return self._process.pid

    def start(self) -> None:
        self.prepare()
        self._run()

    def prepare(self) -> None:
        """All but its process: the jars, and an empty folder."""
        if not any(self._jars.glob("kafka_*.jar")):
            self._fetch_jars()
        self._folder = Path(tempfile.mkdtemp(prefix="beluga-kafka-"))
        settings = self._settings | {"log.dirs": str(self._folder / "data")}
        config = self._folder / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        self._format()

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

    def lose(self) -> None:
        """`kill -9`, and start it again with an empty disk: what it had is with the others of its cluster, or gone."""
        self._halt(signal.SIGKILL)
        shutil.rmtree(self._folder / "data")
        self._format()
        self._run()

    def pause(self) -> None:
        """Let it stand still."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _format(self) -> None:
        with (self._folder / "format.log").open("wb") as log:
            config = self._folder / "server.properties"
            formatted = self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", config, log=log)
            if formatted.wait(timeout=READY_WITHIN) != 0:
                raise self._failed("could not format its folder", "format.log")

    def _run(self) -> None:
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start its process, and do not wait for it."""
        with (self._folder / "broker.log").open("ab") as log:
            config = self._folder / "server.properties"
            self._process = self._java("kafka.Kafka", config, log=log, heap=self._heap)

    def wait_until_ready(self) -> None:
        """Return when it answers. Raises `BrokerUnavailable`."""
        if not wait_until_ready(self.address, self._process, within=BACK_WITHIN):
            self._halt(signal.SIGKILL)
            raise self._failed("did not start", "broker.log")

    def _java(self, main: str, *arguments: str | Path, log: IO[bytes], heap: str = "256m") -> subprocess.Popen[bytes]:
        logging = _REPO / "deploy" / "kafka" / "log4j2.properties"
        options = [
            *(BRIEF if self._brief else ()),
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
        end(process, how, patience=_STOP_WITHIN)

    def _failed(self, what: str, log: str) -> BrokerUnavailable:
        output = (self._folder / log).read_text(errors="replace")[-2000:]
        self.stop()
        return BrokerUnavailable(f"Apache Kafka from its jars {what}:\n{output}")
