"""What is taken of what a fetch has brought, and what comes of it when the broker refuses."""

import asyncio
import struct
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import gzip_encode
from aiokafka.consumer.fetcher import FetchError, OffsetResetStrategy
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaConnectionError,
    NotLeaderForPartitionError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedCodecError,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from beluga_stream.adapters.kafka.fetch_packet import FetchAnswer, Found
from beluga_stream.adapters.kafka.fetched import Fetched
from beluga_stream.adapters.kafka.fetcher import PromptFetcher

TARGET = TopicPartition("log", 3)
_LENGTH_AT, _CRC_AT, _ATTRIBUTES_AT, _LAST_AT, _BODY_AT = 8, 17, 21, 23, 61
_PRODUCER_AT = 43
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_WITHIN = 10.0


def batch(first: int, *values: bytes, compression: int = 0) -> bytearray:
    """Records from this offset on, as they lie on the wire."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for place, value in enumerate(values):
        builder.append(place, 1000 + place, b"k%d" % place, value, [("h", b"x")])
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, first)
    return built


def with_header(first: int, *names: str, compression: int = 0) -> bytes:
    """Records with one header each, in which no `~` is UTF-8."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for place, name in enumerate(names):
        builder.append(place, 1000 + place, b"k%d" % place, b"v", [(name, b"x"), ("null", None)])
    built = builder.build().replace(b"~", b"\xff")
    struct.pack_into(">q", built, 0, first)
    if compression:
        body = gzip_encode(bytes(built[_BODY_AT:]))
        built[_BODY_AT:] = body
        built[_ATTRIBUTES_AT + 1] |= compression
        struct.pack_into(">i", built, _LENGTH_AT, len(built) - _LENGTH_AT - 4)
    return bytes(built)


def damaged(built: bytearray) -> bytearray:
    built[_CRC_AT] ^= 1
    return built


def as_control(built: bytearray) -> bytearray:
    built[_ATTRIBUTES_AT + 1] |= _CONTROL
    return built


def in_transaction(built: bytearray, producer: int) -> bytearray:
    built[_ATTRIBUTES_AT + 1] |= _TRANSACTIONAL
    struct.pack_into(">q", built, _PRODUCER_AT, producer)
    return built


def without_the_last(built: bytearray) -> bytearray:
    """As compaction leaves it: the last record is gone, and the batch still knows where it ended."""
    (last,) = struct.unpack_from(">i", built, _LAST_AT)
    struct.pack_into(">i", built, _LAST_AT, last + 1)
    return built


class Place:
    """A partition that is assigned, and what was fetched of it."""

    def __init__(self, position: int) -> None:
        self.subscription = SubscriptionState()
        self.subscription.assign_from_user([TARGET])
        self.state: Any = self.subscription.subscription.assignment.state_value(TARGET)
        self.state.seek(position)

    def fetched(self, *batches: bytes, check_crcs: bool = False, aborted: Any = None) -> Fetched:
        brought = b"".join(map(bytes, batches))
        return Fetched(TARGET, self.state, brought, backoff=1000.0, check_crcs=check_crcs, aborted=aborted)


def offsets(fetched: Fetched, most: int | None = None) -> list[int]:
    return [record.offset for record in fetched.take(most)]


# ------------------------------------------------------------------------------------------- taking
async def test_a_record_is_as_it_was_written() -> None:
    place = Place(5)
    (record,) = place.fetched(batch(5, b"value")).take(None)
    assert (record.topic, record.partition, record.offset) == ("log", 3, 5)
    assert (record.key, record.value, record.headers) == (b"k0", b"value", (("h", b"x"),))
    assert (record.timestamp, record.timestamp_type, record.checksum) == (1000, 0, None)
    assert (record.serialized_key_size, record.serialized_value_size) == (2, 5)
    assert place.state.position == 6


@pytest.mark.parametrize("compression", range(5))
async def test_no_more_is_taken_than_is_asked_for_and_the_rest_follows(compression: int) -> None:
    place = Place(5)
    fetched = place.fetched(batch(5, b"a", b"b", b"c", compression=compression), batch(8, b"d", b"e"))
    assert (offsets(fetched, 2), place.state.position, fetched.is_spent) == ([5, 6], 7, False)
    assert (offsets(fetched, 2), place.state.position, fetched.is_spent) == ([7, 8], 9, False)
    assert (offsets(fetched, 2), place.state.position, fetched.is_spent) == ([9], 10, True)
    assert offsets(fetched) == []


