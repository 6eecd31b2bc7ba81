"""Taking turns: the loop below those patterns in which agents speak one after the other."""

from collections.abc import Awaitable, Callable
from typing import Unpack

from ..api.graph import Graph
from ..api.ref import Ref
from .budget import Budget, check_budget
from .options import TurnOptions, check_bound
from .transcript import Transcript

Step = Callable[[Transcript], Awaitable[Transcript]]


def begin(task: str) -> Transcript:
    """Nothing is said yet."""
    return Transcript(task=task)


def has_stopped(transcript: Transcript) -> bool:
    return transcript.stopped is not None


def take_turns(
    graph: Graph[str, Transcript],
    step: Step,
    *,
    max_turns: int,
    budget: Budget | None,
    **options: Unpack[TurnOptions],
) -> Ref[Transcript]:
    """Add to a graph: steps from its task until one stops, each of which says one thing, in bounds."""
    check_bound(graph.name, max_turns=max_turns)
    check_budget(graph.name, budget)

    async def turn(transcript: Transcript) -> Transcript:
        after = await step(transcript)
        if after.stopped is not None:
            return after
        if budget is not None and budget.is_spent(after.usage):
            return after.model_copy(update={"stopped": "budget"})
        if len(after.turns) >= max_turns:
            return after.model_copy(update={"stopped": "turns"})
        return after

    begun = graph.add_node(begin, graph.input)
    # One pass more than turns: a last step may only find that there is nothing left to say.
    return graph.add_loop(turn, begun, until=has_stopped, max_passes=max_turns + 1, **options)
