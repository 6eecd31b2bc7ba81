"""`beluga dev`: a broker and the engine as child processes, restarted on changes, and what happens in them."""

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

from watchfiles import DefaultFilter, awatch

from ..adapters.embedded.broker import EmbeddedBroker
from ..adapters.embedded.child import Child
from ..adapters.embedded.temporal import EmbeddedTemporal
from ..adapters.kafka.admin import KafkaTopics
from ..adapters.kafka.reader import KafkaReader
from ..application import codec
from ..application.deadletters import MESSAGE, marked
from ..application.messages import ChunkEmitted, Progress
from ..bootstrap.connection import kafka, topics
from ..bootstrap.declared import engine_topics
from ..bootstrap.settings import Settings
from ..domain.ids import key_of
from ..errors import AccessDenied, InvalidConfig, LogUnavailable
from .declared import PATIENCE_SECONDS
from .devscreen import DevScreen
from .engine import engine
from .values import settings_with

_LOOK_SECONDS = 0.25
_FOLDERS_MS = 1_000
"""How often is looked whether folders have come or gone."""
_CALM_SECONDS = 5.0
"""An engine that ends is started again after so long; one that fails sooner after its start waits for a change."""


async def develop(
    *,
    reload: bool,
    agents: str | None,
    topics_folder: str | None,
    port: int,
    temporal_port: int | None,
    as_json: bool,
) -> None:
    """Run until it is stopped; then stop everything it has started."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beluga-dev-")))
        address = os.environ.get("BELUGA_BROKER")
        title = address or ""
        broker: EmbeddedBroker | None = None
        if address is None:
            broker = EmbeddedBroker(port)
            stack.push_async_callback(asyncio.to_thread, broker.stop)
            await asyncio.to_thread(broker.start)
            address, title = broker.address, f"{broker.address}, {broker.title}"
        settings = settings_with(broker=address, agents=agents, topics=topics_folder)
        more = {"BELUGA_LOG_FORMAT": "text"}
        if broker is not None:
            # It waits for members that have died, for ever; one of the same name takes their place.
            more["BELUGA_INSTANCE"] = settings.instance or "dev"
        temporal: EmbeddedTemporal | None = None
        if temporal_port is not None:
            temporal = EmbeddedTemporal(temporal_port, settings.data.parent, folder / "temporal.log")
            stack.push_async_callback(asyncio.to_thread, temporal.stop)
            await asyncio.to_thread(temporal.start)
            more["BELUGA_TEMPORAL_ADDRESS"] = temporal.address
        child = engine(settings, folder / "engine.log", **more)
        screen = stack.enter_context(DevScreen(title, settings.agents, as_json=as_json))
        if temporal is not None:
            screen.tell(f"Temporal {temporal.address}, its pages {temporal.pages}, its file {temporal.file}")
        async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
            await admin.ensure(engine_topics(settings, ("default",)))
        reader = await stack.enter_async_context(KafkaReader(kafka(settings)))
        stack.push_async_callback(asyncio.to_thread, child.stop)
        async with asyncio.TaskGroup() as group:
            group.create_task(_results(reader, settings, screen))
            group.create_task(_dead_letters(reader, settings, screen))
            group.create_task(_log(child.output, screen))
            group.create_task(_engine(child, settings, screen, reload=reload))
            group.create_task(_page(settings, screen))
            if broker is not None:
                group.create_task(_lasts(broker, "the embedded broker"))
            if temporal is not None:
                group.create_task(_lasts(temporal, "Temporal's development server"))


async def _page(settings: Settings, screen: DevScreen) -> None:
    """The gateway with its page of runs. Where it cannot be had that is said, and everything else goes on."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        screen.tell("no page of runs: pip install 'beluga-stream[http]'")
        return
    from ..bootstrap.gateway import listener, open_gateway, served  # noqa: PLC0415 - it needs that extra

    try:
        with listener(settings) as listening:
            async with open_gateway(settings) as gateway, served(gateway, listening) as (url, serving):
                screen.page_is(url)
                await serving
    except InvalidConfig as error:
        screen.tell(f"no page of runs: {error}; BELUGA_HTTP_ADDRESS=127.0.0.1:0 takes any free port")
    except AccessDenied as error:
        screen.tell(f"no page of runs: {error}")