async def test_a_batch_that_begins_earlier_is_taken_from_the_position_on() -> None:
    place = Place(7)
    assert offsets(place.fetched(batch(5, b"a", b"b", b"c", b"d"))) == [7, 8]


async def test_the_position_passes_what_compaction_has_removed_and_what_a_transaction_says() -> None:
    place = Place(0)
    fetched = place.fetched(without_the_last(batch(0, b"a")), as_control(batch(2, b"commit")))
    assert (offsets(fetched), place.state.position) == ([0], 3)
    place.state.seek(3)
    assert (offsets(place.fetched(as_control(batch(3, b"abort")))), place.state.position) == ([], 4)


async def test_what_aborted_transactions_have_written_is_passed_over() -> None:
    place = Place(0)
    fetched = place.fetched(
        batch(0, b"a"),
        in_transaction(batch(1, b"b"), 7),
        in_transaction(batch(2, b"c"), 8),
        in_transaction(batch(3, b"d", b"e"), 7),
        as_control(in_transaction(batch(5, b"abort"), 7)),
        in_transaction(batch(6, b"f"), 7),
        as_control(in_transaction(batch(7, b"commit"), 7)),
        as_control(in_transaction(batch(8, b"commit"), 8)),
        in_transaction(batch(9, b"g"), 7),
        as_control(in_transaction(batch(10, b"abort"), 7)),
        aborted=[(7, 9), (7, 1)],
    )
    assert (offsets(fetched), place.state.position) == ([0, 2, 6], 11)


async def test_what_comes_before_a_damaged_batch_is_brought_and_then_it_is_told_of() -> None:
    place = Place(0)
    fetched = place.fetched(batch(0, b"a", b"b"), damaged(batch(2, b"c")), check_crcs=True)
    assert (offsets(fetched), place.state.position, fetched.is_spent) == ([0, 1], 2, True)
    again = place.fetched(damaged(batch(2, b"c")), check_crcs=True)
    with pytest.raises(CorruptRecordException, match="log/3 from 2"):
        again.take(None)
    assert (place.state.position, again.is_spent) == (2, True)
    assert offsets(place.fetched(damaged(batch(2, b"c")))) == [2], "nobody asked for it to be checked"


async def test_what_comes_before_a_batch_that_cannot_be_read_is_brought() -> None:
    place = Place(0)
    unreadable = batch(2, b"c")
    unreadable[_ATTRIBUTES_AT + 1] |= 0x07
    fetched = place.fetched(batch(0, b"a", b"b"), unreadable)
    assert (offsets(fetched), place.state.position, fetched.is_spent) == ([0, 1], 2, True)
    with pytest.raises(UnsupportedCodecError):
        place.fetched(unreadable).take(None)
    assert place.state.position == 2


@pytest.mark.parametrize("compression", [0, 1])
async def test_the_name_of_a_header_may_be_any_bytes(compression: int) -> None:
    place = Place(0)
    fetched = place.fetched(
        batch(0, b"a"), with_header(1, "good", "b~d", "é", compression=compression), batch(4, b"b"), with_header(5, "~")
    )
    records = fetched.take(2) + fetched.take(None)
    assert [record.offset for record in records] == [0, 1, 2, 3, 4, 5]
    names = [record.headers[0][0] for record in records]
    assert names == ["h", "good", r"b\xffd", "é", "h", r"\xff"]
    assert (records[2].key, records[2].value) == (b"k1", b"v")
    assert records[2].headers[1] == ("null", None)
    assert (place.state.position, fetched.is_spent) == (6, True)


async def test_what_is_not_wanted_any_more_is_not_brought() -> None:
    for change in ("pause", "seek", "another", "none"):
        place = Place(0)
        fetched = place.fetched(batch(0, b"a", b"b"))
        assert offsets(fetched, 1) == [0]
        if change == "pause":
            place.state.pause()
        elif change == "seek":
            place.state.seek(0)
        elif change == "another":
            place.subscription.assign_from_user([TopicPartition("log", 4)])
        else:
            place.subscription.unsubscribe()
        assert (offsets(fetched), fetched.is_spent) == ([], True), change


async def test_it_holds_its_broker_up_for_a_while() -> None:
    place = Place(0)
    assert 900.0 < place.fetched(batch(0, b"a")).calculate_backoff() <= 1000.0
    assert Fetched(TARGET, place.state, b"", backoff=0.0, check_crcs=False).calculate_backoff() == 0.0


