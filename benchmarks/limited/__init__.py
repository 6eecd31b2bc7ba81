"""Graphs with limits, whose handlers write down when they ran: a deployment for `benchmarks.limits`."""

import asyncio
import os
import time

from pydantic import BaseModel

from beluga_stream import Graph, Limit

LEDGER = "BELUGA_LIMITS_LEDGER"
HOLD_SECONDS = 0.1


class Job(BaseModel):
    """One run's input."""

    customer: str
    number: int


async def hold(job: Job) -> int:
    began = time.time()
    await asyncio.sleep(HOLD_SECONDS)
    _write(f"{job.customer} {began} {time.time()}\n")
    return job.number


async def pass_by(job: Job) -> int:
    _write(f"{job.customer} {time.time()} {time.time()}\n")
    return job.number


def _write(line: str) -> None:
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


held = Graph[Job, int]("held")
held.set_finish_point(held.add_node(hold, held.input, limit=Limit(3, key="customer")))

whole = Graph[Job, int]("whole", limit=Limit(3, key="customer"))
whole.set_finish_point(whole.add_node(hold, whole.input))

paced = Graph[Job, int]("paced")
paced.set_finish_point(paced.add_node(pass_by, paced.input, limit=Limit(rate=50)))
