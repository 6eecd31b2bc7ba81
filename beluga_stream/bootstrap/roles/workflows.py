"""The role `workflows`: what coordinators ask of durable runs, and the worker of Temporal that runs them."""

from functools import partial

from ...adapters.faust.app import RoleApp
from ...application.catalog import Catalog
from ...application.durable.bridge import Bridge, BridgeOptions
from ...domain.definition import Definition
from ...domain.ids import GraphHash
from ..declared import group
from ..deployment import LoadedDeployment
from ..hosting import serve
from ..preparation import queues_of
from ..temporal import SharedClient, workflows_of
from .site import Site


async def workflows(site: Site, deployed: LoadedDeployment) -> RoleApp:
    """Its app, not yet started."""
    settings = site.settings
    catalog = Catalog(site.reader, site.topics)

    def definition(found: GraphHash) -> Definition | None:
        plan = catalog.plan(found)
        return None if plan is None else plan.definition

    client = SharedClient(settings)
    site.dependencies["temporal"] = client.check
    telling = await site.appender()
    options = BridgeOptions()
    role = Bridge(
        topics=site.topics,
        workflows=workflows_of(settings, client, definition, site.observed.spans),
        catalog=catalog,
        appender=await site.appender(),
        payloads=site.payloads,
        clock=site.clock,
        options=options,
        hosting=partial(
            serve,
            settings,
            client,
            deployed,
            queues_of(settings, deployed),
            appender=telling,
            reader=site.reader,
            observed=site.observed,
        ),
    )
    # One request may wait for long, and those behind it are done meanwhile: the bridge itself says when it is too much.
    return site.app(role, group(settings, "workflows"), max_pending=options.waiting)