# ------------------------------------------------------------------------------------------ refusals
class Broker(AIOKafkaClient):  # type: ignore[misc]  # it ships no types
    """Says one thing to every fetch, and where its log begins and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.says: Any = None
        self.updates = 0
        self.begins, self.ends = 0, 9
        self.trouble = 0

    async def send(self, node_id: int, request: Any, **_: Any) -> Any:
        assert node_id == 1
        if isinstance(request, OffsetRequest):
            ((topic, ((number, which),)),) = request._topics
            offset = self.begins if which == OffsetResetStrategy.EARLIEST else self.ends
            return SimpleNamespace(API_VERSION=1, topics=[(topic, [(number, self.trouble, -1, offset)])])
        assert type(request) is FetchRequest
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        self.updates += 1
        updated: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        updated.set_result(True)
        return updated


class Fetching:
    """A fetcher that is asked to take what the broker says; its routine does not run."""

    def __init__(self, reset: str) -> None:
        self.place = Place(5)
        self.broker = Broker()
        self.fetcher: Any = PromptFetcher(
            self.broker, self.place.subscription, auto_offset_reset=reset, retry_backoff_ms=0
        )
        self.fetcher._fetch_task.cancel()

    async def hears(self, code: int = 0, records: bytes = b"", position: int = 5) -> bool:
        found: Found = (3, code, 9, 8, 0, None, -1, records)
        self.broker.says = FetchAnswer(0, 1, [("log", [found])])
        return await self.takes(position)

    async def takes(self, position: int = 5) -> bool:
        request = FetchRequest(1, 1, 1, 0, [("log", [(3, position, 100)])])
        assignment = self.place.subscription.subscription.assignment
        woken: bool = await self.fetcher._proc_fetch_request(assignment, 1, request)
        return woken

    async def records(self) -> dict[TopicPartition, list[int]]:
        fetched = await self.fetcher.fetched_records([], 0, 10)
        return {target: [record.offset for record in records] for target, records in fetched.items()}


@pytest.fixture(params=["earliest"])
async def fetching(request: pytest.FixtureRequest) -> AsyncIterator[Fetching]:
    made = Fetching(request.param)
    yield made
    await made.fetcher.close()


def never_resets(test: Any) -> Any:
    return pytest.mark.parametrize("fetching", ["none"], indirect=True)(test)


async def test_records_are_kept_and_what_the_broker_says_of_the_partition_is_known(fetching: Fetching) -> None:
    assert await fetching.hears(records=bytes(batch(5, b"a", b"b")))
    state = fetching.place.state
    assert (state.highwater, state.lso, state.timestamp > 0) == (9, 8, True)
    assert await fetching.records() == {TARGET: [5, 6]}
    assert state.position == 7
    assert await fetching.records() == {}


async def test_an_answer_without_records_wakes_nobody(fetching: Fetching) -> None:
    assert not await fetching.hears()
    assert fetching.place.state.highwater == 9


async def test_an_answer_of_an_older_protocol_is_taken_too(fetching: Fetching) -> None:
    records = bytes(batch(5, b"a"))
    for part, stable in (((3, 0, 9, 8, [], records), 8), ((3, 0, 9, records), None)):
        fetching.place.state.seek(5)
        fetching.broker.says = FetchAnswer(0, 0, [("log", [part])])  # type: ignore[list-item]
        assert await fetching.takes()
        assert fetching.place.state.lso == stable
        assert await fetching.records() == {TARGET: [5]}


async def test_what_was_asked_for_before_a_seek_or_another_assignment_is_dropped(fetching: Fetching) -> None:
    assert not await fetching.hears(records=bytes(batch(4, b"a")), position=4)
    fetching.place.subscription.subscription.assignment._unassign()
    assert not await fetching.hears(records=bytes(batch(5, b"a")))
    assert await fetching.records() == {}


@pytest.mark.parametrize("error", [NotLeaderForPartitionError, UnknownTopicOrPartitionError])
async def test_where_the_partition_is_is_asked_anew(fetching: Fetching, error: type[Any]) -> None:
    assert not await fetching.hears(error.errno)
    assert fetching.broker.updates == 1


async def test_a_position_that_retention_has_passed_goes_on_at_the_beginning(fetching: Fetching) -> None:
    fetching.broker.begins = 7
    assert not await fetching.hears(OffsetOutOfRangeError.errno), "it is asked once more"
    assert (fetching.place.state.position, fetching.broker.updates) == (5, 1)
    assert await fetching.hears(OffsetOutOfRangeError.errno)
    assert fetching.place.state.position == 7
    assert await fetching.records() == {TARGET: []}, "that it has moved is told"
    assert await fetching.records() == {}


async def test_a_log_that_has_become_shorter_goes_on_at_its_end(
    fetching: Fetching, caplog: pytest.LogCaptureFixture
) -> None:
    fetching.broker.ends = 3
    assert not await fetching.hears(OffsetOutOfRangeError.errno)
    assert await fetching.hears(OffsetOutOfRangeError.errno)
    assert fetching.place.state.position == 3
    assert "log/3 ends at 3 and was read up to 5 already" in caplog.text
    assert await fetching.hears(records=bytes(batch(3, b"a")), position=3)
    assert await fetching.records() == {TARGET: [3]}


async def test_a_topic_that_was_away_in_between_is_another_and_read_whole(fetching: Fetching) -> None:
    fetching.broker.ends = 3
    assert not await fetching.hears(UnknownTopicOrPartitionError.errno)
    assert not await fetching.hears(OffsetOutOfRangeError.errno)
    assert await fetching.hears(OffsetOutOfRangeError.errno)
    assert fetching.place.state.position == 0


@pytest.mark.parametrize("trouble", [0, NotLeaderForPartitionError.errno])
async def test_a_position_that_may_still_be_there_stays(fetching: Fetching, trouble: int) -> None:
    fetching.broker.trouble = trouble
    for _ in range(3):
        assert not await fetching.hears(OffsetOutOfRangeError.errno)
        assert fetching.place.state.position == 5


@never_resets
async def test_a_position_that_is_gone_is_told_where_it_is_not_to_be_reset(fetching: Fetching) -> None:
    assert await fetching.hears(OffsetOutOfRangeError.errno)
    with pytest.raises(OffsetOutOfRangeError, match="partition=3"):
        await fetching.records()


async def test_who_may_not_read_hears_of_it_once(fetching: Fetching) -> None:
    assert await fetching.hears(TopicAuthorizationFailedError.errno)
    with pytest.raises(TopicAuthorizationFailedError, match="log"):
        await fetching.records()
    assert await fetching.records() == {}


async def test_an_error_is_told_when_what_was_fetched_before_it_has_been_taken(fetching: Fetching) -> None:
    assert await fetching.hears(records=bytes(batch(5, b"a", b"b")))
    fetching.fetcher._records[TopicPartition("log", 4)] = FetchError(error=KafkaConnectionError("x"), backoff=0)
    assert await fetching.records() == {TARGET: [5, 6]}
    with pytest.raises(KafkaConnectionError):
        await fetching.records()


async def test_a_damaged_partition_costs_another_one_nothing(fetching: Fetching) -> None:
    """The other's position has moved already: what it has brought must be brought on."""
    other = TopicPartition("log", 4)
    fetching.place.subscription.assign_from_user([TARGET, other])
    for target, records in ((other, batch(5, b"a", b"b")), (TARGET, damaged(batch(5, b"c")))):
        state = fetching.place.subscription.subscription.assignment.state_value(target)
        state.seek(5)
        fetching.fetcher._records[target] = Fetched(target, state, bytes(records), backoff=0.0, check_crcs=True)
    assert await fetching.records() == {other: [5, 6]}
    with pytest.raises(CorruptRecordException):
        await fetching.records()
    assert await fetching.records() == {}


