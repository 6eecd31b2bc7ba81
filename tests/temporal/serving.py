"""A worker as a process of its own: it serves until it is killed. Settings come by the environment."""

import asyncio

from beluga_stream import temporal_worker
from tests.temporal import works


async def main() -> None:
    async with temporal_worker(works.survivor, works.asking, works.remembering, log="memory"):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
