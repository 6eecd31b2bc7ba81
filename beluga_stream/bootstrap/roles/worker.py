"""The worker, with its threads and processes."""

import logging
from collections.abc import Sequence
from functools import partial

from ...adapters.faust.app import RoleApp
from ...adapters.kafka.groups import begin_beside
from ...adapters.kafka.membership import Membership, memberships, read_twice
from ...adapters.processes.isolation import Isolated
from ...adapters.processes.pool import Processes
from ...api.resource import open_resource
from ...application.execution import Executions
from ...application.worker import Worker, WorkerOptions
from ...errors import AccessDenied
from .. import isolated
from ..child import prepare_child
from ..declared import group, worker_group
from ..deployment import LoadedDeployment
from ..preparation import queues_of
from .site import Site

log = logging.getLogger("beluga_stream.worker")


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
    await begin_beside(site.connection, worker_group(settings), group(settings, "worker"), role.topics)
    await _tell_of_others(site, role.topics)
    return site.app(role, worker_group(settings))


async def _tell_of_others(site: Site, topics: Sequence[str]) -> None:
    """Workers with another list of queues are another group, which gets every node of a queue that both have."""
    own = worker_group(site.settings)
    try:
        found = await memberships(site.connection, [group(site.settings, "worker")])
    except AccessDenied as error:
        log.warning("who else has our queues is not checked: %s", error, extra={"action": "queues_unchecked"})
        return
    for topic, groups in read_twice({**found, own: Membership(1, frozenset(topics))}).items():
        if own in groups:
            log.error(
                "%s is read by the workers of %s: each of its nodes runs in each of these groups. "
                "Let every worker name its queues (BELUGA_QUEUES), and none be in two lists",
                topic,
                " and ".join(groups),
                extra={"action": "queues_shared", "topic": topic, "groups": groups},
            )
