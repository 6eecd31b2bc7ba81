"""One service behind one circuit, asked by nodes of two queues, which two workers serve."""

import os
from pathlib import Path

from beluga_stream import CircuitBreaker, Graph, Retry, SharedCircuits, node

FOLDER = Path(os.environ["CIRCUIT_FOLDER"])
"""`down` is there while the service fails, `clock` has the seconds of the circuit, `calls` a line for each."""

_store = SharedCircuits(FOLDER / "circuits.db")


def _now() -> float:
    return float((FOLDER / "clock").read_text())


def _service(number: int) -> int:
    with (FOLDER / "calls").open("a") as calls:
        calls.write(f"{os.getpid()}\n")
    if (FOLDER / "down").exists():
        raise ConnectionError("the service is down")
    return number


@node(queue="one", retry=Retry(1))
@CircuitBreaker("service", failures=2, reset_after=30, store=_store, now=_now)
def ask_one(number: int) -> int:
    return _service(number)


@node(queue="two", retry=Retry(1))
@CircuitBreaker("service", failures=2, reset_after=30, store=_store, now=_now)
async def ask_two(number: int) -> int:
    return _service(number)


one = Graph[int, int]("one")
one.set_finish_point(one.add_node(ask_one, one.input))

two = Graph[int, int]("two")
two.set_finish_point(two.add_node(ask_two, two.input))
