"""Ingest, and the gatherer of what several events start."""

from ...adapters.faust.app import RoleApp
from ...application.ingest.circles import tell_of_circles
from ...application.ingest.ingest import Ingest
from ..declared import group
from ..deployment import LoadedDeployment
from .site import Site


async def ingest(site: Site, deployed: LoadedDeployment) -> list[RoleApp]:
    """Their apps, not yet started: those that have something to do."""
    tell_of_circles(deployed.triggers)
    role = Ingest(
        topics=site.topics,
        deployment=deployed,
        appender=await site.appender(),
        payloads=site.payloads,
        clock=site.clock,
        telemetry=site.observed.telemetry,
        spans=site.observed.spans,
    )
    at_end = site.settings.triggers_begin == "latest"
    own = group(site.settings, "ingest")
    # Users' producers may have transactions; nothing of the engine has.
    apps = [site.app(role, own, begins_at_end=at_end, committed_only=True)] if role.topics else []
    if any(trigger.is_kept for trigger in deployed.triggers):
        from .gatherer import gatherer  # noqa: PLC0415 - few deployments have one

        apps.append(await gatherer(site, deployed))
    return apps
