"""Dead letters: what is kept of a record, whatever it holds, and how it is had back."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from click.testing import Result
from typer.testing import CliRunner

from beluga_stream.adapters.kafka.connection import KafkaConnection
from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.deadletters import dead_letter, event_of, original, refused_place, sent_again
from beluga_stream.application.payloads import Payloads
from beluga_stream.application.topics import Topics
from beluga_stream.cli import letters
from beluga_stream.cli.letters import DeadLetters
from beluga_stream.cli.main import app
from beluga_stream.errors import InvalidInput, LogUnavailable, TopicMissing
from beluga_stream.ports.log import Headers, Outgoing, Position, Record, TopicSpec

NAMES = Topics("dead")


def _read(letter: Outgoing) -> Record:
    return Record(letter.topic, 0, 0, letter.key, letter.value, 0, letter.headers)


@pytest.mark.parametrize("size", [3, 600_000], ids=["short", "long"])
@pytest.mark.parametrize("key", [b"k", None], ids=["key", "no key"])
async def test_a_record_comes_back_as_it_was(size: int, key: bytes | None) -> None:
    payloads = Payloads(MemoryBlobs())
    record = Record("docs", 2, 7, key, b"\xff" * size, 1_234, (("h", b"\x00\xff"), ("h", b"2")))
    letter = await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads)
    assert len(letter.value or b"") + len(letter.key or b"") < 600_000
    told = dict(letter.headers)
    assert (told["beluga-reason"], told["beluga-message"]) == (b"invalid_input", b"no good")
    assert (told["beluga-source"], told["beluga-logged"]) == (b"docs/2/7", b"1234")
    assert await original(_read(letter), payloads) == (key, record.value, record.headers)


async def test_headers_and_keys_may_be_long_too() -> None:
    payloads = Payloads(MemoryBlobs())
    record = Record("docs", 2, 7, b"k" * 600_000, None, 0, (("h", b"x" * 600_000),))
    letter = await dead_letter(NAMES.dead_letters, record, InvalidInput("x" * 600_000), payloads)
    assert sum(len(value) for _, value in letter.headers) < 5_000
    assert await original(_read(letter), payloads) == (record.key, None, record.headers)


async def _dead(log: MemoryLog, payloads: Payloads, *values: bytes) -> DeadLetters:
    log.create([TopicSpec("docs", 1), TopicSpec(NAMES.dead_letters, 1)])
    for offset, value in enumerate(values):
        record = Record("docs", 0, offset, b"k", value)
        await log.append([await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads)])
    return DeadLetters(NAMES, log, log, payloads, KafkaConnection.parse("127.0.0.1:1"))


async def test_letters_are_sent_again_though_the_value_of_one_is_lost() -> None:
    log, blobs = MemoryLog(), MemoryBlobs()
    dead = await _dead(log, Payloads(blobs), b"first", b"x" * 600_000, b"last")
    blobs.stored.clear()
    (kept,) = await dead.replay(await dead.all())
    assert (kept.letter.id, kept.error.code) == ("0-1", "not_found")
    assert [record.value for record in log.records("docs", 0)] == [b"first", b"last"]
    assert [letter.handled is not None for letter in await dead.all()] == [True, False, True]


async def test_a_letter_that_came_with_the_header_of_a_marker_marks_nothing() -> None:
    log, payloads = MemoryLog(), Payloads(MemoryBlobs())
    dead = await _dead(log, payloads, b"first")
    record = Record("docs", 0, 1, b"k", b"second", 0, (("beluga-handled", b"0-0"),))
    await log.append([await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads)])
    assert [letter.handled for letter in await dead.all()] == [None, None]
    assert await dead.replay([await dead.one("0-1")]) == []
    assert [letter.handled is None for letter in await dead.all()] == [True, False]
    assert log.records("docs", 0)[-1].headers == record.headers


@pytest.mark.parametrize("size", [3, 600_000], ids=["short", "long"])
async def test_what_is_for_one_alone_says_each_time_where_it_lay_first_and_where_it_was_refused(size: int) -> None:
    payloads = Payloads(MemoryBlobs())
    headers: Headers = (("h", b"1"), ("beluga-only", b"beluga/g/docs"))
    record = Record("docs", 2, 7, b"k", b"v" * size, 1_234, headers)
    for offset, refused in ((9, b"docs/2/7"), (12, b"docs/2/9")):
        letter = _read(await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads))
        key, value, headers = await sent_again(letter, payloads)
        record = Record("docs", 2, offset, key, value, 5_678, headers)
        assert dict(headers) == {
            "h": b"1",
            "beluga-only": b"beluga/g/docs",
            "beluga-origin": b"docs/2/7@1234",
            "beluga-again": refused,
        }
        assert len(headers) == 4
        assert (event_of(record), refused_place(record)) == ("docs/2/7@1234", refused.decode())


def test_a_record_that_was_forwarded_with_its_headers_is_another_event() -> None:
    headers: Headers = (("beluga-only", b"beluga/g/docs"), ("beluga-origin", b"docs/2/7@1"))
    assert event_of(Record("others", 0, 3, None, b"v", 1_234, headers)) == "others/0/3@1234"


async def test_a_letter_of_an_earlier_version_names_its_event_as_that_version_did() -> None:
    payloads = Payloads(MemoryBlobs())
    record = Record("docs", 2, 7, b"k", b"v", 1_234, (("beluga-only", b"beluga/g/docs"),))
    letter = _read(await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads))
    earlier = tuple(header for header in letter.headers if header[0] != "beluga-logged")
    _, _, headers = await sent_again(letter._replace(headers=earlier), payloads)
    assert event_of(Record("docs", 2, 9, b"k", b"v", 5_678, headers)) == "docs/2/7"


async def test_letters_that_were_sent_before_the_broker_went_away_are_marked() -> None:
    class Leaving(MemoryLog):
        left = 3  # the first page, its markers, the second page

        async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
            if records[0].topic == "docs" or self.records_in("docs"):
                self.left -= 1
            if self.left < 0:
                raise LogUnavailable("gone")
            return await super().append(records)

    log = Leaving()
    dead = await _dead(log, Payloads(MemoryBlobs()), *(str(n).encode() for n in range(250)))
    with pytest.raises(LogUnavailable):
        await dead.replay(await dead.all())
    assert log.records_in("docs") == 200
    assert sum(letter.handled is not None for letter in await dead.all()) == 100


async def test_a_letter_whose_topic_is_gone_holds_up_no_other() -> None:
    log, payloads = MemoryLog(), Payloads(MemoryBlobs())
    dead = await _dead(log, payloads)
    for topic in ("gone", "docs"):
        record = Record(topic, 0, 0, b"k", b"v")
        await log.append([await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads)])
    (kept,) = await dead.replay(await dead.all())
    assert (kept.letter.topic, kept.error.code) == ("gone", TopicMissing.code)
    assert log.records_in("docs") == 1
    assert [letter.handled is None for letter in await dead.all()] == [True, False]


async def test_an_end_of_a_run_that_has_gone_on_is_not_made_its_newest() -> None:
    log, payloads = MemoryLog(), Payloads(MemoryBlobs())
    dead = await _dead(log, payloads)
    log.create([TopicSpec(NAMES.runs, 1)])
    ends = [Outgoing(NAMES.runs, run, value, ()) for run, value in ((b"r", b"failed"), (b"s", b"failed"))]
    await log.append([*ends, Outgoing(NAMES.runs, b"r", b"succeeded", ())])
    for record in log.records(NAMES.runs, 0)[:2]:
        await log.append([await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads)])
    for _ in range(2):  # the second time it is still the newest end of the one, and none of the other
        (kept,) = await dead.replay(await dead.all())
        assert (kept.letter.id, kept.error.code) == ("0-0", "invalid_state")
    sent = [(record.key, record.value) for record in log.records(NAMES.runs, 0)[3:]]
    assert sent == [(b"s", b"failed")] * 2
    assert [letter.handled is None for letter in await dead.all()] == [True, False]


def test_the_command_sends_what_it_can_and_says_what_it_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = MemoryBlobs()
    dead = asyncio.run(_dead(MemoryLog(), Payloads(blobs), b"first", b"x" * 600_000))

    @asynccontextmanager
    async def opened(_: str | None) -> AsyncIterator[DeadLetters]:
        yield dead

    monkeypatch.setattr(letters, "opened", opened)

    def beluga(*words: str) -> Result:
        return CliRunner().invoke(app, ["dead-letters", *words, "--json"])

    blobs.stored.clear()
    shown = beluga("show", "0-1")
    assert (shown.exit_code, json.loads(shown.stdout)["value"]) == (0, None)
    assert "there is no blob" in json.loads(shown.stdout)["gone"]
    assert beluga("replay", "0-1").exit_code == 3
    sent = beluga("replay", "--all")
    assert sent.exit_code == 1
    assert "1 of 2 dead letters could not be sent again" in sent.stderr
    assert [(each["id"], each["handled"]) for each in json.loads(sent.stdout)] == [("0-0", "replayed"), ("0-1", None)]
    assert [each["id"] for each in json.loads(beluga("list").stdout)] == ["0-1"]


def test_all_of_one_topic_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a publisher's mistake: thousands of one topic beside some that somebody has to look at."""
    log, payloads = MemoryLog(), Payloads(MemoryBlobs())

    async def some() -> DeadLetters:
        dead = await _dead(log, payloads, *(str(n).encode() for n in range(250)))
        for record in (Record("docs/0", 0, 0, b"k", b"v"), Record("others", 0, 0, b"k", b"v")):
            await log.append([await dead_letter(NAMES.dead_letters, record, InvalidInput("no good"), payloads)])
        return dead

    dead = asyncio.run(some())

    @asynccontextmanager
    async def opened(_: str | None) -> AsyncIterator[DeadLetters]:
        yield dead

    monkeypatch.setattr(letters, "opened", opened)

    def beluga(*words: str) -> Result:
        return CliRunner().invoke(app, ["dead-letters", *words, "--json"])

    listed = json.loads(beluga("list", "--topic", "others").stdout)
    assert [each["source"] for each in listed] == ["others/0/0"]
    discarded = json.loads(beluga("discard", "--all", "--topic", "docs").stdout)
    assert len(discarded) == 250
    assert {each["handled"] for each in discarded} == {"discarded"}
    assert [each["source"] for each in json.loads(beluga("list").stdout)] == ["others/0/0", "docs/0/0/0"]
    assert beluga("replay", "--all", "--topic", "nothing").stdout.strip() == "[]"
    assert beluga("discard", "0-250").exit_code == 0
    assert beluga("discard", "--all").exit_code == 0
    assert json.loads(beluga("list").stdout) == []


@pytest.mark.parametrize("words", [("discard",), ("discard", "0-1", "--all"), ("replay", "0-1", "--topic", "docs")])
def test_a_choice_of_letters_that_is_none_is_refused_before_anything_is_asked(words: Sequence[str]) -> None:
    assert CliRunner().invoke(app, ["dead-letters", *words, "--broker", "127.0.0.1:1"]).exit_code == 2


async def test_a_message_that_cannot_be_encoded_is_mended() -> None:
    record = Record("docs", 2, 7, b"k", b"v", 0, ())
    letter = await dead_letter(NAMES.dead_letters, record, InvalidInput("half a pair: \ud800"), Payloads(MemoryBlobs()))
    assert dict(letter.headers)["beluga-message"] == b"half a pair: ?"
