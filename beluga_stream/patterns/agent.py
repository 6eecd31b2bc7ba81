"""A graph as an agent of a pattern: it is asked in text, and its answer is what the agent says."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from ..api.work import Work
from ..errors import ExecutionFailed, InvalidGraph
from .calling import wrong
from .planner import Progress
from .transcript import Reply, Transcript


def last_said(transcript: Transcript) -> str:
    """What was said last, or the task when nothing was said yet."""
    return transcript.turns[-1].text if transcript.turns else transcript.task


def as_agent(
    work: Work[str, Any], *, task: Callable[[Transcript], str] = last_said
) -> Callable[[Transcript], Awaitable[Reply]]:
    """Make an agent of a graph that gives a text, a `Reply`, `Transcript` or `Progress`. It runs inside the turn.

    Its input is what `task` makes of the transcript: by default what was said last, or the task. A turn whose graph
    ends without an answer fails, without a retry: the same bounds would end it again. Raises `InvalidGraph` for what is
    no graph or chain.
    """
    if not isinstance(cast("object", work), Work):
        raise InvalidGraph(f"as_agent() is for graphs and chains: a {type(work).__name__} is an agent as it is")

    async def speak(transcript: Transcript) -> Reply:
        found: object = await work.invoke(task(transcript))
        if isinstance(found, str):
            return Reply(text=found)
        if isinstance(found, Reply):
            return found
        if not isinstance(found, Transcript | Progress):
            raise wrong(work.name, "it", found, "str, Reply, Transcript or Progress")
        if found.answer is None:
            raise ExecutionFailed(
                f"graph {work.name!r} ended without an answer: stopped={found.stopped!r}: give it a larger bound, "
                f"or let it answer",
                graph=work.name,
            )
        return Reply(text=found.answer, usage=found.usage)

    return speak
