"""Where the state of circuit breakers is kept, so that those of one name can share it."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..domain.circuit import Circuit

R = TypeVar("R")


class Circuits(Protocol):
    """States of circuits by name. Used from threads and event loops alike, so its methods take a thread's way."""

    @property
    def waits(self) -> bool:
        """Whether a method may wait for a disk or a network: then event loops call it in a thread."""

    def read(self, name: str) -> Circuit:
        """The state of this name; closed when nobody has written it."""

    def update(self, name: str, change: Callable[[Circuit], tuple[Circuit, R]]) -> R:
        """Change the state of this name, and nobody else meanwhile; return what the change says.

        What fails here is the store's matter: a breaker must not become the outage that it is there against.
        """
