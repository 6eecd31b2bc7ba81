"""Evaluator loop: one agent drafts, another judges, until a draft is good enough."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias, Unpack

from ..api.graph import Graph
from ..api.retry import Seconds
from .budget import Budget
from .calling import ask, check_callable
from .options import TurnOptions, check_bound
from .talk import take_turns
from .transcript import Agent, Reply, Spending, Transcript


class Verdict(Spending):
    """Whether the last draft will do; `feedback` says what the next one should do better."""

    accepted: bool
    feedback: str = ""


Evaluate: TypeAlias = Callable[[Transcript], Awaitable[Verdict] | Verdict]


def evaluator(
    name: str,
    generate: Agent,
    evaluate: Evaluate,
    *,
    max_drafts: int = 3,
    budget: Budget | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[str, Transcript]:
    """A graph from a task to its drafts and what was said of them.

    `generate` reads the task and the feedback so far, `evaluate` the drafts. `answer` is the accepted draft, or with
    `stopped="turns"` or `"budget"` the last one. `options` say how each turn is run.
    """
    check_bound(name, max_drafts=max_drafts)
    check_callable(name, generate=generate, evaluate=evaluate)
    graph = Graph[str, Transcript](name, timeout=run_timeout)

    async def step(transcript: Transcript) -> Transcript:
        if len(transcript.turns) % 2 == 0:
            after = transcript.said("generator", await ask(name, "generate", generate, transcript, Reply, str))
            return after.model_copy(update={"answer": after.turns[-1].text})
        verdict = await ask(name, "evaluate", evaluate, transcript, Verdict)
        after = transcript.said("evaluator", verdict.feedback)
        after = after.model_copy(update={"usage": after.usage + verdict.usage})
        return after.answered(after.turns[-2].text) if verdict.accepted else after

    graph.set_finish_point(take_turns(graph, step, max_turns=2 * max_drafts, budget=budget, **options))
    return graph
