"""The gatherer: it runs beside ingest, where triggers wait for several events or for a time."""

from ...adapters.faust.app import RoleApp
from ...adapters.kafka.groups import KafkaWorkers
from ...application.ingest.gatherer import Gatherer, GathererOptions
from ..declared import group, triggers_changelog
from ..deployment import LoadedDeployment
from .site import Site


async def gatherer(site: Site, deployed: LoadedDeployment) -> RoleApp:
    """Its app, not yet started."""
    settings, own = site.settings, group(site.settings, "gatherer")
    tables = await site.tables(own, (site.topics.trigger_events,), triggers_changelog(settings))
    role = Gatherer(
        topics=site.topics,
        deployment=deployed,
        tables=tables,
        appender=await site.appender(),
        reader=site.reader,
        ingest=KafkaWorkers(site.connection, group(settings, "ingest")),
        payloads=site.payloads,
        clock=site.clock,
        telemetry=site.observed.telemetry,
        spans=site.observed.spans,
        options=GathererOptions(keep_ms=int(settings.dedup_window_hours * 3_600_000), keep_most=settings.dedup_most),
    )
    return site.app(role, own, tables)
