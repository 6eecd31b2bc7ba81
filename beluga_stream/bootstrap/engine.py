"""The engine's processes: topics first, then definitions, then the roles that the settings name.

`faust_app()` is what `faust -A beluga_stream worker` finds: an ordinary Faust app that starts the
roles' apps with itself.
"""

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import faust

from ..adapters.faust.app import RoleApp, RoleOptions, role_app
from ..adapters.faust.command import PromptWorker
from ..adapters.faust.host import host
from ..adapters.files.blobs import FileBlobs
from ..adapters.kafka.appender import KafkaAppender
from ..adapters.kafka.connection import KafkaConnection
from ..adapters.kafka.groups import KafkaWorkers
from ..adapters.kafka.patience import Patience
from ..adapters.kafka.reader import KafkaReader
from ..adapters.kafka.store import MemoryStore, RocksStore
from ..adapters.kafka.table import KafkaTables, TableOptions
from ..adapters.memory.clock import SystemClock
from ..adapters.otel.telemetry import OtelTelemetry
from ..adapters.processes.isolation import Isolated
from ..adapters.processes.pool import Processes
from ..api.resource import open_resource
from ..application.catalog import Catalog, publish
from ..application.coordinator import Coordinator, CoordinatorOptions
from ..application.execution import Executions
from ..application.gatherer import Gatherer, GathererOptions
from ..application.ingest import Ingest
from ..application.watchdog import Watchdog, WatchdogOptions
from ..application.worker import Worker, WorkerOptions
from ..errors import BelugaError
from . import deployment as deployments
from . import isolated
from .child import prepare_child
from .connection import kafka, topics
from .declared import changelog_topic, group, triggers_changelog, worker_group
from .encryption import payloads_of
from .logs import configure_logs
from .loop import suits_uvloop
from .preparation import prepare, queues_of
from .settings import Settings
from .sweeping import sweeper

log = logging.getLogger("beluga_stream")

_app: faust.App | None = None
"""This process's app: `faust -A beluga_stream` and the files in agents/ that add to it mean the same one."""


