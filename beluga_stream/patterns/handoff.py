"""Handoff: the agent whose turn it is answers, or passes the task on to another that knows better."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias, Unpack

from ..api.graph import Graph
from ..api.retry import Seconds
from .budget import Budget
from .calling import ask
from .members import chosen, speakers
from .options import TurnOptions
from .talk import take_turns
from .transcript import Reply, Spending, Transcript


class Handoff(Spending):
    """Somebody else goes on; `text` is what it should know."""

    to: str
    text: str


Passing: TypeAlias = Callable[[Transcript], Awaitable[Reply | Handoff | str] | Reply | Handoff | str]


def handoff(
    name: str,
    agents: Mapping[str, Passing],
    *,
    start: str,
    max_turns: int = 10,
    budget: Budget | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[str, Transcript]:
    """A graph from a task to the transcript that ends with an answer.

    The agent `start` begins; whoever returns a `Handoff` names the next, whoever returns a text has answered.
    `options` say how each turn is run. Raises `InvalidGraph` without agents, `InvalidInput` for a `start` that is none
    of them; a handoff to an unknown agent fails the turn, without a retry.
    """
    graph = Graph[str, Transcript](name, timeout=run_timeout)
    known = speakers(name, "agents", agents)
    chosen(name, known, start)

    async def step(transcript: Transcript) -> Transcript:
        speaker = transcript.next or start
        said: Reply | Handoff | str = await ask(
            name, f"agents[{speaker!r}]", known[speaker], transcript, Reply, Handoff, str
        )
        if isinstance(said, Handoff):
            reply = Reply(text=said.text, usage=said.usage)
            return transcript.said(speaker, reply, next=chosen(name, known, said.to))
        after = transcript.said(speaker, said)
        return after.answered(after.turns[-1].text)

    graph.set_finish_point(take_turns(graph, step, max_turns=max_turns, budget=budget, **options))
    return graph
