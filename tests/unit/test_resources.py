"""What nodes share: entered and left in one task, told when it ends by itself, and never waited for without end."""

import asyncio
import gc
import pickle
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest

from beluga_stream import INJECTED, Cache, InvalidGraph, Orchestrator, Retry, chain, node, resource
from beluga_stream.application.execution.context import Context
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.execution.resources import Resources
from beluga_stream.application.execution.verdict import Completed
from beluga_stream.errors import InvalidInput, RunFailed
from tests.unit.engines import handler

NOW = Retry(3, first=0.001, most=0.001)


class Client:
    """Holds a task group, as clients of MCP do."""

    def __init__(self, group: Any = None) -> None:
        self.group = group


class Session(Client):
    """The same with asyncio's."""


@resource
async def client() -> AsyncIterator[Client]:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
        yield Client(group)


@resource
async def session() -> AsyncIterator[Session]:
    async with asyncio.TaskGroup() as group:
        yield Session(group)


async def ask(number: int, client: Client = INJECTED) -> int:
    return number


async def ask_session(number: int, session: Session = INJECTED) -> int:
    return number


def of(opener: Callable[[], AsyncIterator[Any]]) -> Resources:
    def manager(kind: type) -> AbstractAsyncContextManager[Any]:
        return asynccontextmanager(opener)()

    return Resources(manager)


async def _nobody(chunk: Any) -> None:
    """Who streams nothing needs nobody to read it."""


@pytest.mark.parametrize("step", [ask, ask_session])
async def test_a_resource_may_hold_a_task_group(step: Any) -> None:
    assert await chain(step).invoke(1) == 1
    async with Orchestrator() as orch:
        made = orch.create_chain(step)
        assert await asyncio.gather(made.invoke(1), made.invoke(2)) == [1, 2]


