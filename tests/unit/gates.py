"""A worker whose handler runs until the test lets it end, and the steps that a test takes it through."""

import asyncio
from typing import Any

from beluga_stream.application.worker.worker import Worker, WorkerOptions
from beluga_stream.domain.definition import NodeKind
from beluga_stream.ports.log import Record
from tests.unit.engines import WorkerBench, handler, program
from tests.unit.graphs import edges, node, plan


def bench(call: Any, *, streams: bool = False, **options: Any) -> WorkerBench:
    kind = NodeKind.STREAM if streams else NodeKind.TASK
    of = plan([node("a", kind)], edges("input > a"), ["a"])
    return WorkerBench(program(of, {"a": handler(call, streams=streams)}), WorkerOptions(**options))


async def taken(worker: Worker, *records: Record) -> "asyncio.Future[None]":
    """Hand a batch over; the future is done when it may be acknowledged."""
    later = await worker.handle(records)
    assert later is not None
    return asyncio.ensure_future(later)


async def sweep(worker: Worker) -> None:
    await worker._keep_all(worker._clock.now_ms())


def tasks(worker: Worker) -> list["asyncio.Task[None]"]:
    """What runs now."""
    return [each.task for each in worker._running.values() if each.task is not None]


async def leased(of: WorkerBench, gate: "Gate") -> "asyncio.Future[None]":
    """A batch of one node that runs and is held by a lease."""
    acknowledged = await taken(of.worker, of.work())
    await gate.began.wait()
    await sweep(of.worker)
    return acknowledged


class Gate:
    """A handler that runs until the test lets it end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.open = asyncio.Event()
        self.stopped = False
        self.calls = 0

    async def __call__(self, value: Any) -> Any:
        self.calls += 1
        self.began.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return value
