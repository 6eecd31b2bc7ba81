"""A worker goes on with the next node of a line by itself, and only where nobody could tell the difference."""

from collections.abc import Sequence

import pytest

from beluga_stream import Graph
from beluga_stream.application.messages import NodeReady
from beluga_stream.application.worker.fusion import Fusion, segment
from beluga_stream.bootstrap.deployment import LoadedDeployment
from beluga_stream.domain.events import Failure, NodeFailed, NodeSucceeded
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import Incarnation, NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline

RUN = RunId("r" * 32)


async def increase(value: int) -> int:
    return value + 1


async def add(left: int, right: int) -> int:
    return left + right


async def either(start: int, changed: int | None) -> int:
    return start if changed is None else changed


line = Graph[int, int]("line")
first = line.add_node(increase, line.input, name="first")
line.set_finish_point(line.add_node(increase, first, name="second"))

fork = Graph[int, int]("fork")
source = fork.add_node(increase, fork.input, name="source")
left = fork.add_node(increase, source, name="left")
right = fork.add_node(increase, source, name="right")
fork.set_finish_point(fork.add_node(add, left, right, name="both"))

choice = Graph[int, int]("choice")
chooser = choice.add_node(increase, choice.input, name="chooser")
taken = choice.add_node(increase, chooser.when(lambda value: value > 1), name="taken")
choice.set_finish_point(choice.add_node(either, choice.input, taken))


def fusion_of(graph: Graph[int, int], known: Sequence[str], most_ms: int = 50) -> tuple[Fusion, NodeReady]:
    """Fusion that has seen these nodes be quick, and the work of the graph's first node."""
    deployment = LoadedDeployment([graph])
    program = deployment.latest(graph.name)
    assert program is not None
    fusion = Fusion(deployment, most_ms=most_ms)
    work = work_of(graph, program.definition.nodes[0].name)
    for name in known:
        fusion.took(work_of(graph, name), 1)
    return fusion, work


def work_of(graph: Graph[int, int], name: str) -> NodeReady:
    program = LoadedDeployment([graph]).latest(graph.name)
    assert program is not None
    return NodeReady(
        run=RUN,
        key=RUN,
        root=RUN,
        graph=graph.name,
        definition=program.definition.hash,
        node=NodeKey(name),
        name=NodeName(NodeKey(name)),
        attempt=3,
        arguments=(),
        generation=2,
        at_ms=1,
    )


def success(work: NodeReady, branches: tuple[int, ...] = ()) -> NodeSucceeded:
    return NodeSucceeded(
        run=work.run,
        key=work.key,
        at_ms=5,
        node=work.node,
        attempt=work.attempt,
        incarnation=Incarnation("i"),
        output=Inline(7),
        branches=branches,
    )


def test_the_next_node_of_a_line_gets_the_output() -> None:
    fusion, work = fusion_of(line, ["second"])
    following = fusion.following(work, success(work), 0)
    assert following is not None
    assert (following.node, following.name, following.attempt) == ("second", "second", 1)
    assert [argument.payload for argument in following.arguments] == [Inline(7)]
    assert following.generation == work.generation


def test_what_is_reported_is_not_what_the_next_node_may_change() -> None:
    fusion, work = fusion_of(line, ["second"])
    outcome = replace(success(work), output=Inline({"rows": [1]}))
    following = fusion.following(work, outcome, 0)
    assert following is not None
    (given,) = following.arguments
    assert given.payload == outcome.output
    given.payload.value["rows"].append(2)  # type: ignore[union-attr]
    assert outcome.output == Inline({"rows": [1]})


def test_after_the_last_node_comes_nothing() -> None:
    fusion, _ = fusion_of(line, ["second"])
    last = work_of(line, "second")
    assert fusion.following(last, success(last), 0) is None


def test_a_node_of_unknown_pace_goes_through_the_log() -> None:
    fusion, work = fusion_of(line, [])
    assert fusion.following(work, success(work), 0) is None


@pytest.mark.parametrize(("elapsed", "fused"), [(0, True), (48, True), (49, False), (500, False)])
def test_a_segment_ends_before_it_lasts_too_long(elapsed: int, *, fused: bool) -> None:
    fusion, work = fusion_of(line, ["second"])
    assert (fusion.following(work, success(work), elapsed) is not None) is fused


def test_a_node_that_was_slow_is_fused_again_after_it_was_quick_for_a_while() -> None:
    fusion, work = fusion_of(line, [])
    second = work_of(line, "second")
    fusion.took(second, 100)
    assert fusion.following(work, success(work), 0) is None
    for _ in range(5):
        fusion.took(second, 1)
    assert fusion.following(work, success(work), 0) is not None


def test_without_fusion_every_node_goes_through_the_log() -> None:
    fusion, work = fusion_of(line, ["second"], most_ms=0)
    assert fusion.following(work, success(work), 0) is None


def test_a_node_that_feeds_two_is_the_end_of_a_line() -> None:
    fusion, work = fusion_of(fork, ["left", "right"])
    assert fusion.following(work, success(work), 0) is None


def test_a_join_is_no_part_of_a_line() -> None:
    fusion, _ = fusion_of(fork, ["both"])
    before = work_of(fork, "left")
    assert fusion.following(before, success(before), 0) is None


def test_only_a_branch_that_was_taken_is_followed() -> None:
    fusion, work = fusion_of(choice, ["taken"])
    assert fusion.following(work, success(work), 0) is None
    assert fusion.following(work, success(work, branches=(0,)), 0) is not None


def test_a_failure_is_reported_at_once() -> None:
    fusion, work = fusion_of(line, ["second"])
    failed = NodeFailed(
        run=RUN,
        key=RUN,
        at_ms=1,
        node=work.node,
        attempt=work.attempt,
        incarnation=Incarnation("i"),
        failure=Failure("execution_failed", "no"),
        retryable=False,
    )
    assert fusion.following(work, failed, 0) is None


def test_a_segment_holds_its_outcomes_in_order() -> None:
    _, work = fusion_of(line, [])
    outcomes = [success(work), success(work_of(line, "second"))]
    whole = segment(outcomes)
    assert list(whole.outcomes) == outcomes
    assert (whole.run, whole.key) == (RUN, RUN)
