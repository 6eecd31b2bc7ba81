"""Several role apps inside one ordinary Faust app: what `faust -A beluga_stream worker` starts."""

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import Service

from ...errors import BelugaError, InvalidState
from .app import RoleApp
from .telling import tell_once

log = logging.getLogger(__name__)

RoleApps = Callable[[], AbstractAsyncContextManager[Sequence[RoleApp]]]
"""Opens clients, topics and stores on the running loop, yields the apps to run, and closes all after."""

Prepare = Callable[[], Awaitable[None]]
Surround = Callable[[], AbstractAsyncContextManager[object]]
"""Opens what is there for as long as the process is: before it talks to the broker, and when its roles have ended."""

_LAST_RESORT_SECONDS = 30.0
_EXIT_CODE = 70


class Preparation(Service):
    """Does what must be done before anything of Faust talks to the broker: waits for it, creates topics."""

    def __init__(self, prepare: Prepare, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._prepare = prepare

    async def on_start(self) -> None:
        """An error ends the start."""
        try:
            await self._prepare()
        except BelugaError as error:
            _tell(error)
            raise


class Surrounding(Service):
    """Holds what is there for as long as the process is."""

    def __init__(self, surround: Surround, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._surround = surround
        self._stack = AsyncExitStack()

    async def on_start(self) -> None:
        """An error ends the start."""
        try:
            await self._stack.enter_async_context(self._surround())
        except BelugaError as error:
            _tell(error)
            raise

    async def on_stop(self) -> None:
        """Close it."""
        await self._stack.aclose()


class HostBoot(BootStrategy):
    """Prepares first, and leaves out what the ordinary app has no use for.

    Without agents it would subscribe to nothing, and wait for an assignment that never comes. Its web
    server is off: `faust worker` turns it on whatever the settings say, and a second process on a machine
    would not start.
    """

    enable_web = False
    prepare: Prepare
    surround: Surround

    def sensors(self) -> Iterable[Service]:
        """What starts first: what surrounds all, the preparation, then the sensors."""
        return [
            Surrounding(self.surround, loop=self.app.loop, beacon=self.app.beacon),
            Preparation(self.prepare, loop=self.app.loop, beacon=self.app.beacon),
            *super().sensors(),
        ]

    def _should_enable_kafka_consumer(self) -> bool:
        return bool(self.app.agents) or bool(self.app.tables) or len(self.app.topics) > 0


class RoleHost(Service):
    """Runs the role apps as long as the ordinary app runs; when one of them ends, ends the process."""

    def __init__(self, app: faust.App, role_apps: RoleApps, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self._open = role_apps
        self._stack = AsyncExitStack()
        self._apps: Sequence[RoleApp] = ()

    async def on_start(self) -> None:
        """Start all, at the same time: each waits for its group."""
        try:
            self._apps = await self._stack.enter_async_context(self._open())
        except BelugaError as error:
            _tell(error)
            raise
        for app in self._apps:
            self.add_future(self._watch(app))
        await asyncio.gather(*(app.maybe_start() for app in self._apps))

    async def on_stop(self) -> None:
        """Stop all, at the same time: each lets its role finish and leaves its group."""
        try:
            outcomes = await asyncio.gather(*(app.stop() for app in self._apps), return_exceptions=True)
            for app, outcome in zip(self._apps, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    log.error(
                        "%s did not stop cleanly: %r",
                        app.conf.id,
                        outcome,
                        extra={"action": "role.stop", "group": app.conf.id},
                    )
        finally:
            await self._stack.aclose()

    async def _watch(self, app: RoleApp) -> None:
        await app.wait_until_stopped()
        if self.should_stop:
            return
        error = app.crash_reason or InvalidState(f"{app.conf.id} stopped by itself")
        _exit_in_the_end(app.conf.id)
        await self.crash(error)


async def _nothing() -> None:
    """There is nothing to prepare."""


def host(
    app: faust.App,
    role_apps: Sequence[RoleApp] | RoleApps,
    *,
    prepare: Prepare = _nothing,
    surround: Surround = nullcontext,
) -> faust.App:
    """Make the ordinary app start these with itself and stop them before itself; returns the app.

    When one fails the process ends with a code other than 0. The ordinary app keeps its own agents,
    tables and timers, with Faust's stock delivery, and need not have any. `prepare` runs before anything
    of Faust talks to the broker, `surround` is open from before that until the roles have ended.
    """
    opener = role_apps if callable(role_apps) else _as_they_are(role_apps)
    boot = app.boot_strategy = HostBoot(app)
    boot.prepare = prepare
    boot.surround = surround
    tell_once(RoleApp, RoleHost, Preparation, Surrounding)

    async def start_roles(*_: Any, **__: Any) -> None:
        await app.add_runtime_dependency(RoleHost(app, opener, loop=app.loop, beacon=app.beacon))

    app.task(start_roles)
    return app


def _tell(error: BelugaError) -> None:
    log.critical("beluga_stream does not start: %s", error, extra={"action": "start.refused", "code": error.code})


def _as_they_are(apps: Sequence[RoleApp]) -> RoleApps:
    @asynccontextmanager
    async def opened() -> Any:
        yield apps

    return opened


def _exit_in_the_end(group: str) -> None:
    """End the process even if an orderly stop hangs, say because the broker is gone."""

    def exit_now() -> None:
        log.critical(
            "%s failed and the process did not stop within %g s: exiting",
            group,
            _LAST_RESORT_SECONDS,
            extra={"action": "process.exit", "group": group},
        )
        os._exit(_EXIT_CODE)

    timer = threading.Timer(_LAST_RESORT_SECONDS, exit_now)
    timer.daemon = True
    timer.start()
