"""What is packed in one go is what aiokafka would have written, and what is read in one go what it would have read."""

from struct import error
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.produce import ProduceRequest, ProduceRequest_v7, ProduceResponse_v7
from hypothesis import given
from hypothesis import strategies as st

from beluga_stream.adapters.kafka.fetch_packet import FetchPacket, Limits
from beluga_stream.adapters.kafka.packet import COUNT
from beluga_stream.adapters.kafka.produce_packet import ProducePacket

_INT16 = st.integers(-(2**15), 2**15 - 1)
_INT32 = st.integers(-(2**31), 2**31 - 1)
_INT64 = st.integers(-(2**63), 2**63 - 1)
_COUNTED = st.integers(0, 2**31 - 1)
_TOPICS = st.text(max_size=8)
_RECORDS = st.binary(max_size=40)
_CLIENT = st.text(max_size=8)


def _by_topic(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[str, list[Any]]]]:
    return st.dictionaries(_TOPICS, st.lists(parts, max_size=3), max_size=3).map(lambda found: list(found.items()))


_ASKED = _by_topic(st.tuples(_INT32, _INT64, _INT32))
_GONE = _by_topic(_INT32)
_FOUND = _by_topic(
    st.tuples(
        _INT32,
        _INT16,
        _INT64,
        _INT64,
        _INT64,
        st.none() | st.lists(st.tuples(_INT64, _INT64), max_size=3),
        _INT32,
        st.none() | _RECORDS,
    )
)
_BATCHES = _by_topic(st.tuples(_INT32, _RECORDS))
_PLACED = _by_topic(st.tuples(_INT32, _INT16, _INT64, _INT64, _INT64))


def written(request: Any, correlation: int, client: str) -> bytes:
    """All that aiokafka's connection writes for it."""
    message: bytes = request.build_request_header(correlation, client).encode() + request.encode()
    return COUNT.pack(len(message)) + message


def framed(answer: Any, correlation: int = 1) -> bytes:
    return COUNT.pack(correlation) + bytes(answer.encode())


# ------------------------------------------------------------------------------------------- fetch
@given(
    limits=st.tuples(_INT32, _INT32, _INT32, st.sampled_from([0, 1])),
    session=st.tuples(_INT32, _INT32),
    asked=_ASKED,
    gone=_GONE,
    ends=st.tuples(st.text(max_size=5), _COUNTED, _CLIENT),
)
def test_a_fetch_is_what_aiokafka_writes(
    limits: tuple[int, int, int, int],
    session: tuple[int, int],
    asked: list[tuple[str, list[tuple[int, int, int]]]],
    gone: list[tuple[str, list[int]]],
    ends: tuple[str, int, str],
) -> None:
    rack, correlation, client = ends
    packet = FetchPacket(
        Limits(*limits), session=session[0], epoch=session[1], asked=dict(asked), gone=dict(gone), rack=rack
    )
    topics = [(topic, [(number, -1, offset, -1, most) for number, offset, most in parts]) for topic, parts in asked]
    like = FetchRequest_v11(-1, *limits, *session, topics, gone, rack)
    assert packet.framed(correlation, client) == written(like, correlation, client)


def test_a_fetch_without_a_session_is_what_aiokafka_builds_of_its_own() -> None:
    asked = [("t", [(0, 5, 100), (7, 0, 100)]), ("u", [(1, 2**40, 100)])]
    ours = FetchPacket(Limits(50, 1, 1000, 0), session=0, epoch=-1, asked=dict(asked), gone={}, rack="r")
    theirs = FetchRequest(50, 1, 1000, 0, asked, rack_id="r").prepare({1: (4, 11)})
    assert ours.framed(9, "c") == written(theirs, 9, "c")


@given(throttle=_INT32, failure=_INT16, session=_INT32, topics=_FOUND)
def test_what_is_fetched_is_read_as_aiokafka_reads_it(
    throttle: int, failure: int, session: int, topics: list[tuple[str, list[Any]]]
) -> None:
    """But for records: where there are none, none at all and empty ones are one."""
    answer = a_fetch().answer(framed(FetchResponse_v11(throttle, failure, session, topics)))
    assert (answer.API_VERSION, answer.error_code, answer.session_id) == (11, failure, session)
    assert answer.topics == [(topic, [(*found[:-1], found[-1] or b"") for found in parts]) for topic, parts in topics]


