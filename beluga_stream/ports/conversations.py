"""Where conversations are kept. Whatever is saved is saved under a turn's id: once, however often it is tried.

All of it is bounded: names and values as `domain/conversation.py` says (else `InvalidInput`), the turns of a
conversation by what its store keeps. Values are bytes that only their writer understands. A store that does not answer
raises `StoreUnavailable`, which is retryable and names it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..domain.conversation import Entry


class ConversationStore(Protocol):
    """Turns in the order of their saving, and facts by their names. Safe to be used by many at once."""

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        """Keep a turn, the latest now. False when this id is kept already: nothing is changed then."""
        ...

    async def load(
        self, conversation: str, /, *, last: int | None = None, before: int | None = None
    ) -> Sequence[Entry]:
        """The turns, oldest first; only the `last` ones, only those of places below `before`."""
        ...

    async def put(self, conversation: str, turn: str, facts: Mapping[str, bytes | None], /) -> bool:
        """Set facts, all or none of them; None removes one. False when this id has set some: nothing is changed."""
        ...

    async def get(self, conversation: str, /) -> Mapping[str, bytes]:
        """The facts by their names."""
        ...

    async def clear(self, conversation: str, /) -> None:
        """Forget turns and facts, their ids too."""
        ...


class VectorStore(Protocol):
    """Turns with the vectors that stand for them."""

    async def add(self, conversation: str, turn: str, vector: Sequence[float], value: bytes, /) -> bool:
        """Keep a turn. False when this id is kept already. Raises `InvalidInput` for a vector of another size."""
        ...

    async def search(self, conversation: str, vector: Sequence[float], k: int, /) -> Sequence[bytes]:
        """The `k` turns whose vectors have the smallest angle to this one, the most alike first."""
        ...

    async def clear(self, conversation: str, /) -> None:
        """Forget the turns."""
        ...
