"""A process that runs one node at a time, for a worker that does not trust it: `python -m` this module, with agents."""

import asyncio
import sys
from contextlib import suppress

from ..adapters.processes.serving import Tell, follow_the_worker, own_output, serve
from ..api.resource import open_resource
from ..application.execution.execution import Executions
from ..application.execution.performing import perform
from . import deployment
from .child import prepare_child


def command(agents: str) -> tuple[str, ...]:
    """What starts such a process for this deployment."""
    return (sys.executable, "-m", __name__, agents)


def main(agents: str) -> None:
    """Load the deployment and serve the worker that holds the pipes."""
    out = own_output()
    follow_the_worker()
    prepare_child(agents)
    programs = deployment.load(agents).programs

    async def live() -> None:
        executions = Executions(open_resource=open_resource)

        async def performed(task: bytes, tell: Tell) -> bytes:
            return await perform(task, programs, executions, tell)

        try:
            await serve(performed, out)
        finally:
            await executions.close()

    with suppress(BrokenPipeError):  # the worker is gone, and nobody waits for an answer
        asyncio.run(live())


if __name__ == "__main__":
    main(sys.argv[1])
