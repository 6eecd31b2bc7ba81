"""What a fetch in a session says, and what comes of it, by a broker that answers as the test says and by a real one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import InvalidFetchSessionEpoch, KafkaConnectionError, KafkaStorageError
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4, FetchRequest_v11
from hypothesis import given
from hypothesis import strategies as st

from beluga_stream.adapters.kafka.closing import close
from beluga_stream.adapters.kafka.consumer import PromptConsumer
from beluga_stream.adapters.kafka.fetch_packet import Asked, FetchAnswer, FetchPacket
from beluga_stream.adapters.kafka.fetch_session import FetchSession, in_sessions
from beluga_stream.adapters.kafka.packet import Versions

PARTITIONS = 6
_WITHIN = 60.0
_NEW = {1: (4, 17)}
_OLD = {1: (4, 10)}


class Heard:
    """A fetch as the broker reads it."""

    def __init__(self, packet: FetchPacket) -> None:
        body = FetchRequest_v11.decode(BytesIO(packet.body()))
        self.session, self.epoch = body.session_id, body.session_epoch
        self.asked = {(topic, number): offset for topic, parts in body.topics for number, _, offset, _, _ in parts}
        self.gone = {(topic, number) for topic, numbers in body.forgotten_topics_data for number in numbers}


class Script:
    """A broker that says one thing after the other; each is an answer, or what goes wrong."""

    def __init__(self, *says: FetchAnswer | BaseException | type[BaseException], versions: Versions = _NEW) -> None:
        self._says = list(says)
        self._versions = versions
        self.heard: list[Heard] = []
        self.plain: list[Any] = []

    async def send(self, asking: Any) -> Any:
        packet = asking.packed(self._versions)
        if packet is None:
            self.plain.append(asking.prepare(self._versions))
            return object()
        self.heard.append(Heard(packet))
        said = self._says.pop(0)
        if isinstance(said, FetchAnswer):
            return said
        raise said


def says(session: int = 7, error: int = 0) -> FetchAnswer:
    return FetchAnswer(error, session, [])


def fetch(**topics: Sequence[tuple[int, int]]) -> FetchRequest:
    asked: list[tuple[str, list[Asked]]] = [
        (topic, [(number, offset, 1000) for number, offset in parts]) for topic, parts in topics.items()
    ]
    return FetchRequest(50, 1, 10_000, 0, asked)


async def test_the_first_fetch_names_everything_and_later_ones_what_has_changed() -> None:
    session, broker = FetchSession(), Script(says(), says(), says(), says())
    await session.fetch(fetch(t=[(0, 5), (1, 6)], u=[(0, 7)]), broker.send)
    await session.fetch(fetch(t=[(0, 5), (1, 6)], u=[(0, 7)]), broker.send)
    await session.fetch(fetch(u=[(0, 7)], t=[(1, 9), (0, 5)]), broker.send)
    await session.fetch(fetch(u=[(0, 7), (1, 0)], t=[(1, 9), (0, 5)]), broker.send)
    assert [(each.session, each.epoch) for each in broker.heard] == [(0, 0), (7, 1), (7, 2), (7, 3)]
    assert broker.heard[0].asked == {("t", 0): 5, ("t", 1): 6, ("u", 0): 7}
    assert [each.asked for each in broker.heard[1:]] == [{}, {("t", 1): 9}, {("u", 1): 0}]
    assert not any(each.gone for each in broker.heard)


async def test_a_partition_that_is_not_wanted_is_forgotten_and_named_when_it_is_again() -> None:
    session, broker = FetchSession(), Script(*[says()] * 4)
    await session.fetch(fetch(t=[(0, 5), (1, 6)], u=[(0, 7)]), broker.send)
    await session.fetch(fetch(t=[(1, 6)]), broker.send)
    await session.fetch(fetch(t=[(1, 6)]), broker.send)
    await session.fetch(fetch(t=[(0, 5), (1, 6)]), broker.send)
    assert [each.gone for each in broker.heard] == [set(), {("t", 0), ("u", 0)}, set(), set()]
    assert [each.asked for each in broker.heard[1:]] == [{}, {}, {("t", 0): 5}]


async def test_one_comes_while_another_goes() -> None:
    """Their numbers are the same, and what the session knows is not."""
    session, broker = FetchSession(), Script(says(), says())
    await session.fetch(fetch(t=[(0, 5)]), broker.send)
    await session.fetch(fetch(t=[(1, 6)]), broker.send)
    assert (broker.heard[1].asked, broker.heard[1].gone) == ({("t", 1): 6}, {("t", 0)})


@pytest.mark.parametrize("error", [70, 71])
async def test_a_session_that_is_lost_is_asked_for_everything_at_once(error: int) -> None:
    session, broker = FetchSession(), Script(says(), says(0, error), says(8), says(8))
    request = fetch(t=[(0, 5), (1, 6)])
    await session.fetch(request, broker.send)
    assert (await session.fetch(request, broker.send)).error_code == 0
    await session.fetch(request, broker.send)
    assert [(each.epoch, len(each.asked)) for each in broker.heard] == [(0, 2), (1, 0), (0, 2), (1, 0)]
    assert broker.heard[3].session == 8


async def test_a_session_that_is_lost_twice_is_an_error() -> None:
    session, broker = FetchSession(), Script(says(), says(7, 71), says(7, 71), says(9))
    request = fetch(t=[(0, 5)])
    await session.fetch(request, broker.send)
    with pytest.raises(InvalidFetchSessionEpoch):
        await session.fetch(request, broker.send)
    await session.fetch(request, broker.send)
    assert (broker.heard[-1].epoch, broker.heard[-1].asked) == (0, {("t", 0): 5})


async def test_a_broker_that_grants_no_session_is_asked_for_everything_every_time() -> None:
    session, broker = FetchSession(), Script(*[says(0)] * 3)
    for _ in range(3):
        await session.fetch(fetch(t=[(0, 5), (1, 6)]), broker.send)
    assert [(each.session, each.epoch, len(each.asked)) for each in broker.heard] == [(0, 0, 2)] * 3


@pytest.mark.parametrize("failure", [KafkaConnectionError(), asyncio.CancelledError()])
async def test_what_may_not_have_been_heard_is_said_again(failure: BaseException) -> None:
    """With the old id, so that the broker drops what it may have of it."""
    session, broker = FetchSession(), Script(says(), failure, says(8))
    await session.fetch(fetch(t=[(0, 5), (1, 6)]), broker.send)
    with pytest.raises(type(failure)):
        await session.fetch(fetch(t=[(0, 9)]), broker.send)
    await session.fetch(fetch(t=[(0, 9)]), broker.send)
    last = broker.heard[-1]
    assert (last.session, last.epoch, last.asked, last.gone) == (7, 0, {("t", 0): 9}, set())
    assert session.id == 8


async def test_another_error_of_the_whole_fetch_is_raised_and_begins_anew() -> None:
    session, broker = FetchSession(), Script(says(), says(7, 56), says(9))
    await session.fetch(fetch(t=[(0, 5)]), broker.send)
    with pytest.raises(KafkaStorageError):
        await session.fetch(fetch(t=[(0, 5)]), broker.send)
    await session.fetch(fetch(t=[(0, 5)]), broker.send)
    assert (broker.heard[-1].session, broker.heard[-1].epoch, broker.heard[-1].asked) == (7, 0, {("t", 0): 5})


async def test_epochs_begin_again_after_the_last() -> None:
    session, broker = FetchSession(), Script(says(), says(), says())
    await session.fetch(fetch(t=[(0, 5)]), broker.send)
    session.epoch = 2**31 - 1
    await session.fetch(fetch(t=[(0, 5)]), broker.send)
    await session.fetch(fetch(t=[(0, 5)]), broker.send)
    assert [each.epoch for each in broker.heard] == [0, 2**31 - 1, 1]


async def test_a_broker_that_is_too_old_is_asked_in_aiokafkas_way() -> None:
    session, broker = FetchSession(), Script(says(), versions=_OLD)
    for _ in range(2):
        await session.fetch(fetch(t=[(0, 5)]), broker.send)
    assert [(each.API_VERSION, each.session_epoch, each.topics[0][0]) for each in broker.plain] == [(10, -1, "t")] * 2
    assert not broker.heard
    oldest = Script(versions={1: (0, 4)})
    await session.fetch(fetch(t=[(0, 5)]), oldest.send)
    assert isinstance(oldest.plain[0], FetchRequest_v4)


async def test_a_new_assignment_is_told_of_everything() -> None:
    """It knows nothing yet: of a partition at rest it would not hear how long it is, until something comes."""
    broker, consumer = Script(*[says()] * 4), Assigned()
    client = in_sessions(consumer)._client
    consumer.heard_by(broker)
    for assignment in ("first", "first", "second", "second"):
        consumer._subscription.subscription.assignment = assignment
        await client.send(0, fetch(t=[(0, 5)]))
    assert [(each.session, each.epoch, len(each.asked)) for each in broker.heard] == [
        (0, 0, 1),
        (7, 1, 0),
        (7, 0, 1),
        (7, 1, 0),
    ]
    consumer._subscription.subscription = None
    with pytest.raises(IndexError):
        await client.send(0, fetch(t=[(0, 5)]))


class Sessions:
    """A broker that keeps sessions as KIP-227 has it, loses some, and does not always hear or answer."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, dict[tuple[str, int], int]]] = {}
        self.granted = 0
        self.grants = True
        self.fate = ""
        self.served: dict[tuple[str, int], int] = {}
        """What the last fetch was held to be for."""

    async def send(self, asking: Any) -> Any:
        if self.fate == "not heard":
            asking.packed(_NEW)
            raise KafkaConnectionError
        answer = self._answer(Heard(asking.packed(_NEW)))
        if self.fate == "not answered":
            raise KafkaConnectionError
        return answer

    def _answer(self, heard: Heard) -> FetchAnswer:
        if heard.epoch == 0:
            self.known.pop(heard.session, None)
            self.served = dict(heard.asked)
            if not self.grants:
                return says(0)
            self.granted += 1
            self.known[self.granted] = (1, self.served)
            return says(self.granted)
        epoch, wanted = self.known.get(heard.session, (None, {}))
        if epoch is None:
            return says(0, 70)
        if epoch != heard.epoch:
            return says(heard.session, 71)
        assert heard.gone <= wanted.keys()
        wanted.update(heard.asked)
        for target in heard.gone:
            del wanted[target]
        self.known[heard.session] = (epoch + 1, wanted)
        self.served = wanted
        return says(heard.session)


