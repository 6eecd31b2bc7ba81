"""`KeyValueMemory`: facts by their names, as the user takes them out of each turn."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, cast

import orjson

from ..application.in_process.in_process import InProcessStore
from ..errors import InvalidConfig, InvalidInput
from ..ports.conversations import ConversationStore
from .history import History
from .memory import StoredMemory, called, check_mapping

Extract = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[Mapping[str, Any]] | Mapping[str, Any]]

_OF_OTHERS = "beluga:"


@dataclass(frozen=True)
class KeyValueMemory(StoredMemory[ConversationStore]):
    """Recalls facts, under `memory_key` (`facts`).

    `extract(inputs, outputs)` returns the facts of a turn by their names, as JSON. Facts of later turns replace those
    of earlier ones; None forgets one. It may be async, or not (then it runs in a thread). It may be called again for a
    turn that is tried again, and counts once.
    """

    extract: Extract
    _: KW_ONLY
    store: ConversationStore | type[ConversationStore] = field(default_factory=InProcessStore)
    memory_key: str = "facts"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(cast("object", self.extract)):
            raise InvalidConfig(f"KeyValueMemory(extract={self.extract!r}): give a function of inputs and outputs")

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        found = await self.opened.get(self.conversation)
        facts = {name: orjson.loads(value) for name, value in found.items() if not name.startswith(_OF_OTHERS)}
        return History(facts=facts)

    async def load_memory_variables(self, inputs: Mapping[str, Any], /) -> Mapping[str, Any]:
        return {self.memory_key: dict((await self.recall(inputs)).facts)}

    async def save_context(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], /) -> None:
        told = await called(self.extract, self._own(inputs), check_mapping("output", outputs))
        if not isinstance(cast("object", told), Mapping) or not all(map(_is_name, told)):
            raise InvalidInput(f"extract gave {told!r}: give facts by names that do not begin with {_OF_OTHERS!r}")
        try:
            facts = {name: None if value is None else orjson.dumps(value) for name, value in told.items()}
        except (TypeError, orjson.JSONEncodeError) as error:
            raise InvalidInput(f"extract gave what cannot become JSON: {error}") from error
        await self.opened.put(self.conversation, self._turn_id(), facts)

    async def clear(self) -> None:
        await self.opened.clear(self.conversation)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and not name.startswith(_OF_OTHERS)
