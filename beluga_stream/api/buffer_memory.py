"""Memories of the last turns: all that are kept, so many, or as many as a budget of tokens holds."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ..application.in_process.in_process import InProcessStore
from ..domain.conversation import Entry, check_bounds
from ..errors import InvalidConfig
from ..ports.conversations import ConversationStore
from .history import History, Turn
from .memory import StoredMemory, kept, turn_of

Count = Callable[[str], int]

_PAGE = 32
"""How many turns are read at once, where a budget tells how many are wanted."""


def approximate_tokens(text: str) -> int:
    """One token for every four characters, rounded up: for English text right to within a quarter or so.

    Use your model's tokenizer instead where the limit is close.
    """
    return math.ceil(len(text) / 4)


def check_count(owner: str, count: object) -> None:
    """Raises `InvalidConfig` for what gives no number: what cannot be called, and what would have to be awaited."""
    if not callable(count) or inspect.iscoroutinefunction(count):
        raise InvalidConfig(f"{owner}(count={count!r}): give a plain function that tells the tokens of a text")


@dataclass(frozen=True)
class BufferMemory(StoredMemory[ConversationStore]):
    """Recalls every turn that its store keeps (1,000 by default)."""

    _: KW_ONLY
    store: ConversationStore | type[ConversationStore] = field(default_factory=InProcessStore)

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        return History(turns=tuple(map(_turn, await self.opened.load(self.conversation))))

    async def save_context(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], /) -> None:
        await self.opened.append(self.conversation, self._turn_id(), kept(self._turn(inputs, outputs)))

    async def clear(self) -> None:
        await self.opened.clear(self.conversation)


@dataclass(frozen=True)
class WindowMemory(BufferMemory):
    """Recalls the last `k` turns. Raises `InvalidConfig` for less than 1."""

    k: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("WindowMemory", k=self.k)

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        return History(turns=tuple(map(_turn, await self.opened.load(self.conversation, last=self.k))))


@dataclass(frozen=True)
class TokenBufferMemory(BufferMemory):
    """Recalls the last turns that have together at most `budget` tokens; a turn that alone has more is left out too.

    `count` tells the tokens of a text. Raises `InvalidConfig` for a budget below 1, and a `count` that cannot tell.
    """

    budget: int = 2_000
    _: KW_ONLY
    count: Count = approximate_tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("TokenBufferMemory", budget=self.budget)
        check_count("TokenBufferMemory", self.count)

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        found: list[Turn] = []
        left, before = self.budget, None
        while True:
            page = await self.opened.load(self.conversation, last=_PAGE, before=before)
            for entry in reversed(page):
                turn = _turn(entry)
                left -= self.count(turn.text)
                if left < 0:
                    return History(turns=tuple(reversed(found)))
                found.append(turn)
            if len(page) < _PAGE:
                return History(turns=tuple(reversed(found)))
            before = page[0].place


def _turn(entry: Entry) -> Turn:
    return turn_of(entry.value, entry.place)
