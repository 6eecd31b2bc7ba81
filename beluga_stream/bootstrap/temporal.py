"""Temporal, wired by settings: connections, the port `Workflows`, workers, and the provider `temporal`."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import metrics, trace

from ..adapters.files.blobs import FileBlobs
from ..adapters.memory.clock import SystemClock
from ..adapters.memory.log import MemoryLog
from ..adapters.otel.telemetry import OtelTelemetry
from ..adapters.processes.isolation import Isolated
from ..adapters.processes.pool import Processes
from ..api.resource import open_resource
from ..api.work import Work
from ..application.execution.execution import Executions
from ..domain.definition import Definition
from ..domain.ids import GraphHash
from ..errors import InvalidConfig
from ..ports.handlers import Deployment
from ..ports.log import Appender, Reader
from ..ports.spans import NoSpans, Spans
from ..ports.telemetry import NoTelemetry, Telemetry
from ..ports.workflows import Workflows
from . import isolated
from .child import prepare_child
from .connection import kafka, topics
from .deployment import Programs
from .encryption import cipher_of, payloads_of
from .observing import global_spans, spans_of
from .settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client

    from ..adapters.temporal.connection import TemporalConnection
    from ..adapters.temporal.worker import TemporalWorker


_LOG_BYTES = 64 * 1024 * 1024
"""What a worker keeps of what its runs tell in its own memory: nodes that read a stream are not so far behind it."""


def temporal(settings: Settings) -> "TemporalConnection":
    """How this process reaches Temporal. Raises `InvalidConfig` without its package."""
    check_installed()
    from ..adapters.temporal.connection import TemporalConnection  # noqa: PLC0415 - its package is an optional extra

    key = settings.temporal_api_key
    return TemporalConnection(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        tls=settings.temporal_tls or key is not None,
        authority=settings.temporal_tls_ca,
        certificate=settings.temporal_tls_cert,
        key=settings.temporal_tls_key,
        server_name=settings.temporal_tls_server_name,
        api_key=None if key is None else key.get_secret_value(),
    )


def check_installed() -> None:
    """Raises `InvalidConfig` when the package is not there."""
    if find_spec("temporalio") is None:
        raise InvalidConfig("durable workflows need the package temporalio: pip install 'beluga-stream[temporal]'")


class SharedClient:
    """One client for whatever this process asks of Temporal, connected when it is first called for.

    Calls raise as `TemporalConnection.client` does while there is none. The SDK closes its connection with the client.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection = temporal(settings)
        self._cipher = cipher_of(settings)
        self._client: Client | None = None

    async def __call__(self) -> "Client":
        if self._client is not None:
            return self._client
        return self._first(await self._connection.client(self._cipher))

    async def check(self) -> None:
        """Raises when Temporal does not answer, or says that it does not serve."""
        from ..adapters.temporal.calls import check_health  # noqa: PLC0415 - see temporal()

        await check_health(await self())

    def _first(self, connected: "Client") -> "Client":
        """Several may try at once, since none waits for another's patience: whoever is first has it for all."""
        if self._client is None:
            self._client = connected
        return self._client


def workflows_of(
    settings: Settings, connect: SharedClient, find: Callable[[GraphHash], Definition | None], spans: Spans
) -> Workflows:
    """The port over Temporal. `find` knows the definitions that are started."""
    from ..adapters.temporal.workflows import TemporalWorkflows  # noqa: PLC0415 - see temporal()

    return TemporalWorkflows(
        connect,
        topics(settings),
        find,
        task_queue=settings.temporal_task_queue,
        spans=spans,
    )


