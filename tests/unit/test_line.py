"""Chains that run without the engine end as they would with it."""

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast

import pytest
from pydantic import BaseModel

from beluga_stream import Chain, Retry, chain, context, node
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.local.line import Line
from beluga_stream.application.local.local import LocalEngine
from beluga_stream.application.local.watched import WatchedExecutions
from beluga_stream.errors import BelugaError, InvalidInput
from beluga_stream.ports.spans import NoSpans

SOON = Retry(3, first=0.001, most=0.001)


F = TypeVar("F", bound=Callable[..., Any])


class Words(BaseModel):
    words: list[str]


def split(text: str) -> Words:
    return Words(words=text.split())


async def count(words: Words) -> int:
    return len(words.words)


def double(number: int) -> int:
    return number * 2


def spell(number: int) -> Iterator[str]:
    yield from str(number)


async def letters(number: int) -> AsyncIterator[str]:
    for letter in str(number):
        yield letter


def raises(number: int) -> int:
    raise ConnectionError("gone")


async def raises_type_error(number: int) -> int:
    raise TypeError("not that")


def exits(number: int) -> int:
    raise SystemExit(3)


def stops(number: int) -> int:
    raise StopIteration


def ends(number: int) -> int:
    raise StopAsyncIteration


def spell_and_end(number: int) -> Iterator[str]:
    yield str(number)
    raise StopAsyncIteration


def closes(number: int) -> int:
    raise GeneratorExit


def interrupts(number: int) -> int:
    raise KeyboardInterrupt


async def closes_later(number: int) -> int:
    await asyncio.sleep(0)
    raise GeneratorExit


def waits_for_what_is_cancelled(number: int) -> int:
    raise asyncio.CancelledError("elsewhere")


def lies(number: int) -> int:
    return "no number"  # type: ignore[return-value]  # what the test is about


@node(retry=SOON)
def in_vain(number: int) -> int:
    raise ConnectionError("still gone")


@node(timeout=0.01, retry=Retry(1))
async def slow(number: int) -> int:
    await asyncio.Event().wait()
    return number


def logged(function: F) -> F:
    """A decorator that knows nothing of async functions, as many."""

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return cast("F", call)


class Model:
    def invoke(self, number: int) -> Awaitable[int]:
        return quadruple(number)


