"""The load: runs of every shape, started at an even pace or all at once, signalled and cancelled as users do."""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import RunId, run_id
from beluga_stream.errors import LogUnavailable
from tests.chaos.ledger import Ledger, Line
from tests.chaos.started import Started

SHARES = {
    "line": 20,
    "diamond": 12,
    "fan": 10,
    "flow": 14,
    "flaky": 8,
    "fork": 8,
    "nested": 8,
    "loop": 6,
    "nap": 4,
    "asked": 4,
    "doomed": 3,
    "triggered": 4,
    "leased": 3,
    "wide": 1,
}
_AGAIN_SECONDS = 1.0
_GIVE_UP_SECONDS = 600.0
_AT_ONCE = 400
_PAUSE_SECONDS = 0.0, 4.0
"""Between a start and what is sent to its run."""

T = TypeVar("T")


class Load:
    """Starts runs and keeps a line of the ledger for each that was accepted.

    What the broker did not confirm is asked for again under the same key: it must make no second run.
    """

    def __init__(
        self, desk: Runs, producer: AIOKafkaProducer, events: str, ledger: Ledger, chance: random.Random
    ) -> None:
        self._desk = desk
        self._producer = producer
        self._events = events
        self._ledger = ledger
        self._chance = chance
        self._over = asyncio.Event()
        self.shares: Mapping[str, int] = SHARES
        """How many of each graph among the runs."""
        self.started: list[Started] = []

    async def burst(self, runs: int) -> None:
        """Start so many at once, and return when all are accepted, signalled and cancelled."""
        await asyncio.gather(*(self._start(graph) for graph in self._graphs(runs)))

    async def steady(self, rate: float) -> None:
        """Start `rate` runs a second until `stop`, and return when all are accepted, signalled and cancelled."""
        places = asyncio.Semaphore(_AT_ONCE)

        async def start(graph: str) -> None:
            async with places:
                await self._start(graph)

        async with asyncio.TaskGroup() as group:
            while not self._over.is_set():
                if not places.locked():
                    group.create_task(start(*self._graphs(1)))
                await asyncio.sleep(1 / rate)  # the load's own pace

    def stop(self) -> None:
        """Start no more."""
        self._over.set()

    def _graphs(self, runs: int) -> list[str]:
        return self._chance.choices([*self.shares], [*self.shares.values()], k=runs)

    async def _start(self, graph: str) -> None:
        value = secrets.token_hex(8)
        signal = secrets.token_hex(8) if graph == "asked" else None
        if graph == "triggered":
            run = await self._trigger(value)
        else:
            run = str(await _insist(lambda: self._desk.start(graph, value, idempotency_key=value)))
        inputs = {"input": value, **({} if signal is None else {"signal": signal})}
        line = Line("accepted", run, graph, "", 0, "", os.getpid(), inputs, None, int(time.time() * 1000))
        await self._ledger.write(line)
        self.started.append(Started.of(line))
        if signal is not None:
            await asyncio.sleep(self._chance.uniform(*_PAUSE_SECONDS))
            for _ in range(self._chance.randint(1, 2)):
                await _insist(lambda: self._desk.signal(RunId(run), "answer", signal, id="answer"))
        if graph == "doomed":
            await asyncio.sleep(self._chance.uniform(*_PAUSE_SECONDS))
            await _insist(lambda: self._desk.cancel(RunId(run), "chaos"))

    async def _trigger(self, value: str) -> str:
        """Publish an event as a user does; its run's id follows from its own."""
        headers = [("ce_specversion", "1.0"), ("ce_id", value), ("ce_source", "chaos"), ("ce_type", "told")]
        coded = [(name, text.encode()) for name, text in headers]

        async def send() -> Any:
            return await self._producer.send_and_wait(
                self._events, orjson.dumps(value), key=value.encode(), headers=coded
            )

        await _insist(send)
        return str(run_id("triggered", self._events, f"chaos\x1f{value}"))


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call it until the log takes it. Raises `LogUnavailable` or `KafkaError` in the end."""
    until = time.monotonic() + _GIVE_UP_SECONDS
    while True:
        try:
            return await call()
        except (LogUnavailable, KafkaError):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(_AGAIN_SECONDS)
