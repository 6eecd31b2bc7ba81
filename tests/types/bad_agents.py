"""Mistakes with guards, tasks and messages, each rejected by type checkers: the lines with a number."""

from collections.abc import AsyncIterator

from beluga_stream import Bulkhead, BusMessage, Graph, Hedge, Retry, Scheduler, Task, chain, local_bus


def length(text: str) -> int:
    return len(text)


async def words(text: str) -> AsyncIterator[str]:
    yield text


async def told(message: BusMessage[str]) -> None:
    print(message.data)


chain(Bulkhead(1)(length), Retry(2)(length))  # 1 int into str
Hedge(1)(length)  # 2 not async
Hedge(1)(words)  # 3 a stream
Bulkhead(1)("length")  # 4 no function
graph = Graph[str, str]("g")
graph.set_finish_point(graph.add_node(Bulkhead(1)(length), graph.input))  # 5 int is not str


async def agents() -> None:
    async with Scheduler() as scheduler, local_bus() as bus:
        text: str = await scheduler.submit(Task("length", length, "a")).result()  # 6 int is not str
        scheduler.submit(length)  # 7 no task
        Task("length", "length")  # 8 no call
        await bus.subscribe("a", int, told)  # 9 messages of str
        number: int = await bus.request("a", "b", str)  # 10 str is not int
