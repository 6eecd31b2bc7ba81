"""The demo: broker and engine as child processes, twelve stories in, their digests streaming out and narrated."""

import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from importlib.util import find_spec
from pathlib import Path

from ..adapters.embedded.broker import EmbeddedBroker
from ..adapters.embedded.child import Child
from ..adapters.kafka.admin import KafkaTopics
from ..adapters.kafka.appender import KafkaAppender
from ..adapters.kafka.groups import skip_to_end
from ..adapters.kafka.reader import KafkaReader
from ..application import codec
from ..application.clients.results import (
    Chunk,
    Event,
    NodeChanged,
    Refill,
    RunChanged,
    RunReader,
    StartRejected,
    Superseded,
)
from ..bootstrap.connection import kafka, topics
from ..bootstrap.declared import engine_topics, group
from ..bootstrap.encryption import payloads_of
from ..bootstrap.settings import Settings
from ..bounds import within
from ..domain.ids import NodeKey, RunId, node_of
from ..domain.payload import NOTHING
from ..errors import InvalidConfig, RunFailed, TimedOut
from .declared import PATIENCE_SECONDS
from .demoscreen import DemoScreen
from .engine import check_running, engine
from .stories import MAPPED_NODE, READING_NODE, STREAMING_NODE, TOPIC, Told, read_stories, warm_up
from .values import settings_with

_WITHIN_SECONDS = 90.0
_INDEXED_WITHIN_SECONDS = 5.0
_LOOK_SECONDS = 0.05


async def demonstrate(*, broker: str | None, write_name: str | None, as_json: bool) -> None:
    """Run the whole demo and stop everything it has started. Raises what went wrong."""
    prefix = f"demo-{secrets.token_hex(3)}"
    stories = read_stories(settings_with(broker=broker).agents, write_name, mark=prefix)
    if find_spec("scipy") is None:
        raise InvalidConfig("the demo's graphs need the package scipy: pip install 'beluga-stream[demo]'")
    began = time.monotonic()
    screen = DemoScreen(as_json=as_json)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beluga-demo-")))
        address = broker
        if address is None:
            embedded = EmbeddedBroker()
            stack.push_async_callback(asyncio.to_thread, embedded.stop)
            await asyncio.to_thread(embedded.start)
            address = embedded.address
            screen.say(f"broker   {embedded.title}, {address}")
        else:
            screen.say(f"broker   {address}")
        settings = settings_with(
            broker=address,
            prefix=prefix,
            blobs=str(folder / "blobs"),
            data=folder / "data",
        )
        if broker is not None:
            stack.push_async_callback(_delete_topics, settings)
            await _skip_old_events(settings)
        index = folder / "index.jsonl"
        child = engine(settings, folder / "engine.log", BELUGA_DEMO_INDEX=str(index))
        stack.push_async_callback(asyncio.to_thread, child.stop)
        child.start()
        screen.say(f"engine   faust -A beluga_stream worker (pid {child.pid})")
        play = _Play(settings, child, screen)
        try:
            async with within(_WITHIN_SECONDS):
                await play.perform(stories)
                await _until_indexed(index, stories)
        except TimeoutError as error:
            waiting = [story.title for story in stories if story.ended_at is None]
            raise TimedOut(
                f"the demo did not end within {_WITHIN_SECONDS:g} s; still waiting for"
                f" {waiting or 'the index'}; the engine says: {child.last_words()[-300:]}"
            ) from error
        screen.close(stories, write_name, indexed=_indexed(index, stories))
    screen.say(f"Everything is stopped, {time.monotonic() - began:.1f} s in all.", style="dim")
    failed = [story for story in stories if story.status != "succeeded"]
    if failed:
        raise RunFailed(f"{len(failed)} of {len(stories)} runs failed: {failed[0].title}: {failed[0].failure}")
    if write_name and not _knows(stories[0], write_name):
        raise RunFailed(f"{write_name!r} is not among the people of {stories[0].title!r}", run=stories[0].run)


