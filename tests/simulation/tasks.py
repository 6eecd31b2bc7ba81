"""Tasks for schedulers in virtual time, and many orders of the event loop to run them in."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from beluga_stream import Task
from beluga_stream.testing.virtual_time import VirtualLoop

SEEDS = range(25)


def virtually(main: Callable[[], Coroutine[Any, Any, None]], seeds: "range" = SEEDS) -> None:
    for seed in seeds:
        with asyncio.Runner(loop_factory=lambda seed=seed: VirtualLoop(seed)) as runner:  # type: ignore[misc]
            runner.run(main())


class Notes:
    """What ran, in its order; each takes a second."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.stopped: list[str] = []

    async def work(self, name: str, *results: object) -> str:
        self.began.append(name)
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.stopped.append(name)
            raise
        return name + "".join(str(one) for one in results)

    def task(self, name: str, **options: Any) -> Task[str]:
        return Task(name, self.work, name, **options)


async def given(*values: object) -> tuple[object, ...]:
    return values


async def forever() -> None:
    await asyncio.Event().wait()
