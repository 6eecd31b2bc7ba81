"""Which chunks of a stream count, told from the order of the log alone."""

from typing import Any

import pytest

from beluga_stream.application.execution.sequence import ChunkSequence
from beluga_stream.application.messages import ChunkEmitted, NodeChange, Progress, Result, RunChange
from beluga_stream.domain.events import Source
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import StreamBroken

RUN = RunId("r" * 32)
NODE = NodeKey("writes")
A, B, C = (Incarnation(each) for each in "abc")


def chunk(seq: int, by: Incarnation = A, attempt: int = 1, **changes: Any) -> ChunkEmitted:
    fields = {"run": RUN, "node": NODE, "value": Inline(f"{by}{seq}"), "at_ms": 0} | changes
    return ChunkEmitted(attempt=attempt, incarnation=by, seq=seq, **fields)


def told(status: str, counter: int, attempt: int = 1, run: RunChange | None = None, **changes: Any) -> Progress:
    node = NodeChange(changes.pop("node", NODE), status, counter, attempt, **changes)
    return Progress(run=RUN, graph="g", at_ms=0, nodes=(node,), status=run)


def reading(*records: Result, resume: bool = False) -> tuple[ChunkSequence, list[Any]]:
    sequence = ChunkSequence(RUN, Source(NODE, A, 0, 5, counter=3, resume=resume))
    found = [value for record in records if (value := sequence.read(record)) is not None]
    return sequence, [each.value for each in found if isinstance(each, Inline)]


def test_chunks_count_once_and_in_order_until_the_node_has_succeeded() -> None:
    other = chunk(0, node=NodeKey("other"))
    elsewhere = chunk(1, run=RunId("s" * 32))
    succeeded = told("succeeded", 9, incarnation=A, chunks=2)
    sequence, values = reading(chunk(0), other, chunk(0), elsewhere, chunk(1), succeeded)
    assert values == ["a0", "a1"]
    assert sequence.over


def test_what_another_execution_emits_beside_it_is_void() -> None:
    _, values = reading(chunk(0), chunk(0, B), chunk(1, B), chunk(1), chunk(2, B))
    assert values == ["a0", "a1"]


def test_statuses_from_before_the_stream_are_no_news() -> None:
    sequence, values = reading(chunk(0), told("failed", 3), told("backoff", 2, 5), chunk(1))
    assert values == ["a0", "a1"]
    assert sequence.shown == 0


@pytest.mark.parametrize(
    "end",
    [
        told("failed", 7),
        told("cancelled", 7),
        told("pending", 7),
        told("ready", 7, attempt=2),
        told("succeeded", 7, incarnation=B, chunks=1),
        told("succeeded", 7, incarnation=A, chunks=2),
        told("succeeded", 7, incarnation=A, chunks=1, stream=B),
        told("running", 7, node=NodeKey("other"), run=RunChange("cancelled", 8)),
        told("running", 7, node=NodeKey("other"), run=RunChange("compensating", 8)),
    ],
    ids=["failed", "cancelled", "recalled", "again", "another", "more", "another wrote", "run cancelled", "run failed"],
)
def test_a_stream_that_proves_void_breaks_off(end: Progress) -> None:
    with pytest.raises(StreamBroken, match="writes"):
        reading(chunk(0), end)


def test_an_attempt_that_resumes_goes_on_where_the_log_shows_it() -> None:
    again = told("ready", 7, attempt=2)
    records = [chunk(0), chunk(1), again, chunk(2), chunk(2, B, 2, resumes=A), chunk(3, B, 2), chunk(3)]
    sequence, values = reading(*records, told("succeeded", 9, 2, incarnation=B, chunks=4), resume=True)
    assert values == ["a0", "a1", "b2", "b3"], "what the first attempt emits after the second is shown is void"
    assert sequence.over
    assert sequence.incarnation == B


def test_only_the_first_that_resumes_is_followed() -> None:
    again = told("ready", 7, attempt=2)
    both = [chunk(1, B, 2, resumes=A), chunk(1, C, 2, resumes=A), chunk(2, C, 2), chunk(2, B, 2)]
    _, values = reading(chunk(0), again, *both, resume=True)
    assert values == ["a0", "b1", "b2"]
    with pytest.raises(StreamBroken):
        reading(chunk(0), again, *both, told("succeeded", 9, 2, incarnation=C, chunks=3, stream=C), resume=True)


def test_who_resumes_and_adds_nothing_ends_the_stream() -> None:
    again = told("ready", 7, attempt=2)
    sequence, _ = reading(chunk(0), again, told("succeeded", 9, 2, incarnation=B, chunks=1, stream=A), resume=True)
    assert sequence.over


def test_an_attempt_that_does_not_go_on_after_the_last_is_no_part_of_it() -> None:
    gap = chunk(2, B, 2, resumes=A)
    late = chunk(1, B, 1, resumes=A)
    _, values = reading(chunk(0), gap, late, chunk(1), resume=True)
    assert values == ["a0", "a1"]
