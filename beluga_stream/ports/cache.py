"""Where results are kept for a while, and how a handler's are."""

from dataclasses import dataclass, field
from typing import Any, Protocol


class ResultStore(Protocol):
    """Results by their keys. One that does not answer raises `StoreUnavailable`."""

    async def fetch(self, key: str, /) -> bytes | None:
        """The result, unless its time is over."""
        ...

    async def keep(self, key: str, value: bytes, seconds: float, /) -> None:
        """Keep a result for so long; what was under this key is replaced."""
        ...


@dataclass(slots=True)
class Tally:
    """How often a result was there, and how often it was not. `flights`: what is being computed, by loop and key."""

    hits: int = 0
    misses: int = 0
    flights: dict[tuple[int, str], Any] = field(default_factory=dict[tuple[int, str], Any])


@dataclass(frozen=True, slots=True)
class Caching:
    """How the results of one handler are kept: under its name and version, for so long.

    `store` may be the class of one that a `@resource` gives.
    """

    handler: str
    version: str
    seconds: float
    store: ResultStore | type[Any]
    tally: Tally
