"""A program with an orchestrator: workflows, again and again, some of which fail, shown to Prometheus.

`python -m tests.acceptance.observed_stack.orchestrating HOST:PORT dbos|temporal` until it is told to end.
"""

import asyncio
import contextlib
import signal
import sys

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

from beluga_stream import Orchestrator
from beluga_stream.errors import RunFailed
from tests.acceptance.observed_stack.agents.weighing import weighing


async def run_until(told: asyncio.Event, provider: str) -> None:
    """One workflow after another, of which every other one fails."""
    grams = 1
    meter = MeterProvider([PrometheusMetricReader()]).get_meter("orchestrating")
    async with Orchestrator(meter=meter) as orch:
        made = orch.create_workflow(weighing, provider=provider)
        while not told.is_set():
            run = await made.execute(grams)
            with contextlib.suppress(RunFailed):
                await made.get_result(run, timeout=30)
            grams = -grams
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), 0.5)


async def main(address: str, provider: str) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), host)
    try:
        await run_until(told, provider)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
