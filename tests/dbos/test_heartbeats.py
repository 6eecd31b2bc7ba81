"""What a handler has told by heartbeats, its journal tells to whoever takes over."""

import asyncio
from typing import Self

import pytest

from beluga_stream import Graph, context
from beluga_stream.adapters.dbos.records import Ended, Entry, Start
from beluga_stream.adapters.dbos.run import Run
from beluga_stream.application.execution.execution import Executions
from beluga_stream.application.execution.leaving import Leaving
from beluga_stream.application.worker.code import Code
from beluga_stream.domain.events import RunRequested
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.testing.deployed import deployed

RUN = RunId("run-1")


async def index(texts: int) -> list[int]:
    """Each process does one more of them; attempt and what was told before."""
    done = context().heartbeat_details or 0
    await context().heartbeat(done + 1)
    if done + 1 < texts:
        await asyncio.Event().wait()
    return [context().attempt, done]


graph = Graph[int, list[int]]("dbos-indexing", durable=True)
graph.set_finish_point(graph.add_node(index, graph.input))
program = graph.compile()


class Process:
    """One that runs it, by the journal that those before it have left."""

    def __init__(self, journal: list[Entry]) -> None:
        self.journal = journal
        self.executions = Executions()
        event = RunRequested(
            run=RUN,
            key=RUN,
            at_ms=0,
            graph=program.definition.name,
            definition=program.definition.hash,
            input=Inline(3),
            digest="",
        )
        self.run = Run(
            RUN,
            Start(definitions=(program.definition,), event=event),
            code=Code(deployed([program])),
            executions=self.executions,
            now_ms=lambda: 1,
            taken_over=bool(journal),
        )

    async def __aenter__(self) -> Self:
        await self.run.begin()
        for entry in self.journal:
            await self.run.apply(entry, [])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.run.close(Leaving())
        await self.executions.close()

    async def entry(self) -> Ended | None:
        """The next one, as it is kept."""
        async with asyncio.timeout(30):
            self.journal.append(await self.run.next())
        return await self.run.apply(self.journal[-1], [])

    async def until_told(self) -> None:
        while not any(told.beat for told in self.journal[-1].told):
            await self.entry()


@pytest.mark.parametrize(("dies", "attempt"), [(True, 3), (False, 1)], ids=["killed", "stopped"])
async def test_who_takes_over_goes_on_from_what_was_told_last(
    dies: bool,  # noqa: FBT001 - a parameter
    attempt: int,
) -> None:
    journal: list[Entry] = []
    for _ in range(2):
        async with Process(journal) as process:
            await process.entry()
            await process.until_told()
            if not dies:
                process.run.hand_over()
                await process.entry()
    ended = None
    async with Process(journal) as last:
        while ended is None:
            ended = await last.entry()
    assert ended.output == Inline([attempt, 2])
