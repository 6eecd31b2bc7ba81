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
    """How often a result was there, and how often it was not; how often its store was silent for too long.

    `flights`: what is being computed, by loop and key. Until `quiet_until` (a loop's time in seconds) the store is
    not asked, from `tell_from` on a silence is worth a line in the log again.
    """

    hits: int = 0
    misses: int = 0
    silences: int = 0
    quiet_until: float = 0.0
    tell_from: float = 0.0
    flights: dict[tuple[int, str], Any] = field(default_factory=dict[tuple[int, str], Any])


@dataclass(frozen=True, slots=True)
class Caching:
    """How the results of one handler are kept: under its name and version, for so long.

    `store` may be the class of one that a `@resource` gives; it has `timeout` seconds for each answer.
    """

    handler: str
    version: str
    seconds: float
    store: ResultStore | type[Any]
    tally: Tally
    timeout: float
