"""Durable runs are asked after: soon at first, then by their age ever more seldom."""

from itertools import pairwise
from typing import Any

from beluga_stream.application import codec
from beluga_stream.application.coordinator.lookout import Lookout
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import Parent, RunRequested
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus
from beluga_stream.domain.waiting import Waiting
from tests.unit.engines import RUN, TOPICS
from tests.unit.graphs import child_of, edges, plan

NODE = NodeKey("sub")


def state(attempt: int = 1) -> RunState:
    child = NodeState(NodeStatus.WAITING, attempt, child=RunId(f"{RUN}.sub"), total=3)
    return RunState(
        run=RUN, key=RUN, graph="g", status=RunStatus.RUNNING, digest="", trigger="", started_ms=0, nodes={NODE: child}
    )


def waiting(since_ms: int = 0) -> Waiting:
    return Waiting(NODE, "workflow", "durable run", since_ms)


def asked(lookout: Lookout, until_ms: int, step_ms: int = 1_000) -> list[int]:
    return [at for at in range(0, until_ms, step_ms) if lookout.look_after(0, state(), waiting(), at) is not None]


def test_the_question_says_who_waits_and_what_end_was_told_last() -> None:
    found = Lookout(TOPICS, 30_000).look_after(2, state(), waiting(), 30_000)
    assert found is not None
    assert (found.topic, found.key, found.partition) == (TOPICS.workflow_requests, RUN.encode(), 2)
    question = codec.workflow_requests.decode(found.value)
    assert (question.run, question.parent.run, question.parent.node, question.counter) == (f"{RUN}.sub", RUN, NODE, 3)


def test_it_asks_ever_more_seldom() -> None:
    times = asked(Lookout(TOPICS, 30_000), 3 * 3_600_000)
    assert times[:3] == [30_000, 60_000, 90_000]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 600_000


def test_another_attempt_is_another_run() -> None:
    lookout = Lookout(TOPICS, 30_000)
    assert lookout.look_after(0, state(), waiting(), 30_000) is not None
    assert lookout.look_after(0, state(2), waiting(31_000), 31_000) is None
    assert lookout.look_after(0, state(2), waiting(31_000), 61_000) is not None


def test_what_a_round_does_not_meet_is_forgotten() -> None:
    lookout = Lookout(TOPICS, 30_000)
    assert lookout.look_after(0, state(), waiting(), 30_000) is not None
    lookout.conclude()
    lookout.conclude()
    assert lookout.look_after(0, state(), waiting(), 31_000) is not None


def test_nothing_else_that_runs_wait_for_is_asked_after() -> None:
    other = Waiting(NODE, "child", "run", 0)
    assert Lookout(TOPICS, 30_000).look_after(0, state(), other, 1_000_000) is None


PARENT = plan([child_of("sub", NodeKind.GRAPH)], edges("input > sub"), ["sub"])
CHILD_RUN = RunId("c" * 32)


def with_child(attempt: int = 1, total: int = 0) -> RunState:
    child = NodeState(NodeStatus.WAITING, attempt, child=CHILD_RUN, total=total)
    return replace(state(), input=Inline(3), nodes={NODE: child})


def told(lookout: Lookout, known: RunState, now: int) -> list[Any]:
    waits = Waiting(NODE, "child", "run", 0)
    return [codec.incoming.decode(found.value) for found in lookout.ask_child(PARENT, known, waits, now)]


def test_a_child_is_sent_its_start_again_with_the_question_how_it_stands() -> None:
    lookout = Lookout(TOPICS, 30_000, 300_000)
    assert told(lookout, with_child(), 299_999) == []
    [again] = told(lookout, with_child(), 300_000)
    assert isinstance(again, RunRequested)
    assert (again.run, again.key, again.again, again.input) == (CHILD_RUN, CHILD_RUN, True, Inline(3))
    assert again.parent == Parent(RUN, RUN, NODE)
    assert told(lookout, with_child(), 599_999) == []
    assert len(told(lookout, with_child(), 600_000)) == 1


def test_a_child_that_was_told_to_go_on_is_told_so_again() -> None:
    retry, again = told(Lookout(TOPICS, 30_000, 300_000), with_child(attempt=2, total=5), 300_000)
    assert (retry.type, retry.id, again.type) == ("retry_requested", f"{RUN}/sub/2", "run_requested")


def test_so_many_children_are_asked_after_in_a_round_and_others_in_the_next() -> None:
    lookout = Lookout(TOPICS, 30_000, 300_000)
    runs = [replace(with_child(), run=RunId(f"{number:032}")) for number in range(250)]
    assert sum(len(told(lookout, run, 300_000)) for run in runs) == 200
    lookout.conclude()
    assert sum(len(told(lookout, run, 300_000)) for run in runs) == 50


def test_without_a_time_no_child_is_asked_after() -> None:
    assert told(Lookout(TOPICS, 30_000), with_child(), 10**9) == []
