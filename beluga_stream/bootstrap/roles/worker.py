"""The worker, with its threads and processes."""

from functools import partial

from ...adapters.faust.app import RoleApp
from ...adapters.processes.isolation import Isolated
from ...adapters.processes.pool import Processes
from ...api.resource import open_resource
from ...application.execution.execution import Executions
from ...application.worker.worker import Worker, WorkerOptions
from .. import isolated
from ..child import prepare_child
from ..declared import group
from ..deployment import LoadedDeployment
from ..preparation import queues_of
from .site import Site


async def worker(site: Site, deployed: LoadedDeployment) -> RoleApp:
    """Its app, not yet started."""
    settings = site.settings
    role = Worker(
        topics=site.topics,
        queues=queues_of(settings, deployed),
        deployment=deployed,
        appender=await site.appender(),
        reader=site.reader,
        payloads=site.payloads,
        executions=Executions(
            threads=settings.worker_threads,
            processes=Processes(settings.worker_processes, partial(prepare_child, settings.agents)),
            isolation=Isolated(settings.worker_processes, isolated.command(settings.agents)),
            open_resource=open_resource,
            interrupts="handlers_own",
        ),
        clock=site.clock,
        telemetry=site.observed.telemetry,
        spans=site.observed.spans,
        options=WorkerOptions(
            slots=settings.worker_slots,
            fuse_ms=settings.fuse_milliseconds,
            lease_after_ms=int(settings.lease_after_seconds * 1000),
            heartbeat_ms=int(settings.heartbeat_seconds * 1000),
            drain_ms=int(settings.shutdown_grace_seconds * 1000),
        ),
    )
    return site.app(role, group(settings, "worker"), by_topic=True)
