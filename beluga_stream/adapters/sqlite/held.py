"""One connection of a process to a file: opened at first need, used by one thread at a time, closed with its holder."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Held(Generic[C]):
    """Holds what `opens` gives. It must be usable from any thread.

    A process that was forked has one of its own, and one that failed is opened anew.
    """

    def __init__(self, opens: Callable[[], C]) -> None:
        self._opens = opens
        self._lock = threading.Lock()
        self._pid = 0
        self._connection: C | None = None
        self._end: weakref.finalize[..., Held[C]] | None = None

    @contextmanager
    def transaction(self, execute: Callable[[C, str], object]) -> Iterator[C]:
        """The connection, for what is done at once: kept at the end of the block, undone when it raises."""
        with self._lock:
            connection = self._opened()
            try:
                execute(connection, "BEGIN IMMEDIATE")
                yield connection
                execute(connection, "COMMIT")
            except BaseException:
                self._drop()  # which undoes what was not committed
                raise

    def _opened(self) -> C:
        if self._pid != os.getpid() and self._end is not None:
            self._end.detach()  # another process's, which closes it
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._opens(), os.getpid()
            self._end = weakref.finalize(self, self._connection.close)
        return self._connection

    def _drop(self) -> None:
        self._connection = None
        if self._end is not None:
            self._end()