def worker_of(  # noqa: PLR0913 - it is wired in one place, by name
    settings: Settings,
    client: "Client",
    *,
    deployment: Deployment,
    appender: Appender,
    reader: Reader,
    queues: Sequence[str] = ("default",),
    workflows: Sequence[type] = (),
    activities: Sequence[Callable[..., Any]] = (),
    tells: bool = True,
    telemetry: Telemetry | None = None,
    spans: Spans | None = None,
) -> "TemporalWorker":
    """A worker of durable graphs over a log. Left, it lets executions finish, then gives them back."""
    from ..adapters.temporal.activities import Activities  # noqa: PLC0415 - see temporal()
    from ..adapters.temporal.worker import TemporalWorker  # noqa: PLC0415

    name = f"{socket.gethostname()}:{os.getpid()}"
    made = Activities(
        client=client,
        topics=topics(settings),
        deployment=deployment,
        appender=appender,
        reader=reader,
        payloads=payloads_of(settings),
        blobs=FileBlobs(settings.blobs),
        executions=Executions(
            threads=settings.worker_threads,
            processes=Processes(settings.worker_processes, partial(prepare_child, settings.agents)),
            isolation=Isolated(settings.worker_processes, isolated.command(settings.agents)),
            open_resource=open_resource,
        ),
        clock=SystemClock(),
        name=name,
        telemetry=telemetry or NoTelemetry(),
        spans=spans or NoSpans(),
        slots=settings.worker_slots,
    )
    return TemporalWorker(
        client,
        made,
        task_queue=settings.temporal_task_queue,
        queues=queues,
        tells=tells,
        workflows=workflows,
        more_activities=activities,
        slots=settings.worker_slots,
        grace_seconds=settings.shutdown_grace_seconds,
        identity=name,
    )


@asynccontextmanager
async def temporal_worker(
    *graphs: Work[Any, Any],
    workflows: Sequence[type] = (),
    activities: Sequence[Callable[..., Any]] = (),
    settings: Settings | None = None,
    log: Literal["kafka", "memory"] = "kafka",
    meter: metrics.Meter | None = None,
    tracer: trace.Tracer | None = None,
) -> AsyncIterator[None]:
    """Run durable graphs, and workflows and activities of your own, in this process, for as long as it is entered.

    What runs tell (statuses, chunks) goes to the engine's topics; with `log="memory"` it stays in this process, which
    keeps the last 64 MiB of it, so that no broker is needed: for tests, for trying out, and where nobody reads
    streams. Such a worker takes none of the runs that an engine starts, nor those whose stream is read: they have task
    queues of their own.

    `meter` and `tracer` are OpenTelemetry's, by default those that this process has set. Runs that were started in a
    trace tell their spans here.

    Activities that are plain functions run in threads. Raises `TemporalUnavailable`, `LogUnavailable` without a broker,
    and `InvalidConfig` for workflows and activities that are none.
    """
    given = settings or Settings.load()
    async with AsyncExitStack() as stack:
        client = await temporal(given).client(cipher_of(given))
        deployment = Programs(graphs)
        appender, reader = await _log(given, log, deployment.queues, stack)
        await stack.enter_async_context(
            worker_of(
                given,
                client,
                deployment=deployment,
                appender=appender,
                reader=reader,
                queues=given.queues or deployment.queues,
                tells=log != "memory",
                workflows=workflows,
                activities=activities,
                telemetry=OtelTelemetry(meter),
                spans=global_spans() if tracer is None else spans_of(tracer),
            )
        )
        yield


async def _log(settings: Settings, log: str, queues: Sequence[str], stack: AsyncExitStack) -> tuple[Appender, Reader]:
    if log == "memory":
        memory = MemoryLog(most_bytes=_LOG_BYTES)
        memory.create(topics(settings).specs(queues))
        return memory, memory
    from ..adapters.kafka.appender import KafkaAppender  # noqa: PLC0415 - without a broker nobody needs its client
    from ..adapters.kafka.reader import KafkaReader  # noqa: PLC0415

    connection = kafka(settings)
    return (
        await stack.enter_async_context(KafkaAppender(connection)),
        await stack.enter_async_context(KafkaReader(connection)),
    )
