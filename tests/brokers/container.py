"""Apache Kafka in Docker, through testcontainers."""

import gc
import os
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .answering import HOST, READY_WITHIN, free_port, wait_until_ready
from .broker import BrokerUnavailable, Door
from .kafka import BACK_WITHIN, BRIEF, KAFKA_IMAGE, SETTINGS

TEST_LABEL = {"beluga.test": os.environ.get("BELUGA_TEST_LABEL", "local")}
"""Containers carry it, so that `.ci/run` finds those of a test session that was killed."""


class KafkaContainer:
    """Apache Kafka in Docker, through testcontainers.

    A generic container: testcontainers' own class for Kafka expects the scripts of another vendor's image.
    """

    real = True

    def __init__(
        self,
        image: str | None = None,
        *,
        door: Door | None = None,
        brief: bool = False,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._door = door
        self._brief = brief
        self._more = settings
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

        settings = SETTINGS | {
            "listeners": f"PLAINTEXT://:{self._port},CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": "1@localhost:9093",
            **self._more,
        }
        if self._door is not None:
            settings = self._door.added_to(settings, "")
        container: Any = DockerContainer(self._image).with_kwargs(labels=TEST_LABEL)
        for key, value in settings.items():
            container.with_env("KAFKA_" + key.replace("-", "___").replace(".", "_").upper(), value)
        container.with_env("KAFKA_HEAP_OPTS", "-Xmx1g -Xms256m")
        if self._brief:
            container.with_env("KAFKA_JVM_PERFORMANCE_OPTS", " ".join(BRIEF))
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
            raise BrokerUnavailable(f"{self._image} did not answer within {READY_WITHIN:.0f} s:\n{output[-2000:]}")

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
        if not wait_until_ready(self.address, within=BACK_WITHIN):
            raise BrokerUnavailable(f"{self._image} did not come back within {BACK_WITHIN:.0f} s")


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


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
