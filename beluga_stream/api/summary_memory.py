"""`SummaryMemory`: the last turns as they were, and a summary of those before."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, cast

import orjson

from ..domain.conversation import check_bounds
from ..errors import InvalidConfig, InvalidInput
from .buffer_memory import BufferMemory, Count, approximate_tokens, check_count
from .history import History, Turn
from .memory import called, turn_of

Summarise = Callable[[str, Sequence[Turn]], Awaitable[str] | str]

_SUMMARY = "beluga:summary"


@dataclass(frozen=True)
class SummaryMemory(BufferMemory):
    """Recalls the last turns, and a summary of those before them.

    When the turns since the last summary have more than `budget` tokens, `summarise(summary, turns)` makes the next one
    of the last one (at first empty) and the older turns, so that half of the budget is free. It may be async, or not
    (then it runs in a thread). It is called before a run. What it raises fails the node that loads, and so does an
    answer that is no text (`InvalidInput`); the next attempt calls it again. The store keeps the turns all the same. Of
    two summaries that are made at once, the first is kept. Raises `InvalidConfig` for a budget below 1.
    """

    summarise: Summarise
    _: KW_ONLY
    budget: int = 2_000
    count: Count = approximate_tokens

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("SummaryMemory", budget=self.budget)
        check_count("SummaryMemory", self.count)
        if not callable(cast("object", self.summarise)):
            raise InvalidConfig(
                f"SummaryMemory(summarise={self.summarise!r}): give a function of a summary and the turns after it"
            )

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        store = self.opened
        facts = await store.get(self.conversation)
        text, until = _known(facts.get(_SUMMARY, b""))
        turns = [
            turn_of(entry.value, entry.place) for entry in await store.load(self.conversation) if entry.place > until
        ]
        sizes = [self.count(turn.text) for turn in turns]
        if sum(sizes) > self.budget:
            older = 0
            while sum(sizes[older:]) > self.budget // 2:
                older += 1
            text = _checked(await called(self.summarise, text, turns[:older]))
            value = orjson.dumps({"text": text, "until": turns[older - 1].number})
            # Under the end of the last one: of those that are made of it at once one is kept, and none is undone.
            await store.put(self.conversation, f"{_SUMMARY}:after:{until}", {_SUMMARY: value})
            turns = turns[older:]
        return History(turns=tuple(turns), summary=text)


def _known(kept: bytes) -> tuple[str, int]:
    """The summary and the last turn that it covers. What is none counts as nothing: it is made anew of the turns."""
    try:
        known = orjson.loads(kept)
    except orjson.JSONDecodeError:
        return "", 0
    match known:
        case {"text": str(text), "until": int(until)}:
            return text, until
        case _:
            return "", 0


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"summarise gave a {type(text).__name__}: it must give the next summary, a text")
    return text
