"""`VectorMemory`: the turns that are most like what is asked now."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, cast

from ..application.in_process.in_process import InProcessStore
from ..domain.conversation import as_vector, check_bounds
from ..errors import InvalidConfig, InvalidInput
from ..ports.conversations import VectorStore
from .history import History, text_of
from .memory import StoredMemory, called, kept, turn_of

Embed = Callable[[str], Awaitable[Sequence[float]] | Sequence[float]]


@dataclass(frozen=True)
class VectorMemory(StoredMemory[VectorStore]):
    """Recalls the `k` turns whose vectors have the smallest angle to that of the input, the most alike first.

    `embed` makes a vector of a text, of a turn's input and output as well as of an input; async or not (then in a
    thread). All vectors of a conversation have one size: its first one's, or `dimensions`. Raises `InvalidConfig` for
    `k` or `dimensions` below 1.
    """

    embed: Embed
    _: KW_ONLY
    k: int = 4
    dimensions: int | None = None
    store: VectorStore | type[VectorStore] = field(default_factory=InProcessStore)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(cast("object", self.embed)):
            raise InvalidConfig(f"VectorMemory(embed={self.embed!r}): give a function that makes a vector of a text")
        check_bounds("VectorMemory", k=self.k, dimensions=self.dimensions)

    async def recall(self, inputs: Mapping[str, Any], /) -> History:
        asked = text_of(self._input(inputs))
        found = await self.opened.search(self.conversation, await self._vector(asked), self.k)
        return History(turns=tuple(map(turn_of, found)))

    async def save_context(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], /) -> None:
        turn = self._turn(inputs, outputs)
        vector = await self._vector(turn.text)
        await self.opened.add(self.conversation, self._turn_id(), vector, kept(turn))

    async def clear(self) -> None:
        await self.opened.clear(self.conversation)

    async def _vector(self, text: str) -> Sequence[float]:
        vector = as_vector(await called(self.embed, text))
        if self.dimensions is not None and len(vector) != self.dimensions:
            raise InvalidInput(
                f"embed gave {len(vector)} numbers, and dimensions={self.dimensions}: mend the one or the other"
            )
        return vector