async def _engine(child: Child, settings: Settings, screen: DevScreen, *, reload: bool) -> None:
    """Keep it running; start it anew after each change."""
    changed = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        if reload:
            group.create_task(_changes(settings, changed, screen))
        while True:
            child.start()
            began = time.monotonic()
            screen.engine_is("running", f"pid {child.pid}")
            while child.is_running and not changed.is_set():
                await _wait(changed, _LOOK_SECONDS)
            if not changed.is_set():
                # One that could not start has something to mend first; one that was killed has not.
                is_broken = (child.code or 0) > 0 and time.monotonic() - began < _CALM_SECONDS
                pause = None if is_broken and reload else _CALM_SECONDS
                then = "waits for a change" if pause is None else f"starts again in {pause:g} s"
                screen.engine_is("stopped", f"it ended with code {child.code}; {then}")
                await _wait(changed, pause)
            else:
                screen.engine_is("restarting", "files have changed")
            await asyncio.to_thread(child.stop)
            changed.clear()


async def _wait(changed: asyncio.Event, most: float | None) -> None:
    waiting = asyncio.ensure_future(changed.wait())
    try:
        await asyncio.wait({waiting}, timeout=most)
    finally:
        waiting.cancel()


async def _changes(settings: Settings, changed: asyncio.Event, screen: DevScreen) -> None:
    def there() -> list[Path]:
        return [path for path in (Path(settings.agents), settings.topics) if path.is_dir()]

    folders, names = there(), DefaultFilter()
    while True:
        if folders:
            async for changes in awatch(*folders, watch_filter=names, yield_on_timeout=True, rust_timeout=_FOLDERS_MS):
                files = sorted({Path(path).name for _, path in changes})
                if files:
                    screen.tell(f"changed: {', '.join(files)}")
                    changed.set()
                if there() != folders:
                    break
        else:
            await asyncio.sleep(_LOOK_SECONDS)
        before, folders = folders, there()
        if folders != before:
            screen.tell(f"watched now: {', '.join(map(str, folders)) or 'nothing'}")
            changed.set()


async def _results(reader: KafkaReader, settings: Settings, screen: DevScreen) -> None:
    topic = topics(settings).run_results
    async for records in reader.read(topic, await reader.end(topic)):
        for record in records:
            match codec.results.decode(record.value):
                case Progress() as progress if key_of(progress.run) == progress.run:
                    screen.progress(progress)
                case ChunkEmitted():
                    screen.chunk()
                case _:
                    pass
        screen.draw()


async def _dead_letters(reader: KafkaReader, settings: Settings, screen: DevScreen) -> None:
    topic = topics(settings).dead_letters
    async for records in reader.read(topic, await reader.end(topic)):
        for record in records:
            headers = dict(record.headers)
            if marked(record) is None:
                screen.dead_letter(record, (headers.get(MESSAGE) or b"").decode("utf-8", "replace"))


async def _log(output: Path, screen: DevScreen) -> None:
    """What the engine says, line by line, as it says it."""
    rest = b""
    position = 0
    while True:
        data = await asyncio.to_thread(_read_from, output, position)
        position += len(data)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            screen.log(line.decode("utf-8", "replace"))
        await asyncio.sleep(_LOOK_SECONDS)


def _read_from(output: Path, position: int) -> bytes:
    if not output.exists():
        return b""
    with output.open("rb") as file:
        file.seek(position)
        return file.read()


async def _lasts(server: EmbeddedBroker | EmbeddedTemporal, title: str) -> None:
    while server.is_running:  # noqa: ASYNC110 - another process ends
        await asyncio.sleep(_LOOK_SECONDS)
    raise LogUnavailable(f"{title} has ended by itself: start `beluga dev` again")
