"""A run with all its children, driven by hand: events in, effects out, and nothing in between."""

from typing import Any

from beluga_stream import Graph, Retry, Signal
from beluga_stream.application.local.family import Effect, Family, Shown, Stop, TooLong
from beluga_stream.application.messages import NodeReady
from beluga_stream.domain.commands import NotifyParent, PublishRun
from beluga_stream.domain.events import (
    CancelRequested,
    Failure,
    NodeFailed,
    NodeSucceeded,
    Parent,
    RunRequested,
    SignalReceived,
)
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import GraphHash, Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline, Paged, Stored
from beluga_stream.domain.plan import Plan
from beluga_stream.ports.handlers import Program

RUN = RunId("a" * 32)


def increment(number: int) -> int:
    return number + 1


def spread(number: int) -> list[int]:
    return list(range(number))


def total(numbers: list[int]) -> int:
    return sum(numbers)


def plans_of(program: Program) -> dict[GraphHash, Plan]:
    found = {program.definition.hash: Plan(program.definition)}
    for child in program.children.values():
        found |= plans_of(child)
    return found


def begun(graph: Any, value: object, *, parent: Parent | None = None, **options: Any) -> tuple[Family, list[Effect]]:
    program: Program = graph.compile()
    family = Family(RUN, plans_of(program), **options)
    requested = RunRequested(
        run=RUN,
        key=RUN,
        at_ms=0,
        graph=program.definition.name,
        definition=program.definition.hash,
        input=Inline(value),
        digest="d",
        parent=parent,
    )
    return family, family.apply(requested, 0)


def works(effects: list[Effect]) -> list[NodeReady]:
    return [effect for effect in effects if isinstance(effect, NodeReady)]


def done(work: NodeReady, output: object) -> NodeSucceeded:
    return NodeSucceeded(
        run=work.run,
        key=work.key,
        at_ms=1,
        node=work.node,
        attempt=work.attempt,
        incarnation=Incarnation("i"),
        output=Inline(output),
    )


def test_a_child_is_reduced_in_the_same_turn_as_its_parent() -> None:
    inner = Graph[int, int]("inner")
    inner.set_finish_point(inner.add_node(increment, inner.input))
    outer = Graph[int, int]("outer")
    outer.set_finish_point(outer.add_node(increment, outer.add_node(inner, outer.input), name="after"))
    family, effects = begun(outer, 1)
    [work] = works(effects)
    assert (work.graph, work.node) == ("inner", "increment")
    [after] = works(family.apply(done(work, 2), 1))
    assert (after.run, after.node) == (RUN, "after")
    effects = family.apply(done(after, 3), 2)
    assert family.ended
    assert family.root is not None
    assert family.root.output == Inline(3)
    assert [shown.status for shown in statuses(effects)] == ["succeeded"]


def test_a_cancel_stops_what_runs_and_is_told_to_the_parent_outside() -> None:
    graph = Graph[int, int]("one")
    graph.set_finish_point(graph.add_node(increment, graph.input))
    family, _ = begun(graph, 1, parent=Parent(RunId("b" * 32), "b" * 32, NodeKey("child")))
    effects = family.apply(CancelRequested(run=RUN, key=RUN, at_ms=1, reason="enough"), 1)
    assert Stop(RUN, ()) in effects
    assert any(isinstance(effect, Shown) and isinstance(effect.command, NotifyParent) for effect in effects)
    assert family.next_due_ms() is not None
    assert family.fire(10**9) == []


def test_time_that_passes_is_what_the_shell_says() -> None:
    graph = Graph[int, int]("retried")
    graph.set_finish_point(graph.add_node(increment, graph.input, retry=Retry(2, first=10)))
    family, effects = begun(graph, 1)
    [work] = works(effects)
    failed = NodeFailed(
        run=RUN,
        key=RUN,
        at_ms=0,
        node=work.node,
        attempt=1,
        incarnation=Incarnation("i"),
        failure=Failure("execution_failed", "no"),
        retryable=True,
    )
    assert works(family.apply(failed, 0)) == []
    due = family.next_due_ms()
    assert due is not None
    assert family.fire(due - 1) == []
    [again] = works(family.fire(due))
    assert again.attempt == 2


def test_one_that_is_made_of_states_goes_on_with_their_deadlines_and_waits() -> None:
    answer = Signal("answer", int)
    graph = Graph[int, int]("waiting")
    graph.set_finish_point(graph.add_node(increment, graph.wait(answer, after=graph.input, timeout=60)))
    before, _ = begun(graph, 1)
    family = Family(RUN, plans_of(graph.compile()), before.states.values())
    assert family.next_due_ms() == before.next_due_ms() == 60_000
    said = SignalReceived(run=RUN, key=RUN, at_ms=1, signal="answer", id="1", value=Inline(4))
    [work] = works(family.apply(said, 1))
    assert work.arguments[0].payload == Inline(4)


def test_what_is_too_long_is_handed_on_when_it_is_put_away() -> None:
    graph = Graph[int, int]("pages")
    graph.set_finish_point(graph.add_node(total, graph.add_map(increment, graph.add_node(spread, graph.input))))
    family, effects = begun(graph, 128, is_long=lambda state, _: state.page is not None)
    effects = family.apply(done(works(effects)[0], list(range(128))), 1)
    stored = tuple(Stored(f"{RUN}/{number}", 64, 64) for number in range(2))
    for payload in stored:
        effects = [effect for each in works(effects) for effect in family.apply(done(each, 0), 2)]
        [long] = [effect for effect in effects if isinstance(effect, TooLong)]
        assert works(effects) == []
        effects = family.shorten(long.run, payload, 3)
    [join] = works(effects)
    assert join.arguments[0].payload == Paged(stored, 128)


def statuses(effects: list[Effect]) -> list[PublishRun]:
    """What is told of the run itself."""
    shown = [effect.command for effect in effects if isinstance(effect, Shown) and effect.state.run == RUN]
    return [command for command in shown if isinstance(command, PublishRun)]


def test_the_runs_of_passes_that_are_over_are_forgotten_with_their_deadlines() -> None:
    inner = Graph[int, int]("inner", timeout=1)
    inner.set_finish_point(inner.add_node(increment, inner.input))
    body = Graph[int, int]("body", timeout=1)
    body.set_finish_point(body.add_node(inner, body.input))
    graph = Graph[int, int]("graph", timeout=60)
    graph.set_finish_point(graph.add_loop(body, graph.input, until=lambda number: number > 9, max_passes=50))
    family, effects = begun(graph, 0)
    for number in range(40):
        [of_inner] = works(effects)
        assert len(family.states) == 3, "the run, its pass, and what that has started"
        [asked] = works(family.apply(done(of_inner, number), 1))
        effects = family.apply(replace(done(asked, number), done=number == 39), 1)
    assert family.ended
    assert family.next_due_ms() == 60_000