async def test_what_fails_in_the_background_of_a_resource_cancels_no_node(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []

    class Feed:
        def __init__(self, group: asyncio.TaskGroup) -> None:
            self.group = group

    @resource
    async def feed() -> AsyncIterator[Feed]:
        try:
            async with asyncio.TaskGroup() as group:
                yield Feed(group)
        finally:
            ended.append(1)

    async def break_off() -> None:
        raise ConnectionError("the server is gone")

    async def use(number: int, feed: Feed = INJECTED) -> int:
        feed.group.create_task(break_off())
        while not ended:  # noqa: ASYNC110 - the node goes on while its resource ends
            await asyncio.sleep(0)
        return number

    async def use_again(number: int, feed: Feed = INJECTED) -> int:
        return number + len(ended)

    async with asyncio.timeout(10):
        assert await chain(use, use_again).invoke(1) == 2
    assert len(ended) == 2  # the second one was opened anew, and left
    assert "the resource Feed has ended by itself" in caplog.text
    assert "the server is gone" in caplog.text


async def test_a_resource_that_cannot_be_entered_fails_the_attempt_and_is_tried_again() -> None:
    tries: list[int] = []

    class Flaky:
        pass

    @resource
    async def flaky() -> AsyncIterator[Flaky]:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        yield Flaky()

    @node(retry=NOW)
    async def use(number: int, flaky: Flaky = INJECTED) -> int:
        return number

    assert await chain(use).invoke(1) == 1
    assert len(tries) == 3


@pytest.mark.parametrize(
    "error", [SystemExit(3), BaseException("odd"), asyncio.CancelledError(), ConnectionError("no")]
)
async def test_whatever_is_raised_on_entering_is_the_failure_of_the_node(error: BaseException) -> None:
    class Bad:
        pass

    @resource
    async def bad() -> AsyncIterator[Bad]:
        raise error
        yield Bad()

    @node(retry=Retry(1))
    async def use(number: int, bad: Bad = INJECTED) -> int:
        return number

    async with asyncio.timeout(10):
        with pytest.raises(RunFailed):
            await chain(use).invoke(1)


async def test_resources_are_left_last_first_and_what_one_raises_is_raised_once_all_are_left() -> None:
    left: list[str] = []

    @asynccontextmanager
    async def opened(kind: type) -> AsyncIterator[str]:
        yield kind.__name__
        left.append(kind.__name__)
        if kind is int:
            raise OSError("it is stuck")

    resources = Resources(opened)
    assert [await resources.get(kind) for kind in (str, int, bool, int)] == ["str", "int", "bool", "int"]
    with pytest.raises(OSError, match="it is stuck"):
        await resources.close()
    assert left == ["bool", "int", "str"]
    await resources.close()
    assert len(left) == 3


async def test_threads_end_with_their_run_though_a_resource_cannot_be_left() -> None:
    @asynccontextmanager
    async def opened(kind: type) -> AsyncIterator[int]:
        yield 1
        raise OSError("it is stuck")

    def where(number: int, shared: int) -> str:
        threads.append(threading.current_thread())
        return "here"

    threads: list[threading.Thread] = []
    executions = Executions(open_resource=opened)
    shares = handler(where, executor="thread", resources={"shared": int})
    ran = await executions.run(shares, {"value": 1}, Context(), timeout_ms=None, emit=_nobody)
    assert ran == Completed("here")
    with pytest.raises(OSError, match="it is stuck"):
        await executions.close()
    await asyncio.to_thread(threads[0].join, 10)
    assert not threads[0].is_alive()


async def test_who_is_cancelled_while_it_enters_a_resource_takes_it_along_and_another_may_try() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def opener() -> AsyncIterator[int]:
        begun.set()
        if not ended.is_set():
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
        yield 1

    resources = of(opener)
    first = asyncio.create_task(resources.get(int))
    await begun.wait()
    second = asyncio.create_task(resources.get(int))
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    assert ended.is_set()
    assert await second == 1
    await resources.close()


async def test_who_is_cancelled_while_it_leaves_a_resource_cancels_the_leaving() -> None:
    leaving = asyncio.Event()

    async def opener() -> AsyncIterator[int]:
        yield 1
        leaving.set()
        await asyncio.Event().wait()

    resources = of(opener)
    await resources.get(int)
    closing = asyncio.create_task(resources.close())
    await leaving.wait()
    closing.cancel()
    await asyncio.wait({closing})
    assert closing.cancelled()


async def test_a_resource_that_is_slow_to_open_holds_up_no_other() -> None:
    go = asyncio.Event()

    @asynccontextmanager
    async def opened(kind: type) -> AsyncIterator[str]:
        if kind is int:
            await go.wait()
        yield kind.__name__

    resources = Resources(opened)
    slow = asyncio.create_task(resources.get(int))
    assert await resources.get(str) == "str"
    go.set()
    assert await slow == "int"
    await resources.close()


async def test_a_resource_that_has_ended_by_itself_is_opened_anew_once_it_is_left() -> None:
    groups: list[asyncio.TaskGroup] = []
    open_now: list[int] = []

    async def opener() -> AsyncIterator[int]:
        open_now.append(1)
        assert len(open_now) == 1  # never two at a time
        try:
            async with asyncio.TaskGroup() as group:
                groups.append(group)
                yield len(groups)
        finally:
            await asyncio.sleep(0)
            open_now.pop()

    async def fail() -> None:
        raise ConnectionError("gone")

    resources = of(opener)
    assert await resources.get(int) == 1
    failing = groups[0].create_task(fail())
    await asyncio.wait({failing})
    await asyncio.sleep(0)  # its task hears of it
    assert await resources.get(int) == 2
    await resources.close()
    assert open_now == []


async def test_closing_raises_nothing_for_a_resource_that_has_ended_by_itself() -> None:
    ended = asyncio.Event()

    async def opener() -> AsyncIterator[int]:
        try:
            async with asyncio.timeout(0):
                yield 1
        finally:
            ended.set()

    resources = of(opener)
    assert await resources.get(int) == 1
    await ended.wait()
    await asyncio.sleep(0)
    await resources.close()


def test_a_resource_that_nobody_closes_is_left_with_its_loop_and_opened_anew_in_another() -> None:
    left: list[int] = []

    async def opener() -> AsyncIterator[int]:
        try:
            yield len(left) + 1
        finally:
            left.append(1)

    resources = of(opener)
    assert asyncio.run(resources.get(int)) == 1
    assert left == [1]
    assert asyncio.run(resources.get(int)) == 2
    asyncio.run(resources.close())
    assert left == [1, 1]
    gc.collect()  # and no task is destroyed while it waits


async def test_without_resources_a_node_that_wants_one_is_told() -> None:
    with pytest.raises(InvalidInput, match="no resource gives a int"):
        await Resources(None).get(int)


class Undeclared:
    """What no resource gives."""


async def test_what_waits_for_a_resource_that_nobody_declares_is_refused() -> None:
    async def use(number: int, undeclared: Undeclared = INJECTED) -> int:
        return number

    with pytest.raises(InvalidGraph, match=r"'undeclared' of node 'use' is INJECTED, and no resource gives a Undec"):
        await chain(use).invoke(1)


async def test_a_resource_fills_a_parameter_that_may_also_be_none() -> None:
    async def use(number: int, client: Client | None = None) -> bool:
        return client is not None

    assert await chain(use).invoke(1)


async def test_a_resource_is_no_part_of_what_a_cached_function_carries() -> None:
    calls: list[int] = []

    @node(cache=Cache(60))
    async def cached(number: int, client: Client = INJECTED) -> int:
        calls.append(number)
        return number

    async with Orchestrator() as orch:
        kept = orch.create_chain(cached)
        assert [await kept.invoke(1), await kept.invoke(1)] == [1, 1]
    assert calls == [1]


def test_injected_stays_itself_in_another_process() -> None:
    assert pickle.loads(pickle.dumps(INJECTED)) is INJECTED
