"""Debate: agents argue in turns, each hearing the others, and a judge concludes."""

from collections.abc import Mapping
from typing import Unpack

from ..api.graph import Graph
from ..api.retry import Seconds
from .budget import Budget
from .calling import ask, check_callable
from .members import speakers
from .options import TurnOptions, check_bound
from .talk import take_turns
from .transcript import Agent, Reply, Transcript


def debate(
    name: str,
    debaters: Mapping[str, Agent],
    judge: Agent,
    *,
    rounds: int = 2,
    budget: Budget | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[str, Transcript]:
    """A graph from a question to the debate on it and the judge's `answer`.

    In each of the `rounds` every debater speaks once, in the order given. The judge speaks in any case: also when the
    budget ended the debate early. `options` say how each turn is run. Raises `InvalidGraph` without debaters or rounds.
    """
    check_bound(name, rounds=rounds)
    graph = Graph[str, Transcript](name, timeout=run_timeout)
    check_callable(name, judge=judge)
    known = speakers(name, "debaters", debaters)
    order = list(known)

    async def step(transcript: Transcript) -> Transcript:
        speaker = order[len(transcript.turns) % len(order)]
        return transcript.said(
            speaker, await ask(name, f"debaters[{speaker!r}]", known[speaker], transcript, Reply, str)
        )

    async def conclude(transcript: Transcript) -> Transcript:
        after = transcript.said("judge", await ask(name, "judge", judge, transcript, Reply, str))
        return after.model_copy(
            update={
                "answer": after.turns[-1].text,
                "stopped": "budget" if transcript.stopped == "budget" else "answered",
            }
        )

    argued = take_turns(graph, step, max_turns=rounds * len(order), budget=budget, **options)
    graph.set_finish_point(graph.add_node(conclude, argued, **options))
    return graph
