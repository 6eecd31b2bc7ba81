"""The engine's processes: topics first, then definitions, then the roles that the settings name.

`faust_app()` is what `faust -A beluga_stream worker` finds: an ordinary Faust app that starts the
roles' apps with itself.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import faust

from ..adapters.faust.app import RoleApp
from ..adapters.faust.command import PromptWorker
from ..adapters.faust.host import host
from ..adapters.faust.standing import health_of, lags_of
from ..adapters.files.blobs import FileBlobs
from ..adapters.kafka.connection import KafkaConnection
from ..adapters.kafka.patience import Patience
from ..adapters.kafka.reader import KafkaReader
from ..adapters.memory.clock import SystemClock
from ..application.catalog import publish
from ..application.health import RoleHealth
from ..errors import BelugaError, InvalidConfig
from . import deployment as deployments
from .connection import kafka, topics
from .encryption import payloads_of
from .environment import warn_of_unknown
from .garbage import collect_seldom
from .held_loop import told_when_held
from .logs import configure_logs, root_handlers
from .loop import suits_uvloop
from .memory import given_back
from .observing import Standing
from .pages import in_large_pages
from .preparation import prepare
from .roles.site import Site
from .settings import Settings

_NEED_CODE = frozenset({"worker", "ingest", "workflows"})
"""The roles that run users' code."""

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
    warn_of_unknown()
    connection = kafka(settings)
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidConfig(f"BELUGA_DATA={settings.data} cannot be a folder: {error.strerror}") from error
    group = f"{settings.prefix}-app"
    app = faust.App(
        group,
        **connection.faust_settings(),
        autodiscover=False,
        consumer_group_instance_id=f"{group}-{settings.instance}" if settings.instance else None,
        datadir=str(settings.data),
        topic_disable_leader=True,
        web_enabled=False,
        loghandlers=root_handlers(settings),
        Worker=PromptWorker,
    )
    standing = Standing(settings, f"{settings.prefix}-{'-'.join(settings.roles)}")
    deployed = deployments.load_of(settings, app) if _NEED_CODE & set(settings.roles) else None
    _app = host(
        app,
        partial(_roles, settings, connection, deployed, standing),
        prepare=partial(prepare, settings, connection, deployed),
        surround=partial(_looked_after, standing),
    )
    return _app


@asynccontextmanager
async def _looked_after(standing: Standing) -> AsyncIterator[None]:
    """What is there for as long as the process is. Its telemetry may hold the loop while it is opened and closed."""
    async with standing.open():
        with told_when_held():
            yield


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
    settings: Settings,
    connection: KafkaConnection,
    deployed: deployments.LoadedDeployment | None,
    standing: Standing,
) -> AsyncIterator[Sequence[RoleApp]]:
    """Open what the roles need, yield their apps, close everything after them."""
    async with AsyncExitStack() as stack:
        patience = Patience(connection.where, settings.broker_patience_seconds)
        site = Site(
            settings,
            connection,
            patience,
            topics(settings),
            reader=await stack.enter_async_context(KafkaReader(connection, patience=patience)),
            payloads=payloads_of(settings),
            clock=SystemClock(),
            observed=standing.observed,
            stack=stack,
        )
        if deployed is not None:
            definitions = [program.definition for program in deployed.programs.values()]
            await publish(await site.appender(), site.topics, definitions)
        site.dependencies.update(broker=site.reader.check, blobs=FileBlobs(settings.blobs).check)
        apps = await _apps(site, deployed)
        telemetry = site.observed.telemetry
        for app in apps:
            app.driver.on_acquired = partial(telemetry.recovered, app.driver.group.removeprefix(f"{settings.prefix}-"))
            telemetry.watch_lag(partial(lags_of, app))
        roles = partial(_standing_of, apps)
        standing.watch(roles, site.dependencies)
        await stack.enter_async_context(in_large_pages())
        await stack.enter_async_context(given_back())
        yield apps


def _standing_of(apps: Sequence[RoleApp]) -> dict[str, RoleHealth]:
    return {app.driver.group: health_of(app) for app in apps}


async def _apps(site: Site, deployed: deployments.LoadedDeployment | None) -> Sequence[RoleApp]:
    """The roles that the settings name."""
    apps: list[RoleApp] = []
    if "coordinator" in site.settings.roles:
        from .roles.coordinator import coordinator  # noqa: PLC0415 - a process loads its own roles only

        apps.append(await coordinator(site))
    if deployed is not None and "worker" in site.settings.roles:
        from .roles.worker import worker  # noqa: PLC0415 - see above

        apps.append(await worker(site, deployed))
    if deployed is not None and "ingest" in site.settings.roles and deployed.triggers:
        from .roles.ingest import ingest  # noqa: PLC0415 - see above

        apps += await ingest(site, deployed)
    if deployed is not None and "workflows" in site.settings.roles:
        from .roles.workflows import workflows  # noqa: PLC0415 - see above

        apps.append(await workflows(site, deployed))
    collect_seldom()
    return apps
