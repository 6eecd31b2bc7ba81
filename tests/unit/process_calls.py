"""Functions that the tests of processes call; children import them by their names."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from beluga_stream import context


class Awkward(Exception):
    """Can be pickled and not unpickled, as many exceptions of users."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def nothing() -> None:
    """Prepares nothing."""


def pid() -> int:
    return os.getpid()


def who() -> tuple[str, str, int]:
    here = context()
    return here.run_id, here.node, here.attempt


def raise_value_error() -> None:
    raise ValueError("from the child")


def raise_awkward() -> None:
    raise Awkward("hard", "to move")


def give_function() -> Callable[[], int]:
    return lambda: 1


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_end(began: str) -> None:
    Path(began).write_text(str(os.getpid()))
    signal.pause()
