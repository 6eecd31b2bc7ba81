"""Several role apps inside one ordinary Faust app: what `faust -A beluga_stream worker` starts."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import Service

from beluga_stream.adapters.faust.app import RoleApp
from beluga_stream.adapters.faust.telling import tell_once
from beluga_stream.errors import BelugaError, InvalidState, LogUnavailable

log = logging.getLogger(__name__)

RoleApps = Callable[[], AbstractAsyncContextManager[Sequence[RoleApp]]]
"""Opens clients, topics and stores on the running loop, yields the apps to run, and closes all after."""

_LAST_RESORT_SECONDS = 30.0
_EXIT_CODE = 70


class BrokerWait(Service):
    """Waits for a broker to accept connections, and says so, before anything of Faust needs one."""

    def __init__(self, app: faust.App, patience: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app = app
        self._patience = patience

    async def on_start(self) -> None:
        """Raises `LogUnavailable` when patience ends."""
        addresses = [(url.host, url.port or 9092) for url in self.app.conf.broker_producer]
        where = ", ".join(f"{host}:{port}" for host, port in addresses)
        deadline = self.loop.time() + self._patience
        while not self.should_stop:
            for address in addresses:
                if await _accepts(*address):
                    return
            left = deadline - self.loop.time()
            if left <= 0:
                error = LogUnavailable(f"no Kafka broker answers at {where} (tried for {self._patience:g} s)")
                _tell(error)
                raise error
            log.warning(
                "no Kafka broker answers at %s yet, trying for %.0f s more",
                where,
                left,
                extra={"action": "kafka.wait"},
            )
            await self.sleep(1.0)


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(5.0):
            _, writer = await asyncio.open_connection(host, port)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True


class HostBoot(BootStrategy):
    """Waits for the broker first, and leaves out what the ordinary app has no use for.

    Without agents it would subscribe to nothing, and wait for an assignment that never comes. Its web
    server is off: `faust worker` turns it on whatever the settings say, and a second process on a machine
    would not start.
    """

    enable_web = False
    patience: float

    def sensors(self) -> Iterable[Service]:
        """What starts first: the wait, then the sensors."""
        return [
            BrokerWait(self.app, self.patience, loop=self.app.loop, beacon=self.app.beacon),
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


def host(app: faust.App, role_apps: Sequence[RoleApp] | RoleApps, *, patience: float = 30.0) -> faust.App:
    """Make the ordinary app start these with itself and stop them before itself; returns the app.

    When one fails the process ends with a code other than 0. The ordinary app keeps its own agents,
    tables and timers, with Faust's stock delivery, and need not have any. `patience` (seconds) is how long
    it waits for a broker that does not answer.
    """
    opener = role_apps if callable(role_apps) else _as_they_are(role_apps)
    boot = app.boot_strategy = HostBoot(app)
    boot.patience = patience
    tell_once(RoleApp, RoleHost, BrokerWait)

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
