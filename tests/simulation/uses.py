"""A graph with handlers of every kind, and the engine around it for tests that do more than start runs."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

from beluga_stream import Graph, Retry, Signal, StreamRef, context, node, resource
from beluga_stream.application.clients.runs import Runs
from beluga_stream.errors import NotFound
from beluga_stream.ports.handlers import Program, Trigger
from beluga_stream.testing.cluster import Cluster, ClusterOptions
from beluga_stream.testing.deployed import deployed
from beluga_stream.testing.invariants import check
from beluga_stream.testing.process import tasks_of_processes
from beluga_stream.testing.virtual_time import run_virtually

GO = Signal("go", str)


class Lexicon:
    """A resource: what takes long to load."""

    def __init__(self) -> None:
        self.words = 70_000


@resource
async def lexicon() -> AsyncIterator[Lexicon]:
    yield Lexicon()


@node(timeout=3, retry=Retry(20, first=0.1, most=5))
def blocks(number: int) -> list[int]:
    """In a thread, and now and then longer than its timeout. Too long a list for a record."""
    return list(range(number, number + 20_000))


@node(timeout=30, retry=Retry(20, first=0.1, most=5))
def steps(number: int) -> Iterator[str]:
    """A generator in a thread; one chunk is too long for a record."""
    yield "a" * number
    yield "b" * 70_000
    yield "c"


async def looks_up(number: int, words: Lexicon) -> int:
    return number + words.words


@node(retry=Retry(6))
async def tells(number: int) -> int:
    """Goes on where an attempt before it was."""
    done = context().heartbeat_details or [0]
    for step in range(done[0], 3):
        await context().heartbeat([step + 1, "x" * 3_000 * step])
        if step == 1 and context().attempt < 3:
            raise RuntimeError("not yet")
    return number


@node(timeout=1, retry=Retry(1))
async def ignores_its_end(number: int) -> int:
    """What is left behind when it does not stop."""
    for _ in range(3):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            continue
    return number


async def waits_for_what_is_cancelled(number: int) -> int:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.cancel()
    return await future


async def cannot_be_json(number: int) -> Any:
    return object()


class _Mute(Exception):
    retryable = False

    def __str__(self) -> str:
        raise ValueError("no text")


def exits(number: int) -> int:
    sys.exit(number)


def is_mute(number: int) -> int:
    raise _Mute


def refuses(number: int) -> int:
    raise NotFound(f"there is no {number}")


def gives_what_it_must_not(number: int) -> int:
    return "no number"  # type: ignore[return-value]


def stops(number: int) -> int:
    return next(iter([]))


FAILING: tuple[Callable[[int], Any], ...] = (
    exits, is_mute, refuses, gives_what_it_must_not, stops,
    ignores_its_end, waits_for_what_is_cancelled, cannot_be_json,
)  # fmt: skip


async def sums(numbers: list[int]) -> int:
    return sum(numbers)


async def half(number: int) -> str:
    """An item's result that is too long to stay in its page."""
    return str(number % 7) * (3_000 if number % 10 == 0 else 1)


async def joins(  # noqa: PLR0913, PLR0917 - one parameter for each kind of source
    total: int, chunks: list[str], looked_up: int, told: int, halves: list[str], failed: list[Any], went: str
) -> list[Any]:
    codes = [each["status"] for each in failed]
    return [total, [len(chunk) for chunk in chunks], looked_up, told, sum(map(len, halves)), codes, went]


def every_kind() -> Graph[int, list[Any]]:
    graph = Graph[int, list[Any]]("every-kind", timeout=3_000)
    many = graph.add_node(blocks, graph.input)
    chunks: StreamRef[str] = graph.add_node(steps, graph.input)
    failures: list[Any] = [
        graph.add_node(each, graph.input, on_failure="continue", retry=Retry(2, first=0.1)) for each in FAILING
    ]
    went = graph.wait(GO, timeout=3_000, remind=1)
    few = graph.add_node(firsts, many)
    graph.set_finish_point(
        graph.add_node(
            joins,
            graph.add_node(sums, many),
            chunks,
            graph.add_node(looks_up, graph.input),
            graph.add_node(tells, graph.input),
            graph.add_map(half, few, max_parallel=30),
            graph.all_done(*failures),
            went,
        )
    )
    return graph


async def firsts(numbers: list[int]) -> list[int]:
    return numbers[:70]


RESULT_OF_3 = [
    sum(range(3, 20_003)),
    [3, 70_000, 1],
    70_003,
    3,
    63 + 7 * 3_000,
    ["failed"] * len(FAILING),
    "now",
]

Use = Callable[[Cluster, Runs], Awaitable[None]]


def used(  # noqa: PLR0913 - what a test says differs, and by name
    seed: int,
    programs: Sequence[Program],
    use: Use,
    *,
    triggers: Sequence[Trigger] = (),
    options: ClusterOptions | None = None,
    refused: bool = False,
    retried: bool = False,
    overgrown: bool = False,
) -> None:
    """Let a seed's engine be used, and check it when all is over."""
    cluster = Cluster(deployed(programs, triggers), seed, options or ClusterOptions())

    async def play() -> None:
        asyncio.get_running_loop().set_task_factory(tasks_of_processes)
        async with cluster.open(), cluster.client() as runs:
            await use(cluster, runs)
            await cluster.rest()
            await check(cluster, retried=retried, refused=refused, overgrown=overgrown)

    try:
        run_virtually(play(), seed)
    except BaseException as error:
        error.add_note(f"seed {seed}:\n{cluster.story.text()}")
        raise
