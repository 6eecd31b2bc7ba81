"""`SummaryMemory`: the last turns as they were, and a summary of those before."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

import orjson

from ..errors import InvalidConfig
from .buffer_memory import BufferMemory, Count, approximate_tokens, check_budget
from .history import History, Turn
from .memory import called, turn_of

Summarise = Callable[[str, Sequence[Turn]], Awaitable[str] | str]

_SUMMARY = "beluga:summary"


@dataclass(frozen=True)
class SummaryMemory(BufferMemory):
    """Once the turns that it recalls have more than `budget` tokens, it sums up the older half of that.

    `summarise(summary, turns)` makes the next summary of the last one (at first empty) and the turns that came after;
    async or not (then in a thread). It is called before a run, and what it raises fails the node that loads: the next
    attempt calls it again. Turns stay kept as its store keeps them: a summary that two runs make at once is made
    twice, and the last one counts. Raises `InvalidConfig` for a budget below 1.
    """

    summarise: Summarise
    _: KW_ONLY
    budget: int = 2_000
    count: Count = approximate_tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        check_budget(self, self.budget)
        if not callable(cast("object", self.summarise)):
            raise InvalidConfig(
                f"SummaryMemory(summarise={self.summarise!r}): give a function of a summary and the turns after it"
            )

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        store = self.opened
        facts = await store.get(self.conversation)
        known = orjson.loads(facts[_SUMMARY]) if _SUMMARY in facts else {"text": "", "until": 0}
        text, until = cast("str", known["text"]), cast("int", known["until"])
        turns = [
            turn_of(entry.value, entry.place) for entry in await store.load(self.conversation) if entry.place > until
        ]
        sizes = [self.count(turn.text) for turn in turns]
        if sum(sizes) > self.budget:
            older = 0
            while sum(sizes[older:]) > self.budget // 2:
                older += 1
            text = await called(self.summarise, text, turns[:older])
            until = turns[older - 1].number
            value = orjson.dumps({"text": text, "until": until})
            await store.put(self.conversation, f"{_SUMMARY}:{until}", {_SUMMARY: value})
            turns = turns[older:]
        return History(turns=tuple(turns), summary=text)