class _Play:
    """Sends the stories and folds what comes back."""

    def __init__(self, settings: Settings, child: Child, screen: DemoScreen) -> None:
        self._settings = settings
        self._child = child
        self._screen = screen
        self._payloads = payloads_of(settings)
        self._told: dict[RunId, tuple[Told, RunReader]] = {}

    async def perform(self, stories: Sequence[Told]) -> None:
        connection = kafka(self._settings)
        async with AsyncExitStack() as stack:
            admin = await stack.enter_async_context(KafkaTopics(connection))
            await admin.ensure(engine_topics(self._settings, ("default",)))
            appender = await stack.enter_async_context(KafkaAppender(connection))
            reader = await stack.enter_async_context(KafkaReader(connection))
            events = await stack.enter_async_context(aclosing(self._events(reader)))
            # Sent before the stories, so that their times are those of an engine that runs already.
            first = warm_up(mark=self._settings.prefix)
            self._expect([first])
            await appender.append([first.event()])
            async for _ in events:
                if first.ended_at is not None:
                    break
            self._screen.say(f"ready    {first.total_ms or 0:.0f} ms after its first event")
            self._expect(stories)
            async with self._screen.live(stories) as show:
                await appender.append([story.event() for story in stories])
                async for story, event in events:
                    show(story, event)
                    if all(story.ended_at is not None for story in stories):
                        break

    def _expect(self, stories: Sequence[Told]) -> None:
        self._told.update({story.run: (story, RunReader()) for story in stories})

    async def _events(self, reader: KafkaReader) -> AsyncGenerator[tuple[Told, Event], None]:
        """What happens in the runs of the demo, applied to their stories, as it happens."""
        topic = topics(self._settings).run_results
        start = await reader.beginning(topic)
        # An empty batch comes once a second, so that a dead engine is noticed.
        async for records in reader.read(topic, start):
            check_running(self._child)
            for record in records:
                result = codec.results.decode(record.value)
                if result.run not in self._told:
                    continue
                story, fold = self._told[result.run]
                for event in fold.read(result, f"{record.partition}-{record.offset}"):
                    await self._apply(story, event)
                    yield story, event

    async def _apply(self, story: Told, event: Event) -> None:
        match event:
            case Chunk(node=node) if node == STREAMING_NODE:
                story.first_chunk_at = story.first_chunk_at or time.monotonic()
                story.sentences.append(str(await self._payloads.load(event.value)))
            case Superseded(node=node) if node == STREAMING_NODE:
                story.sentences.clear()
            case Refill(node=node, output=output) if node == STREAMING_NODE:
                story.sentences = [str(value) for value in await self._payloads.load(output)]
            case Chunk(node=node) if node == READING_NODE:
                line = await self._payloads.load(event.value)
                story.lines.append(f"{line['at']:>5.1f} s  {line['text']}")
                story.early += not story.is_written
            case Superseded(node=node) if node == READING_NODE:
                story.lines.clear()
                story.early = 0
            case NodeChanged(status="succeeded", node=node) if node == STREAMING_NODE:
                story.is_written = True
            case NodeChanged(status="succeeded", node=node) if node_of(NodeKey(node)) == MAPPED_NODE != node:
                story.sections += 1
            case RunChanged(status=status) if event.ended:
                story.status, story.ended_at = status, time.monotonic()
                story.failure = "" if event.failure is None else event.failure.message
                if status == "succeeded":
                    story.report = await self._payloads.load(event.output or NOTHING)
            case RunChanged(status=status):
                story.status = status
            case StartRejected(message=message):
                story.status, story.failure, story.ended_at = "rejected", message, time.monotonic()
            case _:
                pass


async def _skip_old_events(settings: Settings) -> None:
    """What others have sent to the stories' topic is no business of this engine."""
    async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
        await admin.ensure(engine_topics(settings, ("default",)))
        partitions = (await admin.describe([TOPIC]))[TOPIC]
    await skip_to_end(kafka(settings), group(settings, "ingest"), TOPIC, partitions)


async def _delete_topics(settings: Settings) -> None:
    """Somebody else's broker is left as it was, but for the events on the stories' own topic."""
    async with KafkaTopics(kafka(settings), patience=PATIENCE_SECONDS) as admin:
        await admin.delete([name for name in await admin.describe() if name.startswith(settings.prefix)])


async def _until_indexed(index: Path, stories: Sequence[Told]) -> None:
    """The ends of the runs start the graph `index`: give it its time."""
    deadline = time.monotonic() + _INDEXED_WITHIN_SECONDS
    wanted = sum(story.status == "succeeded" for story in stories)
    while time.monotonic() < deadline and _indexed(index, stories) < wanted:  # noqa: ASYNC110 - the engine writes the file
        await asyncio.sleep(_LOOK_SECONDS)


def _indexed(index: Path, stories: Sequence[Told]) -> int:
    text = index.read_text() if index.exists() else ""
    return sum(story.run in text for story in stories)


def _knows(story: Told, name: str) -> bool:
    """Whether the report names this person, with or without what comes before a surname."""
    return any(name in person or person in name for person in story.report.get("people", []))
