"""A third party's provider: one desk, at which runs queue, and so many clerks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from beluga_stream.api.features import Options
from beluga_stream.api.provider import Signals
from beluga_stream.api.resource import open_resource
from beluga_stream.api.work import Work
from beluga_stream.application.clients.results import Event
from beluga_stream.application.local.local import LocalEngine


class DeskProvider:
    """Takes on at most four runs at a time."""

    kinds = ("chain", "graph")

    def __init__(self) -> None:
        self.clerks = asyncio.Semaphore(4)
        self.engine = LocalEngine(open_resource=open_resource)
        self.closed = False

    def runner(self, work: Work[Any, Any], options: Options, /) -> "DeskRunner":
        return DeskRunner(self, work)

    async def check(self) -> None:
        if self.closed:
            raise RuntimeError("the desk is closed")

    async def aclose(self) -> None:
        self.closed = True


class DeskRunner:
    def __init__(self, desk: DeskProvider, work: Work[Any, Any]) -> None:
        self._desk = desk
        self._work = work

    async def invoke(self, value: Any, /, *, signals: Signals) -> Any:
        async with self._desk.clerks:
            told = {signal.name: signal.dump(content) for signal, content in signals.items()}
            return await self._desk.engine.invoke(self._work.compile(), value, signals=told)

    async def stream(self, value: Any, /, *, signals: Signals) -> AsyncGenerator[Event, None]:
        async with self._desk.clerks:
            told = {signal.name: signal.dump(content) for signal, content in signals.items()}
            async with aclosing(self._desk.engine.stream(self._work.compile(), value, signals=told)) as events:
                async for event in events:
                    yield event

    async def check(self) -> None:
        await self._desk.check()
