"""Somebody who reads a stream: sent to for as long as they are there, and take what they are sent."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any

from ...bounds import within

log = logging.getLogger("beluga_stream.gateway")


class Stalled(Exception):
    """A reader took nothing for too long."""


async def attend(sending: Coroutine[Any, Any, None], leaving: Coroutine[Any, Any, None], path: str) -> None:
    """Send until all is sent, or the reader has left or stalled. Raises what else ends the sending."""
    sent, gone = asyncio.create_task(sending), asyncio.create_task(leaving)
    try:
        await asyncio.wait({sent, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sent, gone):
            task.cancel()
        await asyncio.gather(sent, gone, return_exceptions=True)
    if not sent.cancelled():
        try:
            sent.result()
        except Stalled:
            log.info("left a reader that took nothing", extra={"action": "gateway.stalled", "path": path})


async def taken(sending: Awaitable[None], seconds: float) -> None:
    """Wait until the reader takes it. Raises `Stalled`."""
    try:
        async with within(seconds):
            await sending
    except TimeoutError as error:
        raise Stalled from error
