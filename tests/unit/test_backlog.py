"""Work that waits to be given out: bounds, order, and holding back."""

from collections.abc import Iterator

import msgspec

from beluga_stream.adapters.temporal.backlog import MOST_AT_ONCE, MOST_BYTES, Backlog
from beluga_stream.application.messages import Argument, NodeReady
from beluga_stream.domain.ids import GraphHash, NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline

RUN = RunId("a" * 32)


def works(count: int, text: str = "") -> Iterator[NodeReady]:
    for number in range(count):
        yield NodeReady(
            run=RUN,
            key=RUN,
            root=RUN,
            graph="g",
            definition=GraphHash("h"),
            node=NodeKey(f"node#{number}"),
            name=NodeName(NodeKey("node")),
            attempt=1,
            arguments=(Argument("value", Inline(text)),),
            generation=0,
            at_ms=0,
        )


def test_work_is_given_out_in_its_order_and_in_steps() -> None:
    backlog, given = Backlog(), list(works(250))
    backlog.add(given)
    taken: list[NodeReady] = []
    steps = []
    while backlog.has_room(len(taken)):
        step = backlog.take(len(taken))
        steps.append(len(step))
        taken.extend(step)
    assert taken == given
    assert steps == [100, 100, 50]


def test_a_step_is_bounded_in_bytes_but_one_alone_may_be_of_any_length() -> None:
    backlog = Backlog()
    backlog.add(works(40, "x" * 60_000))
    step = backlog.take(0)
    assert 1 < len(step) < 40
    assert sum(len(msgspec.json.encode(work)) for work in step) <= 1_000_000
    alone = Backlog()
    alone.add(works(2, "x" * 1_500_000))
    assert len(alone.take(0)) == 1


def test_what_no_server_would_take_is_taken_out() -> None:
    backlog = Backlog()
    long = [next(works(1, "x" * MOST_BYTES))]
    backlog.add([*works(2), *long])
    assert backlog.overlong() == [(long[0], len(msgspec.json.encode(long[0])))]
    assert backlog.overlong() == []
    assert backlog.works == tuple(works(2))


def test_no_more_than_its_bound_is_under_way() -> None:
    backlog = Backlog()
    backlog.add(works(10))
    assert not backlog.has_room(MOST_AT_ONCE)
    assert backlog.take(MOST_AT_ONCE) == []
    assert len(backlog.take(MOST_AT_ONCE - 3)) == 3
    assert len(backlog.works) == 7


def test_what_nobody_wants_any_more_is_dropped() -> None:
    backlog = Backlog()
    backlog.add(works(3))
    backlog.drop(lambda work: work.node == "node#1")
    assert [work.node for work in backlog.works] == ["node#0", "node#2"]


def test_work_is_held_back_each_time_twice_as_long_up_to_an_hour() -> None:
    backlog = Backlog()
    backlog.add(works(1))
    lengths = []
    for history in range(0, 8_000, 500):
        assert backlog.may_hold(history)
        lengths.append(backlog.hold(7) - 7)
        assert backlog.take(0) == []
        backlog.let_go(history)
        assert not backlog.may_hold(history + 499)
    assert lengths[:3] == [10_000, 20_000, 40_000]
    assert lengths[-2:] == [3_600_000, 3_600_000]
    assert len(backlog.take(0)) == 1
