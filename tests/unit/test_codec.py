import random

import pytest

from beluga_stream.application import codec
from beluga_stream.application.codec import Kept
from beluga_stream.application.messages import CancelNotice, ChunkEmitted, Heartbeat, Progress, Rejected
from beluga_stream.domain.commands import DispatchNode, PublishRun
from beluga_stream.domain.events import RunRequested, SignalReceived
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Gathered, Inline, Paged, Picked, Stored
from beluga_stream.errors import InvalidInput, UnknownVersion
from tests.unit.plays import ROUGH, Play
from tests.unit.random_plans import random_plan

RUN = RunId("r" * 32)
A = NodeKey("a")

PAYLOADS = [
    Inline(None),
    Inline({"a": [1, 2.5, "ü", None, True]}),
    Stored("r/abc", 70_000, 3),
    Gathered((Inline(1), Stored("r/abc", 70_000)), ("x", "y")),
    Paged((Inline([1]), Picked(Stored("r/abc", 9, 2), 1)), 2),
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_every_payload_survives_its_bytes(payload: object) -> None:
    signal = SignalReceived(run=RUN, key=RUN, at_ms=1, signal="s", id="1", value=payload)  # type: ignore[arg-type]
    assert codec.incoming.decode(codec.incoming.encode(signal)) == signal


def test_events_and_heartbeats_share_a_topic() -> None:
    beat = Heartbeat(run=RUN, key=RUN, at_ms=1, node=A, attempt=2, incarnation=Incarnation("i"))
    asked = RunRequested(
        run=RUN, key=RUN, at_ms=1, graph="g", definition=None, input=Inline(1), digest="d", tags={"a": "b"}
    )
    for event in (beat, asked):
        assert codec.incoming.decode(codec.incoming.encode(event)) == event


def test_results_and_control_survive_their_bytes() -> None:
    chunk = ChunkEmitted(run=RUN, node=A, attempt=1, incarnation=Incarnation("i"), seq=0, value=Inline("x"), at_ms=1)
    rejected = Rejected(run=RUN, graph="g", at_ms=1, code="c", message="m", digest="d")
    for result in (chunk, rejected, Progress(run=RUN, graph="g", at_ms=1)):
        assert codec.results.decode(codec.results.encode(result)) == result
    notice = CancelNotice(run=RUN, generation=3, attempts=("a/1",))
    assert codec.control.decode(codec.control.encode(notice)) == notice


@pytest.mark.parametrize("seed", range(40))
def test_every_state_that_a_run_goes_through_survives_its_table_value(seed: int) -> None:
    play = Play(random_plan(random.Random(seed), 6), seed, ROUGH)
    play.run()
    for decision in play.logs[play.state.run].decisions:
        kept = Kept(decision.state, decision.commands, {"t": 3})
        assert codec.kept.decode(codec.kept.encode(kept)) == kept


def test_intents_and_sources_are_kept() -> None:
    state = Play(random_plan(random.Random(1), 2)).run()
    kept = Kept(state, (DispatchNode(A, 1), PublishRun("failed", 7)), {"t": 4, "u": 0})
    assert codec.kept.decode(codec.kept.encode(kept)) == kept


def test_the_version_comes_first() -> None:
    notice = codec.control.encode(CancelNotice(run=RUN, generation=1))
    assert notice.startswith(b'{"v":1,')


@pytest.mark.parametrize("data", [b'{"v":2,"run":"r"}', b'{"run":"r"}', b'{"run":"r","v":0}'])
def test_another_version_is_named(data: bytes) -> None:
    with pytest.raises(UnknownVersion, match="version"):
        codec.control.decode(data)


def test_a_version_may_stand_elsewhere() -> None:
    assert codec.control.decode(b'{"type": "cancel", "run": "r", "generation": 1, "v": 1}').generation == 1


@pytest.mark.parametrize(
    "data", [None, b"", b"{", b"[]", b"1", b"\xff", b'{"v":1,"run":"r"}', b'{"v":1,"run":1,"generation":1}', b'{"v":1,']
)
def test_what_is_no_record_says_what_is_wrong(data: bytes | None) -> None:
    with pytest.raises(InvalidInput, match="control"):
        codec.control.decode(data)


def test_an_unknown_type_of_event_says_so() -> None:
    with pytest.raises(InvalidInput, match="run events"):
        codec.incoming.decode(b'{"v":1,"type":"nonsense"}')


def test_a_text_without_an_end_takes_no_longer_than_another() -> None:
    broken = b'{"v":1,"x":"' + b"[" * 300 + b'\\"' * 400_000
    with pytest.raises(InvalidInput):
        codec.control.decode(broken)