_WANTED = st.dictionaries(st.tuples(st.sampled_from("tu"), st.integers(0, 2)), st.integers(0, 3), max_size=6)
_FATES = st.sampled_from(["", "", "", "not heard", "not answered", "lost", "behind", "none granted"])


@given(st.lists(st.tuples(_WANTED, _FATES), max_size=15))
async def test_what_the_broker_takes_for_wanted_is_what_is(
    fetches: list[tuple[dict[tuple[str, int], int], str]],
) -> None:
    """Whatever was lost on the way: else a partition would be read no more, or from where it was once."""
    session, broker, unanswered = FetchSession(), Sessions(), 0
    for wanted, fate in fetches:
        broker.fate, broker.grants = fate, fate != "none granted"
        if fate == "lost":
            broker.known.clear()
        elif fate == "behind":
            broker.known = {number: (epoch + 1, known) for number, (epoch, known) in broker.known.items()}
        topics: dict[str, list[tuple[int, int]]] = {}
        for (topic, number), offset in wanted.items():
            topics.setdefault(topic, []).append((number, offset))
        try:
            answer = await session.fetch(fetch(**topics), broker.send)
        except KafkaConnectionError:
            unanswered += fate == "not answered"
            continue
        assert answer.error_code == 0
        assert broker.served == wanted
        assert len(broker.known) <= 1 + unanswered, "a former one that was told of is left"


