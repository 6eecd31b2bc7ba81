"""A deployment of handlers that misbehave, each in a way of its own, and of good ones beside them."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic import BaseModel, field_validator

from beluga_stream import Graph, Message, Retry, Topic, context, node

DOCS = f"{os.environ['BELUGA_PREFIX']}.docs"
PICKY = f"{os.environ['BELUGA_PREFIX']}.picky"

ONCE = Retry(1)
_FOR_EVER = threading.Event()


class Doc(BaseModel):
    text: str


class Picky(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def _check(cls, text: str) -> str:
        if text == "index":
            raise IndexError("a validator that raises what it should not")
        return text


class Awkward(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its text can be had")


class Stop(BaseException):
    """No `Exception`: as what test libraries raise."""


def _graph(handler: Any, *, timeout: float = 60) -> Graph[Any, Any]:
    graph = Graph[Any, Any](handler.__name__, timeout=timeout)
    graph.set_finish_point(graph.add_node(handler, graph.input))
    return graph


# ------------------------------------------------------------------------------------------ good ones
async def length(doc: Doc) -> int:
    return len(doc.text)


def double(number: int) -> int:  # in a thread
    return 2 * number


good = Graph[Doc, int]("good")
good.set_finish_point(good.add_node(double, good.add_node(length, good.input)))
good.trigger(Topic(DOCS, Doc))


def never_of_some(message: Message[Picky]) -> bool:
    if message.data.text == "where":
        raise LookupError("a filter that raises")
    return True


picky = Graph[Picky, int]("picky")


async def picked(doc: Picky) -> int:
    return len(doc.text)


picky.set_finish_point(picky.add_node(picked, picky.input))
picky.trigger(Topic(PICKY, Picky), where=never_of_some)


# ----------------------------------------------------------------------------------------- that raise
@node(retry=ONCE)
async def raises(_: int) -> int:
    raise ValueError("it is Monday")


@node(retry=ONCE)
async def raises_much(_: int) -> int:
    raise ValueError("x" * 3_000_000)


@node(retry=ONCE)
async def raises_unreadable(_: int) -> int:
    raise Awkward


@node(retry=ONCE)
async def raises_unspeakable(_: int) -> int:
    raise ValueError("half a pair: \ud800")


@node(retry=ONCE)
async def raises_base(_: int) -> int:
    raise Stop("no Exception")


@node(retry=ONCE)
def raises_exit(_: int) -> int:
    raise SystemExit(3)


@node(retry=ONCE)
def raises_stop_iteration(_: int) -> int:
    return next(iter([]))


# -------------------------------------------------------------------------------------- that never end
@node(retry=ONCE, timeout=0.5)
async def sleeps(_: int) -> int:
    await asyncio.Event().wait()
    return 0


@node(retry=ONCE, timeout=0.5)
def blocks(_: int) -> int:
    _FOR_EVER.wait()
    return 0


@node(retry=ONCE, timeout=0.5)
def blocks_in_a_stream(_: int) -> Iterator[int]:
    yield 1
    _FOR_EVER.wait()


@node(retry=ONCE, timeout=0.5)
async def refuses_to_stop(_: int) -> int:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            context().logger.warning("no")


@node(retry=ONCE)
async def has_no_timeout(_: int) -> int:
    await asyncio.Event().wait()
    return 0


@node(retry=ONCE)
def blocks_without_timeout(_: int) -> int:
    _FOR_EVER.wait()
    return 0


# --------------------------------------------------------------------------- that return what they must not
@node(retry=ONCE)
async def mistyped(_: int) -> int:
    return "no number"  # type: ignore[return-value]  # it is the point


@node(retry=ONCE)
async def unserialisable(_: int) -> Any:
    return {"lock": threading.Lock()}


@node(retry=ONCE)
async def half_a_pair(_: int) -> str:
    return "\ud800"


@node(retry=ONCE)
async def endless_list(_: int) -> Any:
    found: list[Any] = []
    found.append(found)
    return found


@node(retry=ONCE)
async def too_large_a_number(_: int) -> int:
    return 2**70


# --------------------------------------------------------------------------------------- that are large
async def five_megabytes(size: int) -> str:
    return "x" * size


async def five_megabyte_chunk(size: int) -> AsyncIterator[str]:
    yield "x" * size
    yield "end"


async def measure(text: str) -> int:
    return len(text)


async def nested(depth: int) -> Any:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def words_of(number: int) -> str:
    return str(number) * 60_000


async def many(_: int) -> list[int]:
    return list(range(20))


# ------------------------------------------------------------------------------------ that run in processes
@node(executor="process", retry=ONCE)
def in_a_process(number: int) -> tuple[int, str, int]:
    return os.getpid(), context().node, number * 2


@node(executor="process", retry=Retry(2, first=0.01))
def dies_once(number: int) -> int:
    if context().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@node(executor="process", retry=ONCE)
def dies(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@node(executor="process", retry=ONCE, timeout=0.5)
def blocks_in_a_process(number: int) -> int:
    signal.pause()
    return number


GRAPHS = [
    _graph(handler)
    for handler in (
        raises, raises_much, raises_unreadable, raises_unspeakable, raises_base, raises_exit,
        raises_stop_iteration, sleeps, blocks, blocks_in_a_stream, refuses_to_stop, mistyped, unserialisable,
        half_a_pair, endless_list, too_large_a_number, five_megabytes, five_megabyte_chunk, measure, nested,
        in_a_process, dies_once, dies, blocks_in_a_process,
    )
]  # fmt: skip

# A deployment is what its modules name.
globals().update({f"graph_{graph.name}": graph for graph in GRAPHS})

graph_without_timeout = _graph(has_no_timeout, timeout=2)
graph_blocks_without_timeout = _graph(blocks_without_timeout, timeout=2)

line = Graph[int, str]("line")
_last = line.add_node(words_of, line.input, name="first")
for _number in range(19):

    async def same(text: str) -> str:
        return text

    _last = line.add_node(same, _last, name=f"same{_number}")
line.set_finish_point(_last)

hoard = Graph[int, list[str]]("hoard")
hoard.set_finish_point(
    hoard.n_of(20, *(hoard.add_node(words_of, hoard.input, name=f"words{number}") for number in range(20)))
)
