"""A program with an orchestrator: workflows on DBOS, again and again, some of which fail, shown to Prometheus.

`python -m tests.orchestrating PORT DATABASE` until it is told to end.
"""

import asyncio
import contextlib
import signal
import sys

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from beluga_stream import Graph, Orchestrator
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import RunFailed


async def weigh(grams: int) -> int:
    if grams < 0:
        raise ValueError("less than nothing")
    return grams


weighing = Graph[int, int]("weighing", durable=True)
weighing.set_finish_point(weighing.add_node(weigh, weighing.input))


async def run_until(told: asyncio.Event, database: str) -> None:
    """One workflow after another, of which every other one fails."""
    grams = 1
    meter = MeterProvider([PrometheusMetricReader()]).get_meter("orchestrating")
    async with Orchestrator(Settings.load(dbos_database=database), meter=meter) as orch:
        made = orch.create_workflow(weighing, provider="dbos")
        while not told.is_set():
            run = await made.execute(grams)
            with contextlib.suppress(RunFailed):
                await made.get_result(run, timeout=30)
            grams = -grams
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), 0.5)


async def main(port: int, database: str) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    server, thread = start_http_server(port, "127.0.0.1")
    try:
        await run_until(told, database)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
