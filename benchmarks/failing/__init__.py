"""A graph whose one handler writes down when it begins and ends, and in whose hands: for `benchmarks.failover`."""

import asyncio
import os
import time

from beluga_stream import Graph

LEDGER = "BELUGA_FAILOVER_LEDGER"
NAP_SECONDS = 0.5


async def nap(number: int) -> int:
    _write(f"began {number} {os.environ['BELUGA_INSTANCE']} {time.time()}\n")
    await asyncio.sleep(NAP_SECONDS)
    _write(f"ended {number} {os.environ['BELUGA_INSTANCE']} {time.time()}\n")
    return number


def _write(line: str) -> None:
    file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


naps = Graph[int, int]("naps")
naps.set_finish_point(naps.add_node(nap, naps.input))
