"""Which event loop a process runs on."""

import asyncio
from importlib.util import find_spec

from .connection import kafka
from .settings import Settings


def suits_uvloop(settings: Settings) -> bool:
    """Whether to run on uvloop, where each hop through the log is a sixth quicker.

    Not over TLS: to close a connection whose answer is under way takes it 30 s there, and so takeovers would.
    """
    return find_spec("uvloop") is not None and not kafka(settings).uses_tls


def new_loop(settings: Settings) -> asyncio.AbstractEventLoop:
    """A new loop of the kind that suits."""
    if not suits_uvloop(settings):
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - not on every platform

    return uvloop.new_event_loop()
