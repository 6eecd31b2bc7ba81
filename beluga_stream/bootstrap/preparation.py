"""Before a role starts: the broker answers, grants what the role needs, and has the topics."""

import logging
import shlex
from collections.abc import Sequence

from ..adapters.kafka.admin import KafkaTopics
from ..adapters.kafka.connection import KafkaConnection
from ..adapters.kafka.rights import hidden, missing
from ..errors import AccessDenied, InvalidConfig
from ..ports.log import TopicSpec
from ..ports.rights import required, told
from . import deployment as deployments
from .conformity import COMPARED, alike, conformity, refuse_grown, refuse_unsafe
from .connection import topics
from .declared import engine_topics, own_topics, source_topics
from .rights import Holder, Uses, rights_of
from .settings import Settings
from .versions import version_of

log = logging.getLogger("beluga_stream")

_NAMED = 10
"""So many graphs are named in a line of the log, and the others counted."""


def queues_of(settings: Settings, deployed: deployments.LoadedDeployment | None) -> tuple[str, ...]:
    return settings.queues or (deployed.queues if deployed is not None else ("default",))


def uses_of(settings: Settings, deployed: deployments.LoadedDeployment | None) -> Uses:
    """What the deployment takes of the broker beside the engine's own topics."""
    triggers = () if deployed is None else deployed.triggers
    return Uses(
        queues=queues_of(settings, deployed),
        sources=tuple(sorted({topic for trigger in triggers for topic in trigger.sources})),
        follows_runs=any(trigger.kind == "run_finished" for trigger in triggers),
        gathers=any(trigger.is_kept for trigger in triggers),
    )


async def prepare(
    settings: Settings, connection: KafkaConnection, deployed: deployments.LoadedDeployment | None
) -> None:
    """Wait for the broker, check our rights, create the topics that are missing, and check the others.

    Raises `LogUnavailable` when patience ends, `AccessDenied` that names every right which is missing, and
    `TopicMismatch`.
    """
    log.info(introduction(settings, connection, deployed), extra={"action": "starts"})
    uses = uses_of(settings, deployed)
    _check_spans(settings, deployed)
    async with KafkaTopics(connection, patience=settings.broker_patience_seconds) as admin:
        for role in settings.roles:
            if role != "ingest" or uses.sources or uses.follows_runs or uses.gathers:  # else it does not start
                await check_rights(role, settings, connection, uses)
        declared = engine_topics(settings, uses.queues)
        wanted = [*declared, *source_topics(settings, declared, uses.sources)]
        # A process without rights to see another role's topics leaves them to that role, or to an operator.
        unseen = await hidden(connection, [spec.name for spec in wanted])
        seen = [spec for spec in declared if spec.name not in unseen]
        await _check_kept(admin, seen, settings, uses, connection)
        created = await admin.ensure(seen)
        existing = await admin.describe(uses.sources)
        more = [spec for spec in wanted if spec not in declared and spec.name not in {*unseen, *existing}]
        created = [*created, *await admin.ensure(more)]
    if created:
        log.info("created topics: %s", ", ".join(created), extra={"action": "topics_created"})


def introduction(settings: Settings, connection: KafkaConnection, deployed: deployments.LoadedDeployment | None) -> str:
    """What this process is: the first thing that somebody asks who reads its log."""
    told = f"beluga-stream {version_of('beluga-stream')}: {', '.join(settings.roles)} of engine {settings.prefix}"
    if deployed is None:
        return f"{told}, at {connection.where}"
    names = sorted(deployed.works)
    graphs = ", ".join([*names[:_NAMED], *([f"{len(names) - _NAMED} more"] if names[_NAMED:] else [])])
    without = "; no triggers, so there is nothing to ingest" if _idle(settings, deployed) else ""
    return f"{told}, at {connection.where}; graphs: {graphs or 'none'}{without}"


def _idle(settings: Settings, deployed: deployments.LoadedDeployment) -> bool:
    return "ingest" in settings.roles and not deployed.triggers


async def _check_kept(
    admin: KafkaTopics,
    declared: Sequence[TopicSpec],
    settings: Settings,
    uses: Uses,
    connection: KafkaConnection,
) -> None:
    """Look at those that exist already: refuse what would lose something, and tell of the rest."""
    found = await admin.inspect([spec.name for spec in declared], COMPARED)
    own = own_topics(settings, uses.queues)
    refuse_grown(topics(settings), own, found)
    deviations, unchecked = conformity(declared, found)
    refuse_unsafe(own, deviations, connection.where)
    if deviations:
        log.warning(
            "not as declared: %s; `beluga doctor` tells how to mend it",
            "; ".join(map(str, alike(deviations))),
            extra={"action": "topics_differ"},
        )
    if unchecked:
        log.warning(
            "how topics are kept was not checked, since Kafka does not tell %s (DescribeConfigs): %s",
            connection.user,
            ", ".join(unchecked),
            extra={"action": "topics_unchecked"},
        )


def _check_spans(settings: Settings, deployed: deployments.LoadedDeployment | None) -> None:
    """Raises `InvalidConfig` for a window that lasts longer than the blobs of its events are kept."""
    most_ms = int(settings.retention_hours * 3_600_000)
    for trigger in () if deployed is None else deployed.triggers:
        gathers = trigger.gathers
        if gathers is None:
            continue
        if max(gathers.within_ms + gathers.lateness_ms, gathers.wait_ms, gathers.quiet_ms) > most_ms:
            raise InvalidConfig(
                f"trigger {trigger.name!r} of graph {trigger.graph!r} waits longer for its events than the engine "
                f"keeps them: raise BELUGA_RETENTION_HOURS ({settings.retention_hours:g}), or choose shorter windows",
                graph=trigger.graph,
            )


async def check_rights(holder: Holder, settings: Settings, connection: KafkaConnection, uses: Uses) -> None:
    """Raises `AccessDenied` that names every right of the holder which Kafka does not grant us."""
    lacking = await missing(connection, required(rights_of(holder, settings, uses)))
    if lacking:
        user = connection.username or "ANONYMOUS"
        raise AccessDenied(
            f"Kafka does not grant {connection.user} what the role {holder} needs: {told(lacking)}. "
            f"`beluga acls {holder} --user {shlex.quote(user)}` prints the commands that do; see docs/security.md",
            role=holder,
            user=user,
        )
