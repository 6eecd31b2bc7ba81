"""Supervisor: one agent decides after each turn who of the others does what next, or that it is done."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, Unpack

from ..api.graph import Graph
from ..api.retry import Seconds
from .budget import Budget
from .calling import ask, check_callable
from .members import chosen, speakers
from .options import TurnOptions
from .talk import take_turns
from .transcript import Agent, Reply, Spending, Transcript


class Assign(Spending):
    """The next turn is that worker's; `task` tells it what for."""

    to: str
    task: str


class Finish(Spending):
    """The task is done."""

    answer: str


Decide: TypeAlias = Callable[[Transcript], Awaitable[Assign | Finish] | Assign | Finish]


def supervisor(
    name: str,
    decide: Decide,
    workers: Mapping[str, Agent],
    *,
    max_turns: int = 20,
    budget: Budget | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[str, Transcript]:
    """A graph from a task to the transcript of how it was done.

    `decide` reads what was said and names a worker, which then reads it too (the last turn is its task) and replies;
    and so on. Decisions and replies are turns, at most `max_turns` of them. `options` say how each is run (`retry`,
    `timeout`, ...). Raises `InvalidGraph` without workers, and for one that cannot be called. A decision for an
    unknown worker fails the turn, without a retry.
    """
    graph = Graph[str, Transcript](name, timeout=run_timeout)
    check_callable(name, decide=decide)
    known = speakers(name, "workers", workers)

    async def step(transcript: Transcript) -> Transcript:
        if transcript.next is not None:
            who = transcript.next
            return transcript.said(who, await ask(name, f"workers[{who!r}]", known[who], transcript, Reply, str))
        decided: Assign | Finish = await ask(name, "decide", decide, transcript, Assign, Finish)
        spent = transcript.model_copy(update={"usage": transcript.usage + decided.usage})
        if isinstance(decided, Finish):
            return spent.answered(decided.answer)
        return spent.said("supervisor", decided.task, next=chosen(name, known, decided.to))

    graph.set_finish_point(take_turns(graph, step, max_turns=max_turns, budget=budget, **options))
    return graph
