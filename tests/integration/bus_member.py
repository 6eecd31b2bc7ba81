"""A member of a group in a process of its own: it says what it gets, and is never done with the odd ones."""

import asyncio
import sys

from beluga_stream import BusMessage, kafka_bus


async def handle(message: BusMessage[int]) -> None:
    print(message.data, flush=True)
    if message.data % 2:
        await asyncio.Event().wait()


async def main() -> None:
    async with kafka_bus() as bus:
        await bus.subscribe("jobs.*", int, handle, group="workers")
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
