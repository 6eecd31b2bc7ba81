"""What durable children show in their parent's stream."""

from beluga_stream.application.clients.inner import RunStream
from beluga_stream.application.clients.results import Chunk, Event, NodeChanged, RunChanged, Superseded
from beluga_stream.application.messages import ChunkEmitted, NodeChange, Progress, RunChange
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline

RUN = RunId("a" * 32)


def status(run: str, status: str, counter: int) -> Progress:
    return Progress(run=RunId(run), graph="g", at_ms=0, status=RunChange(status, counter))


def changed(run: str, node: str, status: str, counter: int) -> Progress:
    return Progress(run=RunId(run), graph="g", at_ms=0, nodes=(NodeChange(NodeKey(node), status, counter, 1),))


def chunk(run: str, node: str, seq: int, incarnation: str = "i") -> ChunkEmitted:
    return ChunkEmitted(
        run=RunId(run),
        node=NodeKey(node),
        attempt=1,
        incarnation=Incarnation(incarnation),
        seq=seq,
        value=Inline(seq),
        at_ms=0,
    )


def told(stream: RunStream, *records: Progress | ChunkEmitted) -> list[str]:
    return [_short(event) for record in records for event in stream.read(record, "")]


def _short(event: Event) -> str:
    match event:
        case RunChanged():
            return event.status
        case NodeChanged():
            return f"{event.node} {event.status}"
        case Chunk():
            return f"{event.node}:{event.seq}"
        case Superseded():
            return f"{event.node} void"
        case _:
            raise AssertionError(event)


def test_of_a_durable_graph_that_was_started_readers_see_no_cover() -> None:
    inner = f"{RUN}.@workflow"
    assert told(
        RunStream(RUN),
        status(RUN, "running", 1),
        changed(RUN, "@workflow", "waiting", 2),
        status(inner, "running", 1),
        changed(inner, "draft", "ready", 2),
        chunk(inner, "draft", 0),
        changed(inner, "draft", "succeeded", 3),
        changed(inner, "draft", "succeeded", 3),
        status(inner, "succeeded", 4),
        changed(RUN, "@workflow", "succeeded", 3),
        status(RUN, "succeeded", 4),
    ) == ["running", "draft ready", "draft:0", "draft succeeded", "succeeded"]


def test_what_goes_on_in_a_durable_run_is_over_with_the_run_that_stands_for_it() -> None:
    """Its timeout is the cover's: it ends at once, and its workflow's own end comes after that, unread."""
    inner = f"{RUN}.@workflow"
    assert told(
        RunStream(RUN),
        status(RUN, "running", 1),
        changed(inner, "draft", "ready", 2),
        changed(inner, "draft", "running", 3),
        changed(inner, "told", "succeeded", 4),
        changed(inner, "asked", "waiting", 5),
        changed(RUN, "@workflow", "cancelled", 3),
        status(RUN, "failed", 4),
        changed(inner, "draft", "cancelled", 6),
        changed(inner, "asked", "cancelled", 7),
    ) == [
        "running",
        "draft ready",
        "draft running",
        "told succeeded",
        "asked waiting",
        "draft cancelled",
        "asked cancelled",
        "failed",
    ]


def test_what_a_durable_child_shows_has_its_node_s_name_before() -> None:
    inner = f"{RUN}.sub[3]"
    assert told(RunStream(RUN), changed(RUN, "sub[3]", "waiting", 1), changed(inner, "ask", "ready", 1)) == [
        "sub[3] waiting",
        "sub[3]/ask ready",
    ]


def test_pages_and_durable_runs_of_durable_runs_are_not_shown() -> None:
    others = (f"{RUN}.over[0:64]", f"{RUN}.@workflow.sub", "b" * 32)
    assert told(RunStream(RUN), *(changed(other, "a", "ready", 1) for other in others)) == []


def test_another_durable_run_of_a_node_makes_the_chunks_of_the_one_before_void() -> None:
    first, second = f"{RUN}.@workflow", f"{RUN}.@workflow/2"
    assert told(RunStream(RUN), chunk(first, "draft", 0), chunk(second, "draft", 0), chunk(second, "draft", 1)) == [
        "draft:0",
        "draft void",
        "draft:0",
        "draft:1",
    ]


def test_what_a_durable_run_tells_after_its_parent_has_ended_is_not_shown() -> None:
    stream = RunStream(RUN)
    assert told(stream, status(RUN, "cancelled", 5), changed(f"{RUN}.@workflow", "draft", "cancelled", 4)) == [
        "cancelled"
    ]
    assert stream.final
