"""Replays the histories of a folder against the interpreter, as a process of its own: by its hash seed, too."""

import asyncio
import sys
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from beluga_stream.adapters.temporal.converter import converter
from beluga_stream.adapters.temporal.interpreter import Interpreter


async def main(folder: Path) -> None:
    replayer = Replayer(workflows=[Interpreter], data_converter=converter(None))
    histories = sorted(folder.glob("*.json"))
    for history in histories:
        run = history.with_suffix(".id").read_text()
        await replayer.replay_workflow(WorkflowHistory.from_json(run, history.read_text()))
    print(f"{len(histories)} replayed")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
