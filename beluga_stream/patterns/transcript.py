"""What agents say to one another about a task, and how far they are. It is the state that goes from turn to turn."""

from collections.abc import Awaitable, Callable
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import SkipJsonSchema


class Value(BaseModel):
    """Base of what travels between turns: it never changes."""

    model_config = ConfigDict(frozen=True)


class Usage(Value):
    """What models have taken: tokens, and money in a currency of yours."""

    tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(tokens=self.tokens + other.tokens, cost=self.cost + other.cost)


class Spending(Value):
    """Base of what agents give: with what it took. No model is asked to make that up."""

    usage: SkipJsonSchema[Usage] = Usage()


class Reply(Spending):
    """What an agent says. An agent that counts no usage may return the text alone."""

    text: str


class Turn(Value):
    """One thing said."""

    speaker: str
    text: str


class Transcript(Value):
    """A task and what has been said about it, oldest first.

    `next` is whose turn it is, where that is decided apart. `stopped` says why it ended: it was `answered`, or all
    `turns` that it may have were taken, or its `budget` was; `answer` may be there in each case.
    """

    task: str
    turns: tuple[Turn, ...] = ()
    usage: Usage = Usage()
    next: str | None = None
    answer: str | None = None
    stopped: Literal["answered", "turns", "budget"] | None = None

    def said(self, speaker: str, reply: Reply | str, *, next: str | None = None) -> Self:  # noqa: A002 - the field's
        """The transcript with one more turn."""
        reply = reply if isinstance(reply, Reply) else Reply(text=reply)
        return self.model_copy(
            update={
                "turns": (*self.turns, Turn(speaker=speaker, text=reply.text)),
                "usage": self.usage + reply.usage,
                "next": next,
            }
        )

    def answered(self, answer: str) -> Self:
        """The transcript, ended with this answer."""
        return self.model_copy(update={"answer": answer, "stopped": "answered", "next": None})


Agent: TypeAlias = Callable[[Transcript], Awaitable[Reply | str] | Reply | str]
"""Reads what was said and says something. Async, or a plain function, which runs in a thread."""
