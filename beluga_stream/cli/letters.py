"""The dead letters: what is wrong with each, sending one again, and the record of those that were handled.

A letter's id is its place in the topic, `partition-offset`; one that was handled has a marker.
"""

import time
from collections.abc import AsyncIterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.text import Text

from ..adapters.kafka.appender import KafkaAppender
from ..adapters.kafka.batches import MAX_RECORD_BYTES, size_of
from ..adapters.kafka.connection import KafkaConnection
from ..adapters.kafka.reader import KafkaReader
from ..application.deadletters import MESSAGE, REASON, SOURCE, letter_id, marked, marker, original, sent_again
from ..application.payloads import Payloads
from ..application.topics import Topics
from ..bootstrap.connection import kafka, topics
from ..bootstrap.encryption import payloads_of
from ..errors import BelugaError, InvalidInput, InvalidState, KeyMissing, NotFound, Tampered, TopicMissing
from ..ports.log import Appender, Outgoing, Reader, Record
from .screen import console, moment_cell, print_json, table
from .values import settings_with

_SOURCE_PARTS = 3
_PAGE = 100
"""So many letters are sent, and marked, at a time."""

_OF_ONE_LETTER = (NotFound, InvalidState, KeyMissing, Tampered, TopicMissing)
"""What keeps one letter from being had back, and says nothing of the next."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, with what its headers say."""

    record: Record
    handled: str | None

    @property
    def id(self) -> str:
        return letter_id(self.record)

    @property
    def reason(self) -> str:
        return self.header(REASON)

    @property
    def message(self) -> str:
        return self.header(MESSAGE)

    @property
    def source(self) -> str:
        """topic/partition/offset"""  # noqa: D415 - the form of the value
        return self.header(SOURCE)

    def header(self, name: str) -> str:
        found = [value for key, value in self.record.headers if key == name]
        return (found[-1] or b"").decode("utf-8", "replace") if found else ""

    @property
    def topic(self) -> str:
        """Where it came from. Raises `InvalidState` when that is not known."""
        return self._parts[0]

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset of where it came from. Raises as `topic`."""
        return int(self._parts[1]), int(self._parts[2])

    def is_of(self, topic: str | None) -> bool:
        """Whether it came from this topic; all are of None."""
        return topic is None or self.source.rsplit("/", _SOURCE_PARTS - 1)[0] == topic

    @property
    def _parts(self) -> list[str]:
        parts = self.source.rsplit("/", _SOURCE_PARTS - 1)
        if len(parts) != _SOURCE_PARTS:
            raise InvalidState(f"dead letter {self.id} does not say where it came from", letter=self.id)
        return parts

    async def again(self, payloads: Payloads) -> Outgoing:
        """The record for the topic it came from, as it is sent again. Raises `NotFound` when its blob is gone."""
        return Outgoing(self.topic, *await sent_again(self.record, payloads))

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "reason": self.reason,
            "message": self.message,
            "source": self.source,
            "at_ms": self.record.timestamp_ms,
            "handled": self.handled,
        }


class Kept(NamedTuple):
    """A letter that could not be sent again, and why."""

    letter: Letter
    error: BelugaError


class DeadLetters:
    """Reads the topic up to its end, and appends what is done about a letter."""

    def __init__(
        self, names: Topics, reader: Reader, appender: Appender, payloads: Payloads, connection: KafkaConnection
    ) -> None:
        self._topic = names.dead_letters
        self._runs = names.runs
        self._reader = reader
        self._appender = appender
        self._payloads = payloads
        self._connection = connection

    async def all(self) -> list[Letter]:
        """Every letter that retention has left, oldest first."""
        records: list[Record] = []
        handled: dict[str, str] = {}
        end = await self._reader.end(self._topic)
        begin = await self._reader.beginning(self._topic)
        async for batch in self._reader.read(self._topic, begin, until=end):
            for record in batch:
                mark = marked(record)
                if mark is None:
                    records.append(record)
                else:
                    handled[mark] = (record.value or b"").decode("utf-8", "replace")
        records.sort(key=lambda record: record.timestamp_ms)
        return [Letter(record, handled.get(letter_id(record))) for record in records]

    async def chosen(self, id: str | None, topic: str | None) -> list[Letter]:  # noqa: A002 - what it is
        """The one of this id, or all that nobody has handled, or those of them that came from this topic.

        Raises `NotFound`.
        """
        if id is not None:
            return [await self.one(id)]
        return [letter for letter in await self.all() if letter.handled is None and letter.is_of(topic)]

    async def one(self, id: str) -> Letter:  # noqa: A002 - what it is
        """Raises `NotFound`."""
        found = next((letter for letter in await self.all() if letter.id == id), None)
        if found is None:
            raise NotFound(f"there is no dead letter {id}: `beluga dead-letters list` shows them", letter=id)
        return found

    async def whole(self, letter: Letter) -> Outgoing:
        """The record that a letter is about, as it came."""
        return Outgoing(letter.topic, *await original(letter.record, self._payloads))

    async def replay(self, letters: Sequence[Letter]) -> list[Kept]:
        """Send these again, page by page, and mark them; return those that cannot be had back any more.

        A crash between the two sends a page twice rather than never.
        """
        kept: list[Kept] = []
        for start in range(0, len(letters), _PAGE):
            found: list[tuple[Letter, Outgoing]] = []
            for letter in letters[start : start + _PAGE]:
                try:
                    await self._reader.partitions(letter.topic)  # one whose topic is gone would hold up all others
                    found.append((letter, await letter.again(self._payloads)))
                except _OF_ONE_LETTER as error:
                    kept.append(Kept(letter, error))
            over = await self._over(found)
            kept += [Kept(letter, _has_gone_on(letter)) for letter, _ in found if letter.id in over]
            await self._send([again for letter, again in found if letter.id not in over])
            await self._mark([letter for letter, _ in found if letter.id not in over], "replayed")
        return kept

    async def discard(self, letters: Sequence[Letter]) -> None:
        for start in range(0, len(letters), _PAGE):
            await self._mark(letters[start : start + _PAGE], "discarded")

    async def _over(self, found: Sequence[tuple[Letter, Outgoing]]) -> AbstractSet[str]:
        """The ids of letters about the end of a run that has gone on since.

        Sent again, such an end would be the newest summary of its run, in lists and for whatever a run's end triggers.
        """
        ends = {letter.id: (letter, again) for letter, again in found if letter.topic == self._runs}
        if not ends:
            return set()
        oldest: dict[int, int] = {}
        for letter, _ in ends.values():
            partition, offset = letter.place
            oldest[partition] = min(offset, oldest.get(partition, offset))
        first, end = await self._reader.beginning(self._runs), await self._reader.end(self._runs)
        begin = {number: max(offset, first[number]) for number, offset in oldest.items() if number in first}
        newest: dict[bytes | None, bytes | None] = {}
        async for records in self._reader.read(self._runs, begin, until={number: end[number] for number in begin}):
            newest.update((record.key, record.value) for record in records)
        return {name for name, (_, again) in ends.items() if newest.get(again.key, again.value) != again.value}

    async def _send(self, again: Sequence[Outgoing]) -> None:
        await self._appender.append([record for record in again if size_of(record) <= MAX_RECORD_BYTES])
        for record in again:
            if (size := size_of(record)) > MAX_RECORD_BYTES:
                # Its topic once took a record of this size; alone in its batch it takes it again.
                async with KafkaAppender(self._connection, max_record_bytes=size) as alone:
                    await alone.append([record])

    async def _mark(self, letters: Sequence[Letter], how: str) -> None:
        now = int(time.time() * 1_000)
        await self._appender.append([marker(self._topic, letter.id, how, now) for letter in letters])


def _has_gone_on(letter: Letter) -> InvalidState:
    return InvalidState(
        f"dead letter {letter.id} is about an end of its run that is none any more: the run has gone on since, and "
        f"triggers what its newest end does",
        letter=letter.id,
    )


@asynccontextmanager
async def opened(broker: str | None) -> AsyncIterator[DeadLetters]:
    """The dead letters of the engine at this broker."""
    settings = settings_with(broker=broker)
    connection = kafka(settings)
    async with AsyncExitStack() as stack:
        appender = await stack.enter_async_context(KafkaAppender(connection))
        reader = await stack.enter_async_context(KafkaReader(connection))
        payloads = payloads_of(settings)
        yield DeadLetters(topics(settings), reader, appender, payloads, connection)


def _check_choice(id: str | None, *, all_of_them: bool, topic: str | None) -> None:  # noqa: A002 - what it is
    if (id is None) == (not all_of_them):
        raise InvalidInput("name one dead letter, or say --all")
    if id is not None and topic is not None:
        raise InvalidInput("--topic goes with --all: one dead letter is of one topic")


async def list_letters(*, handled: bool, topic: str | None, limit: int, broker: str | None, as_json: bool) -> None:
    """The newest ones, newest first."""
    async with opened(broker) as dead:
        found = [each for each in await dead.all() if (handled or each.handled is None) and each.is_of(topic)]
    newest = found[::-1][:limit]
    if as_json:
        print_json([letter.as_json() for letter in newest])
        return
    if not newest:
        console.print("There are no dead letters.")
        return
    shown = table("#id", "#when", "from", "reason", "message")
    for letter in newest:
        shown.add_row(letter.id, moment_cell(letter.record.timestamp_ms), letter.source, letter.reason, letter.message)
    console.print(shown)
    if len(found) > len(newest):
        console.print(f"and {len(found) - len(newest)} older ones: --limit shows more", style="dim")


async def show_letter(id: str, *, broker: str | None, as_json: bool) -> None:  # noqa: A002 - its name everywhere
    """Everything about one."""
    async with opened(broker) as dead:
        letter = await dead.one(id)
        gone = ""
        try:
            record = await dead.whole(letter)
        except NotFound as error:
            record, gone = Outgoing(letter.source, None, None), error.message
    value = None if record.value is None else record.value.decode("utf-8", "replace")
    key = None if record.key is None else record.key.decode("utf-8", "replace")
    both = (*letter.record.headers, *record.headers)
    headers = {name: (data or b"").decode("utf-8", "replace") for name, data in both}
    if as_json:
        print_json(
            letter.as_json() | {"key": key, "headers": headers, "value": value} | ({"gone": gone} if gone else {})
        )
        return
    for name, told in (
        ("reason", letter.reason),
        ("message", letter.message),
        ("from", letter.source),
        ("key", str(key)),
    ):
        console.print(Text.assemble((f"{name:>8}", "bold"), "  ", told), soft_wrap=True)
    console.print()
    console.print(gone or value or "", soft_wrap=True)


async def replay(
    id: str | None,  # noqa: A002 - what it is
    *,
    all_of_them: bool,
    topic: str | None,
    broker: str | None,
    as_json: bool,
) -> None:
    """Send one, or all that nobody has handled, to where they came from.

    Raises the error of the one, or `InvalidState` in the end when not all could be sent.
    """
    _check_choice(id, all_of_them=all_of_them, topic=topic)
    async with opened(broker) as dead:
        chosen = await dead.chosen(id, topic)
        kept = await dead.replay(chosen)
    if kept and not all_of_them:
        raise kept[0].error
    why = {each.letter.id: each.error.message for each in kept}
    if as_json:
        print_json(
            [
                letter.as_json() | ({"error": why[letter.id]} if letter.id in why else {"handled": "replayed"})
                for letter in chosen
            ]
        )
    else:
        for letter in chosen:
            if letter.id in why:
                console.print(f"{letter.id} is not sent: {why[letter.id]}", soft_wrap=True)
            else:
                console.print(f"{letter.id} is sent to {letter.topic} again")
        if not chosen:
            console.print("There are no dead letters.")
    if kept:
        raise InvalidState(
            f"{len(kept)} of {len(chosen)} dead letters could not be sent again: `beluga dead-letters discard ID` "
            "takes one off the list"
        )


async def discard(
    id: str | None,  # noqa: A002 - its name everywhere
    *,
    all_of_them: bool,
    topic: str | None,
    broker: str | None,
    as_json: bool,
) -> None:
    """Take one off the list, or all that nobody has handled."""
    _check_choice(id, all_of_them=all_of_them, topic=topic)
    async with opened(broker) as dead:
        chosen = await dead.chosen(id, topic)
        await dead.discard(chosen)
    if as_json:
        told = [letter.as_json() | {"handled": "discarded"} for letter in chosen]
        print_json(told if all_of_them else told[0])
        return
    for letter in chosen:
        console.print(f"{letter.id} is discarded")
    if not chosen:
        console.print("There are no dead letters.")
