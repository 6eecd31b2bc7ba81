"""States of circuit breakers in this process."""

import threading
from collections.abc import Callable
from typing import TypeVar

from ...domain.circuit import CLOSED, Circuit

R = TypeVar("R")


class LocalCircuits:
    """Port `Circuits` for the threads and event loops of one process."""

    waits = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, Circuit] = {}

    def read(self, name: str) -> Circuit:
        return self._states.get(name, CLOSED)

    def update(self, name: str, change: Callable[[Circuit], tuple[Circuit, R]]) -> R:
        with self._lock:
            self._states[name], told = change(self._states.get(name, CLOSED))
            return told
