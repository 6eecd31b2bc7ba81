"""Durable runs are asked after: soon at first, then by their age ever more seldom."""

from itertools import pairwise

from beluga_stream.application import codec
from beluga_stream.application.lookout import Lookout
from beluga_stream.domain.ids import NodeKey, RunId
from beluga_stream.domain.state import NodeState, NodeStatus, RunState, RunStatus
from beluga_stream.domain.waiting import Waiting
from tests.unit.engines import RUN, TOPICS

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