@given(topics=_FOUND, data=st.data())
def test_a_fetch_that_is_cut_off_is_no_answer(topics: list[tuple[str, list[Any]]], data: st.DataObject) -> None:
    frame = framed(FetchResponse_v11(0, 0, 1, topics))
    end = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises((error, UnicodeDecodeError)):
        a_fetch().answer(frame[:end])


def test_large_records_come_whole_and_are_missed_when_they_do_not() -> None:
    records = bytes(range(256)) * 40_000
    frame = framed(FetchResponse_v11(0, 0, 1, [("t", [(3, 0, 9, 9, 0, [], -1, records)])]))
    assert a_fetch().answer(frame).topics == [("t", [(3, 0, 9, 9, 0, [], -1, records)])]
    with pytest.raises(error, match=r"in a frame of"):
        a_fetch().answer(frame[:-1])


# ------------------------------------------------------------------------------------------ produce
@given(acks=st.sampled_from([1, -1]), timeout=_COUNTED, topics=_BATCHES, correlation=_COUNTED, client=_CLIENT)
def test_a_produce_is_what_aiokafka_writes(
    acks: int, timeout: int, topics: list[tuple[str, list[tuple[int, bytes]]]], correlation: int, client: str
) -> None:
    packet = ProducePacket.of(ProduceRequest(None, acks, timeout, topics), {0: (3, 7)})
    assert packet is not None
    like = ProduceRequest_v7(None, acks, timeout, topics)
    assert packet.framed(correlation, client) == written(like, correlation, client)


@given(topics=_PLACED, throttle=_INT32)
def test_what_was_placed_is_read_as_aiokafka_reads_it(topics: list[tuple[str, list[Any]]], throttle: int) -> None:
    answer = a_produce().answer(framed(ProduceResponse_v7(topics, throttle)))
    assert answer.API_VERSION == 7
    assert answer.topics == topics


@given(topics=_PLACED, data=st.data())
def test_a_produce_that_is_cut_off_is_no_answer(topics: list[tuple[str, list[Any]]], data: st.DataObject) -> None:
    frame = framed(ProduceResponse_v7(topics, 0))
    end = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises((error, UnicodeDecodeError)):
        a_produce().answer(frame[:end])


@pytest.mark.parametrize(
    ("acks", "transaction", "versions"),
    [
        (0, None, {0: (0, 9)}),
        (-1, "some-id", {0: (0, 9)}),
        (-1, None, {0: (0, 6)}),
        (-1, None, {0: (8, 11)}),
        (-1, None, {1: (0, 9)}),
    ],
    ids=["not answered", "in a transaction", "an old broker", "a broker to come", "no broker at all"],
)
def test_what_a_packet_is_not_for_is_left_to_aiokafka(
    acks: int, transaction: str | None, versions: dict[int, tuple[int, int]]
) -> None:
    assert ProducePacket.of(ProduceRequest(transaction, acks, 100, [("t", [(0, b"b")])]), versions) is None


def test_packets_are_joined_by_topic_and_stay_as_they_were() -> None:
    one = ProducePacket(-1, 100, {"t": [(0, b"a")], "u": [(5, b"bb")]})
    two = ProducePacket(-1, 100, {"t": [(1, b"ccc")]})
    three = ProducePacket(-1, 100, {"v": [(2, b"")]})
    joined = one.joined([two, three])
    assert sorted(joined.targets) == [("t", 0), ("t", 1), ("u", 5), ("v", 2)]
    assert joined.size == 6
    like = ProduceRequest_v7(None, -1, 100, [("t", [(0, b"a"), (1, b"ccc")]), ("u", [(5, b"bb")]), ("v", [(2, b"")])])
    assert joined.framed(1, "c") == written(like, 1, "c")
    assert (one.targets, one.size) == ([("t", 0), ("u", 5)], 3)
    assert two.targets == [("t", 1)]


def a_fetch() -> FetchPacket:
    return FetchPacket(Limits(1, 1, 1, 0), session=0, epoch=-1, asked={}, gone={}, rack="")


def a_produce() -> ProducePacket:
    return ProducePacket(-1, 1, {})
