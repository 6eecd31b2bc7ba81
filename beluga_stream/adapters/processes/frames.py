"""How a worker and a process that runs one task at a time talk: frames of a kind and some bytes, over pipes."""

import asyncio
from typing import NamedTuple

TASK, STOP = b"t", b"x"
READY, SAID, ANSWER = b"r", b"s", b"a"

_LENGTH_BYTES = 8


class Frame(NamedTuple):
    """One of the kinds above. Only tasks, sayings and answers have content."""

    kind: bytes
    content: bytes = b""


def packed(frame: Frame) -> bytes:
    """The frame as it goes through the pipe."""
    return frame.kind + len(frame.content).to_bytes(_LENGTH_BYTES, "big") + frame.content


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame; None when the other side is gone."""
    try:
        head = await reader.readexactly(1 + _LENGTH_BYTES)
        return Frame(head[:1], await reader.readexactly(int.from_bytes(head[1:], "big")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
