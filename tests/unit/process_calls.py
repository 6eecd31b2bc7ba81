"""Functions that the tests of processes call; children import them by their names."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from beluga_stream import context


class Awkward(Exception):
    """Can be pickled and not unpickled, as many exceptions of users."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def written(place: Path) -> str:
    """What a handler has told by this file; empty before it has."""
    return place.read_text() if place.exists() else ""


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


# ------------------------------------------------- handlers of each kind that run until they are told to stop
def _began(place: str) -> Path:
    Path(place).write_text("began")
    return Path(place)


async def wait_async(place: str) -> None:
    file = _began(place)
    try:
        await asyncio.Event().wait()
    finally:
        file.write_text("told")


def wait_in_a_thread(place: str) -> None:
    file = _began(place)
    here = context()
    while not here.cancelled:
        time.sleep(0.005)
    file.write_text("told")


def wait_in_a_process(place: str) -> None:
    """The interrupt may come as soon as the file is there; in short sleeps, as one just before a wait would be lost."""
    try:
        _began(place)
        while True:
            time.sleep(0.005)
    finally:
        Path(place).write_text("told" if context().cancelled else "not told")


async def wait_streaming(place: str) -> AsyncIterator[int]:
    file = _began(place)
    try:
        yield 1
        await asyncio.Event().wait()
    finally:
        file.write_text("told")


def wait_streaming_in_a_thread(place: str) -> Iterator[int]:
    file = _began(place)
    try:
        while True:
            time.sleep(0.005)
            yield 1
    finally:
        file.write_text("told")


def never_end_deafly(began: str) -> None:
    Path(began).write_text(str(os.getpid()))
    while True:
        try:
            signal.pause()
        except KeyboardInterrupt:
            continue