class Untyped:
    def invoke(self, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - nothing tells that it is async
        return quadruple(number)


async def quadruple(number: int) -> int:
    await asyncio.sleep(0)
    return number * 4


async def raises_later(number: int) -> int:
    await asyncio.sleep(0)
    raise ConnectionError("gone")


async def never_comes(number: int) -> int:
    await asyncio.sleep(0)
    raise asyncio.CancelledError("elsewhere")


async def lies_later(number: int) -> int:
    return "no number"  # type: ignore[return-value]  # what the test is about


CHAINS: list[Callable[[], Chain[Any, Any]]] = [
    lambda: chain(split, count, double),
    lambda: chain(split, count, spell),
    lambda: chain(split, count, letters),
    lambda: chain(count, double, raises),
    lambda: chain(raises_type_error, double),
    lambda: chain(double, exits, double),
    lambda: chain(double, stops),
    lambda: chain(double, ends),
    lambda: chain(double, spell_and_end),
    lambda: chain(double, closes),
    lambda: chain(double, interrupts),
    lambda: chain(double, len),  # type: ignore[arg-type]  # it raises where it is called
    lambda: chain(double, closes_later),
    lambda: chain(double, logged(closes_later)),
    lambda: chain(double, waits_for_what_is_cancelled),
    lambda: chain(double, lies, double),
    lambda: chain(double, in_vain, double),
    lambda: chain(double, slow),
    lambda: chain(split, logged(count), double),
    lambda: chain(double, double, logged(quadruple), double, logged(quadruple)),
    lambda: chain(double, lambda number: quadruple(number + 1), double),
    lambda: chain(double, Model(), double),  # type: ignore[call-overload]  # an object among functions
    lambda: chain(double, Untyped(), double),  # type: ignore[call-overload]  # an object among functions
    lambda: chain(double, node(executor="async")(lambda number: quadruple(number + 1)), double),
    lambda: chain(double, logged(raises_later), double),
    lambda: chain(double, logged(never_comes), double),
    lambda: chain(double, logged(lies_later), double),
    lambda: chain(double, logged(slow), double),
]


async def outcome(run: Any) -> Any:
    """What came of it, an error by all that callers can see of it."""
    try:
        return await run
    except BelugaError as error:
        return type(error), str(error), error.code, getattr(error, "reason", None), error.ids


@pytest.fixture
async def executions() -> AsyncIterator[Executions]:
    shared = Executions()
    yield shared
    await shared.close()


def watched(shared: Executions) -> WatchedExecutions:
    return WatchedExecutions(shared, NoSpans(), "chain.step")


def line_of(work: Chain[Any, Any]) -> Line:
    line = Line.of(work.compile())
    assert line is not None
    return line


@pytest.mark.parametrize("make", CHAINS, ids=lambda make: make().name)
@pytest.mark.parametrize("value", ["to be", 12, Words(words=["to"]), None])
async def test_it_gives_and_raises_what_the_engine_does(make: Any, value: Any, executions: Executions) -> None:
    work = make()
    work._blueprint.options = {"retry": SOON}
    program = work.compile()
    found = await outcome(line_of(work).invoke(watched(executions), value))
    assert found == await outcome(LocalEngine().invoke(program, value))


async def test_only_what_failed_is_tried_again(executions: Executions) -> None:
    calls: list[tuple[str, int]] = []

    def first(number: int) -> int:
        calls.append(("first", context().attempt))
        return number + 1

    @node(retry=SOON)
    def second(number: int) -> int:
        calls.append(("second", context().attempt))
        if context().attempt < 3:
            raise ConnectionError
        return number * 10

    assert await line_of(chain(first, second, double)).invoke(watched(executions), 1) == 40
    assert calls == [("first", 1), ("second", 1), ("second", 2), ("second", 3)]


async def test_an_attempt_gets_what_the_one_before_it_told(executions: Executions) -> None:
    @node(retry=SOON)
    async def careful(number: int) -> int:
        if context().heartbeat_details is None:
            await context().heartbeat({"done": 7})
            raise ConnectionError
        return number + int(context().heartbeat_details["done"])

    assert await line_of(chain(careful)).invoke(watched(executions), 1) == 8


async def test_steps_that_block_share_one_thread_and_leave_the_loop_alone(executions: Executions) -> None:
    def where(number: int) -> str:
        return threading.current_thread().name

    def there_too(name: str) -> bool:
        return name == threading.current_thread().name and name != threading.main_thread().name

    assert await line_of(chain(where, there_too)).invoke(watched(executions), 1) is True


async def test_steps_that_share_a_thread_share_no_context_variables(executions: Executions) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    def sets(number: int) -> int:
        variable.set("by a step")
        return number

    def reads(number: int) -> str:
        return variable.get()

    variable.set("by the caller")
    work = chain(sets, reads)
    assert await line_of(work).invoke(watched(executions), 1) == "by the caller"
    assert await work.invoke(1) == "by the caller"


async def test_no_further_step_begins_once_it_is_cancelled(executions: Executions) -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []
    ran: list[str] = []

    def long(number: int) -> int:
        began.set()
        assert go_on.wait(10)
        seen.append(context().cancelled)
        ended.set()
        return number

    def after(number: int) -> int:
        ran.append("after")
        return number

    task = asyncio.create_task(line_of(chain(long, after)).invoke(watched(executions), 1))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    async with asyncio.timeout(10):
        while executions._threads.lost:  # noqa: ASYNC110 - until the thread has come back, which tells no event
            await asyncio.sleep(0)
    assert (seen, ran) == ([True], [])


async def test_a_step_that_ignores_its_cancellation_is_the_last_one(executions: Executions) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def stubborn(number: int) -> int:
        began.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()
        return number

    def after(number: int) -> int:
        ran.append("after")
        return number

    task = asyncio.create_task(line_of(chain(stubborn, after)).invoke(watched(executions), 1))
    await began.wait()
    task.cancel()
    asyncio.get_running_loop().call_soon(go_on.set)
    await asyncio.wait({task})
    assert task.cancelled()
    assert ran == []


async def test_an_input_that_fails_its_type_is_refused_before_anything_runs(executions: Executions) -> None:
    with pytest.raises(InvalidInput, match="does not fit graph 'double'"):
        await line_of(chain(double)).invoke(watched(executions), "x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(chain(double, double, name="inner"), double),  # type: ignore[call-overload]  # a chain as a step
        lambda: chain(node(executor="process")(_top_level), double),
    ],
    ids=["a child run", "another process"],
)
def test_what_needs_the_engine_is_left_to_it(make: Any) -> None:
    assert Line.of(make().compile()) is None


def _top_level(number: int) -> int:
    return number
