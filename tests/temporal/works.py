"""Graphs and a workflow class that worker processes of tests serve."""

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from beluga_stream import INJECTED, BufferMemory, Graph, History, Retry, Signal, context, resource
from tests.mortal_store import MortalStore

approval = Signal("approval", bool)


async def increment(number: int) -> int:
    return number + 1


async def dangerous(number: int) -> int:
    """Its first worker is killed in its midst."""
    if context().attempt == 1:
        print("entered", flush=True)
        await asyncio.Event().wait()
    return number * 10 + context().attempt


def decided(number: int, ok: bool) -> str:  # noqa: FBT001 - handlers are called by position
    return f"{number} {ok}"


async def broken(number: int) -> int:
    raise ValueError(f"never {number}")


async def turns_before(text: str, history: History = INJECTED) -> int:
    return len(history.turns)


@resource
async def store() -> AsyncIterator[MortalStore]:
    yield MortalStore(Path(os.environ["MEMORY_FOLDER"]))


async def recall(ask: dict[str, str], history: History = INJECTED) -> list[str]:
    """What was said before, and now. The first worker of a turn that holds is killed in its midst."""
    if "holds" in ask and context().attempt == 1:
        print("entered", flush=True)
        await asyncio.Event().wait()
    return [*(turn.input["text"] for turn in history.turns), ask["text"]]


survivor = Graph[int, int]("durable-survivor", durable=True)
survivor.set_finish_point(survivor.add_node(dangerous, survivor.add_node(increment, survivor.input)))

asking = Graph[int, str]("durable-asking", durable=True, timeout=timedelta(days=7))
asking.set_finish_point(
    asking.add_node(
        decided,
        asking.input,
        asking.wait(
            approval,
            after=asking.add_node(increment, asking.input),
            timeout=timedelta(days=2),
            remind=timedelta(days=1),
        ),
    )
)

failing = Graph[int, int]("durable-failing", durable=True)
failing.set_finish_point(failing.add_node(broken, failing.input, retry=Retry(2, first=0.01)))


remembering = Graph[dict[str, str], list[str]](
    "durable-recalling", durable=True, memory=BufferMemory(store=MortalStore), conversation=lambda ask: ask["who"]
)
remembering.set_finish_point(remembering.add_node(recall, remembering.input))


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Greeting:
    """A workflow of a user's own."""

    @workflow.init
    def __init__(self, name: str) -> None:
        self._names = [name]
        self._done = False

    @workflow.run
    async def run(self, name: str) -> list[str]:
        if not name:
            raise ApplicationError("a name is needed", type="NoName", non_retryable=True)
        await workflow.wait_condition(lambda: self._done)
        return [
            await workflow.execute_activity(greet, each, start_to_close_timeout=timedelta(seconds=10))
            for each in self._names
        ]

    @workflow.signal
    def finish(self) -> None:
        self._done = True

    @workflow.query
    def names(self) -> list[str]:
        return self._names

    @workflow.query
    def breaks(self) -> str:
        raise ValueError("this query is broken")

    @workflow.update
    async def add(self, name: str) -> int:
        self._names.append(name)
        return len(self._names)


@activity.defn
def greet_in_a_thread(name: str) -> str:
    return f"hello {name} in {threading.current_thread().name.rpartition('_')[0]}"


@workflow.defn
class GreetingInAThread:
    """Its activity is a plain function."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet_in_a_thread, name, start_to_close_timeout=timedelta(seconds=10))


@workflow.defn
class SecondTime:
    """Its first attempt fails."""

    @workflow.run
    async def run(self, number: int) -> int:
        if workflow.info().attempt == 1:
            raise ApplicationError("not yet")
        return number


@workflow.defn
class Raising:
    """Its first `times` attempts raise what any code may."""

    @workflow.run
    async def run(self, times: int) -> int:
        if workflow.info().attempt <= times:
            raise ValueError(f"attempt {workflow.info().attempt} is broken")
        return workflow.info().attempt


@workflow.defn
class SecondWaits:
    """Its first attempt fails, and the second waits for a word."""

    def __init__(self) -> None:
        self._done = False

    @workflow.run
    async def run(self, number: int) -> int:
        if workflow.info().attempt == 1:
            raise ValueError("not yet")
        await workflow.wait_condition(lambda: self._done)
        return number

    @workflow.query
    def attempt(self) -> int:
        return workflow.info().attempt

    @workflow.signal
    def finish(self) -> None:
        self._done = True


@workflow.defn(sandboxed=False)
class RaisingOutside:
    """As the other, without the sandbox."""

    @workflow.run
    async def run(self, times: int) -> int:
        raise ValueError("broken outside")


@workflow.defn
class Guessing:
    """It asks for what no replay could give again."""

    @workflow.run
    async def run(self, number: int) -> int:
        return number + random.randint(0, 9)


@workflow.defn(sandboxed=False)
class Blocking:
    """Keeps its worker's thread for longer than Temporal takes for an accident."""

    @workflow.run
    async def run(self, number: int) -> int:
        time.sleep(3)  # noqa: ASYNC251 - what no workflow may do
        return number


@workflow.defn(name="Deployed")
class Deployed:
    """Waits for a while, then for a word."""

    def __init__(self) -> None:
        self._word: str | None = None

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.sleep(0.01)
        await workflow.wait_condition(lambda: self._word is not None)
        return f"{text} {self._word}"

    @workflow.signal
    def say(self, word: str) -> None:
        self._word = word

    @workflow.query
    def heard(self) -> str | None:
        return self._word

    @workflow.update
    def hear(self, word: str) -> None:
        raise ValueError(f"nobody hears {word}")


@workflow.defn(name="Deployed")
class DeployedAnew(Deployed):
    """A later version, which begins with an activity: no history of the other is one of its own."""

    @workflow.run
    async def run(self, text: str) -> str:
        greeting = await workflow.execute_activity(greet, text, start_to_close_timeout=timedelta(seconds=10))
        await workflow.wait_condition(lambda: self._word is not None)
        return f"{greeting} {self._word}"


@workflow.defn
class Parcel:
    """Takes and gives back what it is handed, of whatever size, and may take its time."""

    def __init__(self) -> None:
        self._given: list[str | None] = []
        self._may_answer = False

    @workflow.run
    async def run(self, size: int) -> str:
        await workflow.wait_condition(lambda: bool(self._given))
        return "x" * size

    @workflow.signal
    def put(self, text: str | None) -> None:
        self._given.append(text)

    @workflow.signal
    def answer(self) -> None:
        self._may_answer = True

    @workflow.update
    def twice(self, text: str) -> str:
        return text * 2

    @workflow.update
    async def keep(self, text: str) -> int:
        await workflow.wait_condition(lambda: self._may_answer)
        self._given.append(text)
        return len(self._given)

    @workflow.query
    def given(self) -> list[str | None]:
        return self._given


@workflow.defn
class Untrue:
    """Returns something else than it declares."""

    @workflow.run
    async def run(self, number: int) -> int:
        return f"number {number}"  # type: ignore[return-value]  # what it is about


@workflow.defn
class Renewing:
    """Goes on in another execution, and waits there."""

    @workflow.run
    async def run(self, number: int) -> int:
        if number:
            await workflow.sleep(1.1)
            workflow.continue_as_new(number - 1)
        await workflow.wait_condition(lambda: False)
        return number

    @workflow.query
    def left(self) -> int:
        return 0 if workflow.info().continued_run_id else 1
