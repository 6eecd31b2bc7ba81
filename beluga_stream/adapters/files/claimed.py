"""A folder that one process has to itself, beside those of others below the same one."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ...errors import InvalidConfig

_MOST = 1_000
"""Processes that have a folder below the same one."""


@contextmanager
def claimed(below: Path) -> Iterator[Path]:
    """The first of the folders `0`, `1`, ... that no living process has, emptied. It is this block's until its end.

    So the next process takes what a killed one has left, and nothing piles up. Which process lives is told by a lock of
    the kernel, and not by process ids, which containers that share a volume have in common. Raises `InvalidConfig`.
    """
    try:
        lock, folder = _claim(below)
    except OSError as error:
        raise InvalidConfig(f"there can be no folder of this process below {below}: {error.strerror}") from error
    with lock:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)


def _claim(below: Path) -> tuple[IO[bytes], Path]:
    """The open file whose lock is the claim, and the folder."""
    below.mkdir(parents=True, exist_ok=True)
    for number in range(_MOST):
        lock = (below / f"{number}.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = below / str(number)
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        except BlockingIOError:
            lock.close()
        except BaseException:
            lock.close()
            raise
        else:
            return lock, folder
    raise InvalidConfig(f"{_MOST} processes have a folder below {below} already")
