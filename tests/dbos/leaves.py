"""A program that never closes its orchestrator: `python -m tests.dbos.leaves DATABASE`."""

import asyncio
import sys
import threading

from beluga_stream import Orchestrator
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.testing import contract_workflows


async def main(database: str) -> None:
    orch = Orchestrator(Settings.load(dbos_database=database))
    await orch.create_workflow(contract_workflows.asking, provider="dbos").execute("may I?", id="one")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    threading.Event().wait(0.5)  # DBOS goes on beside, and could spoil what it cannot go on with
    print("left")