async def test_what_may_pass_is_asked_again(fetching: Fetching, caplog: pytest.LogCaptureFixture) -> None:
    assert not await fetching.hears(56)
    assert "KafkaStorageError" in caplog.text
    fetching.broker.says = KafkaConnectionError("gone")
    assert not await fetching.takes()
    assert "nothing was fetched from broker 1" in caplog.text
    assert fetching.place.state.position == 5


async def test_a_record_longer_than_a_fetch_is_told_and_passed_over(fetching: Fetching) -> None:
    assert await fetching.hears(records=bytes(batch(5, b"a" * 1000))[:500])
    with pytest.raises(RecordTooLargeError, match="record at 5 of log/3"):
        await fetching.records()
    assert fetching.place.state.position == 6


async def test_one_record_is_waited_for_until_the_fetcher_is_closed(fetching: Fetching) -> None:
    waiting = asyncio.create_task(fetching.fetcher.next_record([]))
    while not fetching.fetcher._fetch_waiters:  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(0)
    await fetching.hears(records=bytes(batch(5, b"a", b"b")))
    for waiter in list(fetching.fetcher._fetch_waiters):
        fetching.fetcher._notify(waiter)
    async with asyncio.timeout(_WITHIN):
        assert (await waiting).offset == 5
        assert (await fetching.fetcher.next_record([])).offset == 6
    fetching.fetcher._closed = True
    with pytest.raises(ConsumerStoppedError):
        await fetching.fetcher.next_record([])
