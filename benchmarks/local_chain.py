"""What `invoke` of a chain of three steps costs here, without a broker. Run it on an idle machine.

python -m benchmarks.local_chain
"""

import asyncio
import gc
import time
from collections.abc import Sequence

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from beluga_stream import Chain, Orchestrator, chain, node
from benchmarks.figures import Figure, as_table

TARGET = 150
ROUNDS = 50
EACH = 40


def one(number: int) -> int:
    return number + 1


def two(number: int) -> int:
    return number * 2


def three(number: int) -> str:
    return str(number)


@node(executor="async")
def one_quick(number: int) -> int:
    return number + 1


@node(executor="async")
def two_quick(number: int) -> int:
    return number * 2


@node(executor="async")
def three_quick(number: int) -> str:
    return str(number)


async def one_async(number: int) -> int:
    return number + 1


async def two_async(number: int) -> int:
    return number * 2


async def three_async(number: int) -> str:
    return str(number)


async def microseconds(work: Chain[int, str]) -> float:
    """The median round's cost of one run."""
    for _ in range(100):
        assert await work.invoke(1) == "4"
    found: list[float] = []
    gc.collect()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(EACH):
            await work.invoke(1)
        found.append((time.perf_counter() - began) / EACH * 1e6)
    return sorted(found)[ROUNDS // 2]


async def costs() -> Sequence[Figure]:
    """Async steps, plain functions in the loop and in a thread; with metrics and spans; and the engine's own way."""
    meters, tracers = MeterProvider(), TracerProvider()
    async with (
        Orchestrator() as plain,
        Orchestrator(meter=meters.get_meter("benchmark"), tracer=tracers.get_tracer("benchmark")) as observed,
    ):
        figures = [
            Figure(f"chain.invoke, three steps, {name}", await microseconds(work), "us", target)
            for name, work, target in (
                ("async", plain.create_chain(one_async, two_async, three_async), TARGET),
                ('def, executor="async"', plain.create_chain(one_quick, two_quick, three_quick), TARGET),
                ("def, in a thread", plain.create_chain(one, two, three), TARGET),
                ("async, metrics and spans on", observed.create_chain(one_async, two_async, three_async), None),
                ("async, by the engine", chain(one_async, two_async, three_async), None),
            )
        ]
    meters.shutdown()
    tracers.shutdown()
    return figures


def main() -> None:
    as_table(asyncio.run(costs()), {"rounds": f"median of {ROUNDS} of {EACH} runs"})


if __name__ == "__main__":
    main()
