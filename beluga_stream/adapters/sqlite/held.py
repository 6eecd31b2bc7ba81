"""One connection of a process to a file: opened at first need, used by one thread at a time, closed with its holder."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from ...errors import BelugaError


class Closable(Protocol):
    """A connection."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Held(Generic[C]):
    """Holds what `opens` gives, which waits at most so many seconds for others. It must be usable from any thread.

    A process that was forked has one of its own, and one that failed is opened anew.
    """

    def __init__(self, opens: Callable[[float], C]) -> None:
        self._opens = opens
        self._lock = threading.Lock()
        self._pid = 0
        self._connection: C | None = None
        self._end: weakref.finalize[..., Held[C]] | None = None

    @contextmanager
    def transaction(self, execute: Callable[[C, str], object], until: float) -> Iterator[C]:
        """The connection, for what is done at once: kept at the end of the block, undone when it raises.

        It waits for others up to this moment of `time.monotonic`: for SQLite to say that they are at it, and for
        threads of this process, which wait for them too. Raises `TimeoutError` for the latter.
        """
        if not self._lock.acquire(timeout=_left(until)):
            raise TimeoutError("others of this process are at it")
        try:
            connection = self._opened(_left(until))
            try:
                execute(connection, f"PRAGMA busy_timeout = {round(_left(until) * 1000)}")
                execute(connection, "BEGIN IMMEDIATE")
                yield connection
                execute(connection, "COMMIT")
            except BelugaError:  # the block's own: nothing is wrong with the connection
                execute(connection, "ROLLBACK")
                raise
            except BaseException:
                self._drop()  # which undoes what was not committed
                raise
        finally:
            self._lock.release()

    def _opened(self, seconds: float) -> C:
        if self._pid != os.getpid() and self._end is not None:
            self._end.detach()  # another process's, which closes it
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._opens(seconds), os.getpid()
            self._end = weakref.finalize(self, self._connection.close)
        return self._connection

    def _drop(self) -> None:
        self._connection = None
        if self._end is not None:
            self._end()


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