def faust_app() -> faust.App:
    """The app of this process, made at the first call.

    Loads the deployment at once, so that its files can add agents of their own to the app, and a broken
    one refuses to start. Raises `InvalidConfig` and `InvalidDeployment`.
    """
    global _app  # noqa: PLW0603 - one app for each process is what Faust's command line looks for
    if _app is not None:
        return _app
    settings = Settings.load()
    configure_logs(settings)
    connection = kafka(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    app = faust.App(
        f"{settings.prefix}-app",
        **connection.faust_settings(),
        autodiscover=False,
        datadir=str(settings.data),
        topic_disable_leader=True,
        web_enabled=False,
        Worker=PromptWorker,
    )
    _app = app
    deployed = deployments.load(settings.agents) if {"worker", "ingest"} & set(settings.role) else None
    return host(
        app,
        partial(_roles, settings, connection, deployed),
        prepare=partial(prepare, settings, connection, deployed),
    )


def app_or_exit() -> faust.App:
    """`faust_app()` for a command line: what is wrong is one line and exit code 2, and no traceback."""
    try:
        _use_uvloop(Settings.load())
        return faust_app()
    except BelugaError as error:
        sys.stderr.write(f"beluga_stream does not start: {error}\n")
        raise SystemExit(2) from None


def _use_uvloop(settings: Settings) -> None:
    if not suits_uvloop(settings):
        return
    import uvloop  # noqa: PLC0415 - not on every platform

    # Faust takes the loop that the policy gives it.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # type: ignore[deprecated]


@asynccontextmanager
async def _roles(
    settings: Settings, connection: KafkaConnection, deployed: deployments.LoadedDeployment | None
) -> AsyncIterator[Sequence[RoleApp]]:
    """Open what the roles need, yield their apps, close everything after them."""
    names = topics(settings)
    async with AsyncExitStack() as stack:
        patience = Patience(connection.where, settings.broker_patience_seconds)
        reader = await stack.enter_async_context(KafkaReader(connection, patience=patience))
        clock = SystemClock()
        payloads = payloads_of(settings)
        apps: list[RoleApp] = []

        async def appender() -> KafkaAppender:
            return await stack.enter_async_context(KafkaAppender(connection, patience=patience))

        make = partial(
            role_app,
            broker=connection.faust_settings(),
            instance=settings.instance,
            options=RoleOptions(
                drain_timeout=settings.shutdown_grace_seconds + 10,
                session_timeout=settings.session_timeout_seconds,
            ),
        )
        if deployed is not None:
            definitions = [program.definition for program in deployed.programs.values()]
            await publish(await appender(), names, definitions)
        if "coordinator" in settings.role:
            tables = await stack.enter_async_context(
                _tables(
                    settings,
                    connection,
                    patience,
                    group(settings, "coordinator"),
                    (names.run_requests, names.run_events, names.node_done),
                    changelog_topic(settings),
                )
            )
            catalog, telemetry = Catalog(reader, names), OtelTelemetry()
            watchdog = Watchdog(
                names,
                appender=await appender(),
                reader=reader,
                workers=KafkaWorkers(connection, group(settings, "worker")),
                catalog=catalog,
                telemetry=telemetry,
                options=WatchdogOptions(
                    patience_ms=int(settings.stuck_after_seconds * 1000),
                    redispatch_ms=int(settings.redispatch_seconds * 1000),
                ),
            )
            coordinator = Coordinator(
                topics=names,
                tables=tables,
                appender=await appender(),
                reader=reader,
                catalog=catalog,
                payloads=payloads,
                clock=clock,
                telemetry=telemetry,
                watches=[watchdog, sweeper(settings, reader, FileBlobs(settings.blobs))],
                options=CoordinatorOptions(
                    lease_ms=int(settings.lease_seconds * 1000),
                    dedup_window_ms=int(settings.dedup_window_hours * 3_600_000),
                    dedup_most=settings.dedup_most,
                    capacity=settings.capacity,
                ),
            )
            apps.append(make(coordinator, group=group(settings, "coordinator"), tables=tables))
        if deployed is not None and "worker" in settings.role:
            worker = Worker(
                topics=names,
                queues=queues_of(settings, deployed),
                deployment=deployed,
                appender=await appender(),
                reader=reader,
                payloads=payloads,
                executions=Executions(
                    threads=settings.worker_threads,
                    processes=Processes(settings.worker_processes, partial(prepare_child, settings.agents)),
                    isolation=Isolated(settings.worker_processes, isolated.command(settings.agents)),
                    open_resource=open_resource,
                ),
                clock=clock,
                options=WorkerOptions(
                    slots=settings.worker_slots,
                    fuse_ms=settings.fuse_milliseconds,
                    lease_after_ms=int(settings.lease_after_seconds * 1000),
                    heartbeat_ms=int(settings.heartbeat_seconds * 1000),
                    drain_ms=int(settings.shutdown_grace_seconds * 1000),
                ),
            )
            apps.append(make(worker, group=worker_group(settings)))
        if deployed is not None and "ingest" in settings.role and deployed.triggers:
            ingest = Ingest(
                topics=names, deployment=deployed, appender=await appender(), payloads=payloads, clock=clock
            )
            if ingest.topics:
                apps.append(make(ingest, group=group(settings, "ingest")))
            if any(trigger.is_kept for trigger in deployed.triggers):
                own = group(settings, "gatherer")
                kept = _tables(
                    settings, connection, patience, own, (names.trigger_events,), triggers_changelog(settings)
                )
                gatherer = Gatherer(
                    topics=names,
                    deployment=deployed,
                    tables=await stack.enter_async_context(kept),
                    appender=await appender(),
                    reader=reader,
                    ingest=KafkaWorkers(connection, group(settings, "ingest")),
                    payloads=payloads,
                    clock=clock,
                    options=GathererOptions(
                        keep_ms=int(settings.dedup_window_hours * 3_600_000), keep_most=settings.dedup_most
                    ),
                )
                apps.append(make(gatherer, group=own, tables=kept))
        _collect_seldom()
        yield apps


def _collect_seldom() -> None:
    """Let the garbage collector leave alone what is there for good, and look less often at the rest.

    An event makes dozens of objects and almost no cycles: with Python's defaults a third of a busy worker's
    time went into looking for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def _tables(
    settings: Settings,
    connection: KafkaConnection,
    patience: Patience,
    own: str,
    consumed: Sequence[str],
    changelog: str,
) -> KafkaTables:
    """The tables of the role whose group is `own` and which consumes these topics."""
    folder = settings.data / str(os.getpid()) / own
    return KafkaTables(
        connection,
        group=own,
        topics=consumed,
        owner=f"{socket.gethostname()}:{os.getpid()}",
        changelog=changelog,
        patience=patience,
        options=TableOptions(store=MemoryStore if settings.store == "memory" else RocksStore.factory(folder)),
    )
