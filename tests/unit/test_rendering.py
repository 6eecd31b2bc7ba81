"""Intents that are sent again: what they would need may be gone by then, and so may who waits for it."""

from beluga_stream.application.coordinator.rendering import Renderer, Step
from beluga_stream.application.topics import Topics
from beluga_stream.domain.commands import StartChild
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import CancelRequested, Page, Parent, RunRequested
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.reducer import reduce
from tests.unit.graphs import edges, node, plan

RUN = RunId("r" * 32)
TOPICS = Topics()
CHILD = plan([node("a")], edges("input > a"), ["a"], "child")
PARENT = plan(
    [node("over", NodeKind.MAP, child=CHILD.hash, child_name="child")], edges("input > over"), ["over"], "parent"
)
REQUESTED = RunRequested(
    run=RUN, key=RUN, at_ms=1, graph="parent", definition=PARENT.hash, input=Inline([1, 2]), digest="d"
)


def test_a_child_that_is_waited_for_is_started() -> None:
    begun = reduce(PARENT, None, REQUESTED)
    assert begun is not None
    records = Renderer(TOPICS).render(PARENT, [Step(begun.state, begun.commands)], 1, 0)
    assert sum(record.topic == TOPICS.run_events for record in records) == 2


def test_a_child_of_a_run_that_is_over_is_not_started_again() -> None:
    begun = reduce(PARENT, None, REQUESTED)
    assert begun is not None
    over = reduce(PARENT, begun.state, CancelRequested(run=RUN, key=RUN, at_ms=2))
    assert over is not None
    assert any(isinstance(command, StartChild) for command in begun.commands)
    kept = replace(over.state, input=None, nodes={})
    records = Renderer(TOPICS).render(PARENT, [Step(kept, (*begun.commands, *over.commands))], 2, 0)
    assert not [record for record in records if b"run_requested" in (record.value or b"")]


def test_a_page_is_no_run_of_its_own_in_lists() -> None:
    page = RunRequested(
        run=RunId(f"{RUN}.over[0:64]"),
        key=RUN,
        at_ms=1,
        graph="parent",
        definition=PARENT.hash,
        input=Inline([1, 2]),
        digest="d",
        parent=Parent(RUN, RUN, NodeKey("over[0:64]")),
        page=Page(NodeName(NodeKey("over")), 0, 64),
    )
    for request, summaries in ((REQUESTED, 1), (page, 0)):
        begun = reduce(PARENT, None, request)
        assert begun is not None
        records = Renderer(TOPICS).render(PARENT, [Step(begun.state, begun.commands)], 1, 0)
        assert sum(record.topic == TOPICS.runs for record in records) == summaries
        assert any(record.topic == TOPICS.run_results for record in records)
