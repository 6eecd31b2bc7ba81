"""Plan and execute: a task is cut into steps, each is done knowing those before, and a conclusion is drawn."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeAlias, Unpack

from ..api.graph import Graph
from ..api.retry import Seconds
from .budget import Budget
from .calling import call, check_callable
from .options import TurnOptions, check_bound
from .transcript import Reply, Usage, Value


class Done(Value):
    """A step and what came of it."""

    step: str
    result: str


class Progress(Value):
    """How far a plan is: `done` in order, `todo` in order. The first of `todo` is the step to do now.

    `stopped`: all is done, or all `steps` that it may have were taken, or its `budget` was; `answer` is the conclusion.
    """

    task: str
    todo: tuple[str, ...]
    done: tuple[Done, ...] = ()
    usage: Usage = Usage()
    stopped: Literal["done", "steps", "budget"] | None = None
    answer: str | None = None


Planning: TypeAlias = Callable[[str], Awaitable[Sequence[str]] | Sequence[str]]
Replanning: TypeAlias = Callable[[Progress], Awaitable[Sequence[str]] | Sequence[str]]
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
    (an empty list: nothing); without it the plan stays. `conclude` speaks in any case, of what was done. `options` say
    how each step is run. Raises `InvalidGraph` when `max_steps` is below 1.
    """
    check_bound(name, max_steps=max_steps)
    check_callable(name, plan=plan, execute=execute, conclude=conclude, replan=replan)
    graph = Graph[str, Progress](name, timeout=run_timeout)

    async def begin(task: str) -> Progress:
        todo = tuple(await call(plan, task))
        return Progress(task=task, todo=todo, stopped=None if todo else "done")

    async def step(progress: Progress) -> Progress:
        if progress.stopped is not None:
            return progress
        now, *later = progress.todo
        said = await call(execute, progress)
        reply = said if isinstance(said, Reply) else Reply(text=said)
        done = (*progress.done, Done(step=now, result=reply.text))
        after = progress.model_copy(update={"done": done, "todo": tuple(later), "usage": progress.usage + reply.usage})
        if replan is not None:
            after = after.model_copy(update={"todo": tuple(await call(replan, after))})
        return after.model_copy(update={"stopped": _stopped(after)})

    def _stopped(progress: Progress) -> str | None:
        if not progress.todo:
            return "done"
        if budget is not None and budget.is_spent(progress.usage):
            return "budget"
        return "steps" if len(progress.done) >= max_steps else None

    async def report(progress: Progress) -> Progress:
        said = await call(conclude, progress)
        reply = said if isinstance(said, Reply) else Reply(text=said)
        return progress.model_copy(update={"answer": reply.text, "usage": progress.usage + reply.usage})

    begun = graph.add_node(begin, graph.input, name="plan", **options)
    done = graph.add_loop(step, begun, until=has_stopped, max_passes=max_steps, **options)
    graph.set_finish_point(graph.add_node(report, done, name="conclude", **options))
    return graph


def has_stopped(progress: Progress) -> bool:
    return progress.stopped is not None