class Assigned:
    """Of a consumer what a session needs: a client without a connection, and an assignment."""

    def __init__(self) -> None:
        self._client: Any = SimpleNamespace(send=self._send, _conns={}, _request_timeout_ms=1000)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=None))
        self._broker = Script()

    def heard_by(self, broker: Script) -> None:
        self._broker = broker

    async def _send(self, _: int, asking: Any, **__: Any) -> Any:
        return await self._broker.send(asking)


# -------------------------------------------------------------------------------------- on a broker
@pytest.fixture(params=[AIOKafkaConsumer, PromptConsumer])
async def consumer(request: pytest.FixtureRequest, broker: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    made = in_sessions(request.param(bootstrap_servers=broker, fetch_max_wait_ms=50, auto_offset_reset="earliest"))
    await made.start()
    made.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
    yield made
    await close(made)


class Reading:
    """What a consumer has brought, by partition."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str) -> None:
        self._consumer = consumer
        self._topic = topic
        self.found: dict[int, list[int]] = {number: [] for number in range(PARTITIONS)}

    async def until(self, **ends: int) -> None:
        """Read until these many records of each partition (p0, p1, ...) are there."""
        wanted = {int(name[1:]): end for name, end in ends.items()}
        async with asyncio.timeout(_WITHIN):
            while any(len(self.found[number]) < end for number, end in wanted.items()):
                for target, records in (await self._consumer.getmany(timeout_ms=500, max_records=7)).items():
                    self.found[target.partition] += [record.offset for record in records]

    async def everywhere(self, count: int) -> None:
        await self.until(**{f"p{number}": count for number in range(PARTITIONS)})


async def write(producer: AIOKafkaProducer, topic: str, count: int, *partitions: int) -> None:
    for number in partitions or range(PARTITIONS):
        sent = [await producer.send(topic, b"%d" % place, partition=number) for place in range(count)]
        await asyncio.gather(*sent)


async def test_every_record_comes_once(producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str) -> None:
    reading = Reading(consumer, topic)
    for number in range(10):
        await write(producer, topic, 3)
        await write(producer, topic, 5, number % PARTITIONS)
        if number % 2:
            await reading.until(p0=3 * (number + 1))
    await write(producer, topic, 20)
    counts = [50 + 5 * (2 if number < 4 else 1) for number in range(PARTITIONS)]
    await reading.until(**{f"p{number}": count for number, count in enumerate(counts)})
    assert reading.found == {number: list(range(count)) for number, count in enumerate(counts)}


async def test_what_is_paused_comes_when_it_is_resumed(
    producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str
) -> None:
    reading = Reading(consumer, topic)
    await write(producer, topic, 5)
    await reading.everywhere(5)
    consumer.pause(TopicPartition(topic, 1), TopicPartition(topic, 4))
    await write(producer, topic, 5)
    await reading.until(p0=10, p2=10, p3=10, p5=10)
    assert (len(reading.found[1]), len(reading.found[4])) == (5, 5)
    consumer.resume(TopicPartition(topic, 1), TopicPartition(topic, 4))
    await reading.everywhere(10)
    await write(producer, topic, 1)
    await reading.everywhere(11)
    assert reading.found == {key: list(range(11)) for key in range(PARTITIONS)}


async def test_a_place_that_is_sought_is_read_from_and_the_others_go_on(
    producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str
) -> None:
    reading = Reading(consumer, topic)
    await write(producer, topic, 10)
    await reading.everywhere(10)
    consumer.seek(TopicPartition(topic, 2), 4)
    await reading.until(p2=16)
    await consumer.seek_to_beginning(TopicPartition(topic, 3))
    await reading.until(p3=20)
    await write(producer, topic, 5, 0)
    await consumer.seek_to_end(TopicPartition(topic, 0))
    await write(producer, topic, 1)
    await reading.until(p0=11, p1=11, p2=17, p3=21, p4=11, p5=11)
    ten, last = list(range(10)), [10]
    assert reading.found[1] == reading.found[4] == reading.found[5] == ten + last
    assert reading.found[2] == ten + ten[4:] + last
    assert reading.found[3] == ten + ten + last
    assert reading.found[0][-1] == 15
    assert sorted(set(reading.found[0])) == reading.found[0], "some may have come before they were passed over"


async def test_what_retention_has_removed_is_passed_over(
    producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str, real_broker: str
) -> None:
    reading = Reading(consumer, topic)
    await write(producer, topic, 10)
    await reading.everywhere(10)
    admin = AIOKafkaAdminClient(bootstrap_servers=real_broker)
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(topic, 3): RecordsToDelete(before_offset=6)})
    finally:
        await admin.close()
    consumer.seek(TopicPartition(topic, 3), 2)
    await reading.until(p3=14)
    await write(producer, topic, 1)
    await reading.everywhere(11)
    assert reading.found.pop(3) == [*range(10), *range(6, 11)]
    assert list(reading.found.values()) == [list(range(11))] * (PARTITIONS - 1)


async def test_nothing_is_lost_with_a_session_or_a_connection(
    producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str
) -> None:
    reading = Reading(consumer, topic)
    await write(producer, topic, 5)
    await reading.everywhere(5)
    client: Any = consumer._client
    for connection in list(client._conns.values()):
        connection.close()
    await write(producer, topic, 5)
    await reading.everywhere(10)
    assert reading.found == {key: list(range(10)) for key in range(PARTITIONS)}


async def test_partitions_at_rest_are_neither_asked_for_nor_answered(
    producer: AIOKafkaProducer, consumer: AIOKafkaConsumer, topic: str, real_broker: str
) -> None:
    reading = Reading(consumer, topic)
    await write(producer, topic, 1)
    await reading.everywhere(1)
    answered: list[int] = []
    client: Any = consumer._client
    send = client.send

    async def watched(node: int, request: Any, **more: Any) -> Any:
        answer = await send(node, request, **more)
        if isinstance(answer, FetchAnswer):
            answered.append(sum(len(parts) for _, parts in answer.topics))
        return answer

    client.send = watched
    await reading.everywhere(1)
    for number in range(2, 12):
        await write(producer, topic, 1, 2)
        await reading.until(p2=number)
    assert sum(answered) <= 2 * 10 + PARTITIONS, "the first may name all"
