"""The coordinator, with its watchdog and its sweeper."""

from ...adapters.faust.app import RoleApp
from ...adapters.files.blobs import FileBlobs
from ...adapters.kafka.groups import KafkaWorkers
from ...application.catalog import Catalog
from ...application.coordinator.coordinator import Coordinator, CoordinatorOptions
from ...application.coordinator.watchdog import Watchdog, WatchdogOptions
from ..declared import changelog_topic, group
from ..sweeping import sweeper
from .site import Site


async def coordinator(site: Site) -> RoleApp:
    """Its app, not yet started."""
    settings, names = site.settings, site.topics
    tables = await site.tables(
        group(settings, "coordinator"),
        (names.run_requests, names.run_events, names.node_done),
        changelog_topic(settings),
    )
    catalog, telemetry = Catalog(site.reader, names), site.observed.telemetry
    watchdog = Watchdog(
        names,
        appender=await site.appender(),
        reader=site.reader,
        workers=KafkaWorkers(site.connection, group(settings, "worker")),
        catalog=catalog,
        telemetry=telemetry,
        options=WatchdogOptions(
            patience_ms=int(settings.stuck_after_seconds * 1000),
            redispatch_ms=int(settings.redispatch_seconds * 1000),
            look_after_ms=int(settings.look_after_seconds * 1000),
            child_ms=int(settings.redispatch_seconds * 1000),
        ),
    )
    role = Coordinator(
        topics=names,
        tables=tables,
        appender=await site.appender(),
        reader=site.reader,
        catalog=catalog,
        payloads=site.payloads,
        clock=site.clock,
        telemetry=telemetry,
        spans=site.observed.spans,
        watches=[watchdog, sweeper(settings, site.reader, FileBlobs(settings.blobs))],
        options=CoordinatorOptions(
            lease_ms=int(settings.lease_seconds * 1000),
            dedup_window_ms=int(settings.dedup_window_hours * 3_600_000),
            dedup_most=settings.dedup_most,
            capacity=settings.capacity,
            workflows=settings.has_temporal,
        ),
    )
    return site.app(role, group(settings, "coordinator"), tables)
