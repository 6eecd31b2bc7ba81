"""A loop whose passes are runs of a graph: what follows when one ends or fails, and what `until` is asked."""

from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, Retry, Run, Signal, node
from beluga_stream.application.clients.answer import Asked
from beluga_stream.application.clients.desk import Desk
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.state import NodeStatus, RunStatus
from beluga_stream.errors import RunFailed
from tests.unit.graphs import CHILD, ROOT, SIGNAL, child_of, edges, plan
from tests.unit.graphs import node as declared
from tests.unit.hand import Hand, hand


def looping() -> tuple[Hand, RunId]:
    loop = child_of("turn", NodeKind.LOOP, CHILD, max_passes=2)
    play = hand(plan([loop], edges("input > turn"), ["turn"]))
    play.step()
    return play, of_pass(play, 1)


def of_pass(play: Hand, number: int) -> RunId:
    run = play.at(f"turn#{number}").child
    assert run is not None
    return run


def ended(play: Hand, run: RunId) -> None:
    """The graph of a pass has its output, and its parent knows."""
    play.done("one", run=run)
    play.done("two", value="two", run=run)
    play.step()


def test_a_pass_is_a_run_and_then_the_question_whether_that_was_the_last() -> None:
    play, first = looping()
    ended(play, first)
    judged = play.at("turn#1")
    assert (judged.status, judged.output, judged.child) == (NodeStatus.READY, Inline("two"), None)
    play.done("turn#1", value="two", done=False)
    play.step()
    second = of_pass(play, 2)
    assert second != first
    ended(play, second)
    play.done("turn#2", value="end", done=True)
    assert play.state.status is RunStatus.SUCCEEDED
    assert play.state.output == Inline("end")


def test_it_fails_after_its_last_pass() -> None:
    play, run = looping()
    ended(play, run)
    play.done("turn#1", done=False)
    play.step()
    ended(play, of_pass(play, 2))
    play.done("turn#2", done=False)
    assert play.state.status is RunStatus.FAILED
    assert play.state.failure is not None
    assert "not done after 2 passes" in play.state.failure.message


def test_a_pass_that_failed_goes_on_with_its_own_run() -> None:
    play, run = looping()
    play.done("one", run=run)
    play.broken("two", run=run)
    play.run()
    assert play.state.status is RunStatus.FAILED
    play.again()
    play.step()
    assert of_pass(play, 1) == run


def test_a_pass_whose_question_failed_is_asked_again_and_does_not_run_again() -> None:
    play, run = looping()
    ended(play, run)
    play.broken("turn#1")
    assert play.state.status is RunStatus.FAILED
    play.again()
    assert play.at("turn#1").status is NodeStatus.READY
    assert play.dispatched[-1][:2] == (ROOT, "turn#1")
    play.done("turn#1", value="two", done=True)
    assert play.state.output == Inline("two")


def test_it_takes_as_many_signals_as_its_passes_have_waits() -> None:
    waiting = plan([declared("held", NodeKind.WAIT, signal=SIGNAL)], edges("input > held"), ["held"], "held")
    loop = child_of("turn", NodeKind.LOOP, waiting, max_passes=3)
    outer = Plan(plan([loop], edges("input > turn"), ["turn"]).definition, {waiting.hash: waiting})
    assert outer.takes(SIGNAL) == 3


def len_of(value: int | str) -> int:
    return len(str(value))


def as_it_is(value: str) -> int | str:
    return value


class Job(BaseModel):
    name: str
    asked: int = 0
    done: bool = False


@node(retry=Retry(1))
def ask(job: Job) -> Job:
    return Job(name=job.name, asked=job.asked + 1, done=job.asked == 2)


def polling() -> Graph[Job, Job]:
    look = Graph[Job, Job]("look")
    look.set_finish_point(look.add_node(ask, look.input, after=look.sleep(0.01)))
    graph = Graph[Job, Job]("polling")
    graph.set_finish_point(graph.add_loop(look, graph.input, until=lambda job: job.done, max_passes=5))
    return graph


class Forking:
    """Stands for `Runs`: keeps what a fork was given."""

    edited: Inline | None = None

    async def fork(self, run: RunId, node: str, *, edited: Inline | None, **_: Any) -> RunId:
        self.edited = edited
        return run

    def asked(self, run: RunId) -> Asked:
        return Asked()


async def test_a_fork_at_it_is_given_what_its_graph_takes_and_not_what_that_gives() -> None:
    body = Graph[int | str, int]("counted")
    body.set_finish_point(body.add_node(len_of, body.input))
    graph = Graph[str, int]("counting")
    first = graph.add_node(as_it_is, graph.input)
    graph.set_finish_point(graph.add_loop(body, first, until=lambda count: count < 2, max_passes=5))
    desk = Forking()
    await Run(cast("Callable[[], Desk]", lambda: desk), "r", graph).fork("counted", input="four")
    assert desk.edited == Inline("four")


async def test_polling_sleeps_between_its_passes() -> None:
    assert await polling().invoke(Job(name="a")) == Job(name="a", asked=3, done=True)


async def test_its_handlers_are_replaced_by_fakes() -> None:
    ended = Job(name="fake", done=True)
    assert await polling().invoke(Job(name="a"), fakes={ask: lambda job: ended}) == ended


async def test_until_that_raises_fails_the_run() -> None:
    graph = Graph[Job, Job]("wrong")
    body = Graph[Job, Job]("wrong_body")
    body.set_finish_point(body.add_node(ask, body.input))

    def until(job: Job) -> bool:
        raise TypeError(f"{job.name} is no answer")

    graph.set_finish_point(graph.add_loop(body, graph.input, until=until, max_passes=5))
    with pytest.raises(RunFailed, match=r"wrong_body#1 raised TypeError: a is no answer"):
        await graph.invoke(Job(name="a"))


async def test_a_signal_reaches_the_pass_that_waits_for_it() -> None:
    go_on = Signal("go_on", Job)
    body = Graph[Job, Job]("asking")
    body.set_finish_point(body.add_node(ask, body.wait(go_on, timeout=60)))
    graph = Graph[Job, Job]("asked")
    graph.set_finish_point(graph.add_loop(body, graph.input, until=lambda job: job.asked == 1, max_passes=5))
    assert (await graph.invoke(Job(name="a"), signals={go_on: Job(name="b")})).name == "b"
