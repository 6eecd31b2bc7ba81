"""Replays the histories of a folder against the interpreter, as a process of its own: by its hash seed, too."""

import asyncio
import sys
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from beluga_stream.adapters.temporal.converter import converter
from beluga_stream.adapters.temporal.interpreter import Interpreter


async def replay(histories: dict[str, str]) -> None:
    replayer = Replayer(workflows=[Interpreter], data_converter=converter(None))
    for run, history in histories.items():
        await replayer.replay_workflow(WorkflowHistory.from_json(run, history))
    print(f"{len(histories)} replayed")


if __name__ == "__main__":
    asyncio.run(replay({path.stem: path.read_text() for path in Path(sys.argv[1]).glob("*.json")}))
