"""Nodes that read a stream while it is written: when they begin, and what makes them begin again."""

from collections.abc import Sequence

import pytest

from beluga_stream.domain.commands import BroadcastCancel
from beluga_stream.domain.definition import EdgeMode, NodeKind, OnFailure
from beluga_stream.domain.events import NodeStarted, NodeStreaming, NodeSucceeded, StreamVoid
from beluga_stream.domain.ids import Incarnation
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.retry import RetryPolicy
from beluga_stream.domain.state import NodeStatus
from tests.unit.graphs import ONCE, edge, edges, node, plan
from tests.unit.hand import Hand, commands, hand

HARDY = RetryPolicy(attempts=5)


def written(*, resume: bool = False, **reader: object) -> Plan:
    return plan(
        [
            node("writes", NodeKind.STREAM, retry=HARDY, resume=resume),
            node("reads", retry=HARDY, **reader),
            node("last"),
        ],
        [*edges("input > writes", "reads > last"), edge("writes", "reads", EdgeMode.STREAM)],
        ["last"],
    )


def streams(play: Hand, incarnation: str, offset: int = 0, resumed: str | None = None) -> None:
    event = NodeStreaming(
        **play.known("writes"),
        incarnation=Incarnation(incarnation),
        partition=0,
        offset=offset,
        resumed=None if resumed is None else Incarnation(resumed),
    )
    play.deliver(event)


def stopped(play: Hand) -> Sequence[str]:
    """The single attempts that workers were told to stop, in that order."""
    return [attempt for command in commands(play, BroadcastCancel) for attempt in command.attempts]


def test_a_reader_begins_with_the_first_chunk_and_ends_when_it_likes() -> None:
    play = hand(written())
    assert play.attempts() == ["writes/1"]
    streams(play, "w")
    assert play.attempts() == ["writes/1", "reads/1"]
    play.done("reads")
    assert play.attempts()[-1] == "last/1"
    play.done("writes", incarnation=Incarnation("w"))
    assert not stopped(play)


def test_a_reader_begins_again_when_its_writer_does_and_that_costs_it_no_retry() -> None:
    play = hand(written())
    streams(play, "w")
    play.broken("writes", retryable=True)
    assert stopped(play) == ["reads/1"]
    assert play.at("reads").status is NodeStatus.PENDING
    play.fire("writes")
    streams(play, "v", 9)
    assert play.attempts()[-2:] == ["writes/2", "reads/2"]
    assert play.at("reads").tries == 1
    play.done("writes", incarnation=Incarnation("v"))
    play.done("reads")
    play.done("last")
    assert play.state.output == Inline("last")


def test_a_reader_that_has_ended_stays_as_it_is_when_its_writer_begins_again() -> None:
    play = hand(written())
    streams(play, "w")
    play.done("reads")
    play.broken("writes", retryable=True)
    assert not stopped(play)
    assert play.at("reads").status is NodeStatus.SUCCEEDED


def test_a_writer_that_resumes_disturbs_no_reader() -> None:
    play = hand(written(resume=True))
    streams(play, "w")
    play.broken("writes", retryable=True)
    play.fire("writes")
    play.deliver(NodeStarted(**play.known("writes"), incarnation=Incarnation("v"), worker="w"))
    streams(play, "v", 9, resumed="w")
    stream = play.at("writes").stream
    assert stream is not None
    assert (stream.incarnation, stream.offset) == ("v", 0)
    assert not stopped(play)
    assert play.at("reads").attempt == 1


def test_an_execution_that_wins_with_another_stream_takes_the_readers_with_it() -> None:
    play = hand(written())
    streams(play, "w")
    play.done("writes", incarnation=Incarnation("v"))
    assert stopped(play) == ["reads/1"]
    assert play.at("writes").stream is None
    assert play.attempts()[-1] == "reads/2"  # it has all of the winner's chunks by now


@pytest.mark.parametrize("another_has_added", [False, True])
def test_who_resumed_and_won_with_nothing_to_add_ends_the_stream_that_it_went_on_with(
    *, another_has_added: bool
) -> None:
    play = hand(written(resume=True))
    streams(play, "w")
    play.broken("writes", retryable=True)
    play.fire("writes")
    if another_has_added:
        play.deliver(NodeStarted(**play.known("writes"), incarnation=Incarnation("u"), worker="w"))
        streams(play, "u", 9, resumed="w")
    won = NodeSucceeded(
        **play.known("writes"), incarnation=Incarnation("v"), output=Inline([1]), resumed=Incarnation("w")
    )
    play.deliver(won)
    stream = play.at("writes").stream
    assert stream is not None
    assert stream.incarnation == "w"
    assert not stopped(play)
    assert play.at("reads").attempt == 1


def test_what_a_reader_told_of_a_stream_that_was_void_is_void_too() -> None:
    play = hand(written())
    streams(play, "w")
    known = {**play.known("reads"), "incarnation": Incarnation("i")}
    play.deliver(NodeStarted(**known, worker="v", details=Inline("ten of them")))
    play.deliver(StreamVoid(**known))
    reader = play.at("reads")
    assert (reader.status, reader.attempt, reader.tries, reader.details) == (NodeStatus.READY, 2, 1, None)
    assert stopped(play) == ["reads/1"]


def test_a_pause_that_a_void_stream_cuts_short_counts_as_the_readers_own_failure() -> None:
    play = hand(written())
    streams(play, "w")
    play.broken("reads", retryable=True)
    assert play.at("reads").status is NodeStatus.BACKOFF
    play.broken("writes", retryable=True)
    play.fire("writes")
    streams(play, "v", 9)
    assert (play.at("reads").status, play.at("reads").tries) == (NodeStatus.READY, 2)


def test_a_fallback_that_reads_begins_again_as_the_fallback() -> None:
    play = hand(written(has_fallback=True))
    streams(play, "w")
    play.broken("reads")
    assert play.at("reads").fallback
    play.broken("writes", retryable=True)
    play.fire("writes")
    streams(play, "v", 9)
    assert (play.at("reads").status, play.at("reads").fallback) == (NodeStatus.READY, True)


def test_a_reader_whose_writer_fails_for_good_fails_with_the_run() -> None:
    play = hand(written())
    streams(play, "w")
    play.broken("writes")
    assert play.state.failure is not None
    assert play.state.failure.node == "writes"
    assert play.at("reads").status is NodeStatus.CANCELLED
    play.again()
    streams(play, "v", 9)
    assert play.attempts()[-2:] == ["writes/2", "reads/2"]


def test_a_reader_of_a_writer_that_is_given_up_and_forgiven_is_skipped() -> None:
    of = plan(
        [
            node("writes", NodeKind.STREAM, on_failure=OnFailure.CONTINUE, retry=ONCE),
            node("reads"),
            node("other"),
            node("last"),
        ],
        [*edges("input > writes", "input > other > last", "reads > last"), edge("writes", "reads", EdgeMode.STREAM)],
        ["last"],
    )
    play = hand(of)
    streams(play, "w")
    play.broken("writes")
    assert stopped(play) == ["reads/1"]
    assert play.at("reads").status is NodeStatus.SKIPPED
    play.done("other")
    assert play.attempts()[-1] == "last/1"
