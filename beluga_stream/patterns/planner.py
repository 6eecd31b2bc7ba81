"""Plan and execute: a task is cut into steps, each is done knowing those before, and a conclusion is drawn."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, Unpack

from ..api.graph import Graph
from ..api.retry import Seconds
from .budget import Budget, check_budget
from .calling import ask, call, check_callable, wrong
from .options import TurnOptions, check_bound
from .transcript import Reply, Spending, Usage, Value

T = TypeVar("T")


class Plan(Spending):
    """Steps to do, in order. A planner that counts no usage may return the steps alone, as a list of texts."""

    steps: tuple[str, ...]


class Done(Value):
    """A step and what came of it."""

    step: str
    result: str


class Progress(Value):
    """How far a plan is: `done` in order, `todo` in order. The first of `todo` is the step to do now.

    `unsure`: a step was done since the plan was last looked at, and `replan` is next to say what is still to do.
    `stopped`: all is done, or all `steps` that it may have were taken, or its `budget` was; `answer` is the conclusion.
    """

    task: str
    todo: tuple[str, ...]
    done: tuple[Done, ...] = ()
    usage: Usage = Usage()
    unsure: bool = False
    stopped: Literal["done", "steps", "budget"] | None = None
    answer: str | None = None


Planning: TypeAlias = Callable[[str], Awaitable[Plan | Sequence[str]] | Plan | Sequence[str]]
Replanning: TypeAlias = Callable[[Progress], Awaitable[Plan | Sequence[str]] | Plan | Sequence[str]]
Executing: TypeAlias = Callable[[Progress], Awaitable[Reply | str] | Reply | str]


def plan_execute(  # noqa: PLR0913 - options, each given by its name
    name: str,
    plan: Planning,
    execute: Executing,
    conclude: Executing,
    *,
    replan: Replanning | None = None,
    max_steps: int = 20,
    budget: Budget | None = None,
    run_timeout: Seconds = 600,
    **options: Unpack[TurnOptions],
) -> Graph[str, Progress]:
    """A graph from a task to its steps, what came of each, and the conclusion.

    `plan` gives the steps, `execute` does the first of `todo`. `replan` is asked after each step what is still to do
    (an empty list: nothing), in a turn of its own; without it the plan stays. `conclude` speaks in any case, of what
    was done. `options` say how each turn is run. Raises `InvalidGraph` when `max_steps` is below 1.
    """
    check_bound(name, max_steps=max_steps)
    check_budget(name, budget)
    check_callable(name, plan=plan, execute=execute, conclude=conclude, replan=replan)
    graph = Graph[str, Progress](name, timeout=run_timeout)

    async def begin(task: str) -> Progress:
        made = await _planned(name, "plan", plan, task)
        return _looked_at(Progress(task=task, todo=made.steps, usage=made.usage))

    async def turn(progress: Progress) -> Progress:
        if progress.stopped is not None:
            return progress
        if progress.unsure and replan is not None:
            made = await _planned(name, "replan", replan, progress)
            told = {"todo": made.steps, "usage": progress.usage + made.usage, "unsure": False}
        else:
            reply = await _said(name, "execute", execute, progress)
            now, *later = progress.todo
            done = (*progress.done, Done(step=now, result=reply.text))
            told = {"todo": tuple(later), "done": done, "usage": progress.usage + reply.usage}
            told["unsure"] = replan is not None
        return _looked_at(progress.model_copy(update=told))

    def _looked_at(progress: Progress) -> Progress:
        return progress.model_copy(update={"stopped": _stopped(progress)})

    def _stopped(progress: Progress) -> str | None:
        if not progress.todo and not progress.unsure:
            return "done"
        if budget is not None and budget.is_spent(progress.usage):
            return "budget"
        return "steps" if len(progress.done) >= max_steps and not progress.unsure else None

    async def report(progress: Progress) -> Progress:
        reply = await _said(name, "conclude", conclude, progress)
        return progress.model_copy(update={"answer": reply.text, "usage": progress.usage + reply.usage})

    begun = graph.add_node(begin, graph.input, name="plan", **options)
    passes = max_steps if replan is None else 2 * max_steps
    done = graph.add_loop(turn, begun, name="step", until=has_stopped, max_passes=passes, **options)
    graph.set_finish_point(graph.add_node(report, done, name="conclude", **options))
    return graph


async def _planned(graph: str, who: str, function: Callable[[T], Any], value: T) -> Plan:
    found = await call(function, value)
    if isinstance(found, Plan):
        return found
    # A text is a sequence of texts too, one for each letter.
    if isinstance(found, list | tuple) and all(isinstance(step, str) for step in found):
        return Plan(steps=tuple(found))
    raise wrong(graph, who, found, "Plan or a list of texts, one for each step")


async def _said(graph: str, who: str, function: Executing, progress: Progress) -> Reply:
    said = await ask(graph, who, function, progress, Reply, str)
    return said if isinstance(said, Reply) else Reply(text=said)


def has_stopped(progress: Progress) -> bool:
    return progress.stopped is not None
