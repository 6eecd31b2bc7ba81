"""What is read of the published definitions, and how long that is waited for."""

import asyncio
from collections.abc import Mapping

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.catalog import Catalog
from beluga_stream.application.topics import Topics
from beluga_stream.errors import LogUnavailable
from beluga_stream.testing.virtual_time import run_virtually


class Silent(MemoryLog):
    """A log that does not answer."""

    async def end(self, topic: str) -> Mapping[int, int]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


def test_who_waits_for_others_to_read_waits_no_longer_than_they_do() -> None:
    async def play() -> None:
        catalog = Catalog(Silent(), Topics())
        told = await asyncio.gather(*(catalog.refresh() for _ in range(5)), return_exceptions=True)
        assert [type(each) for each in told] == [LogUnavailable] * 5
        assert asyncio.get_running_loop().time() < 31

    run_virtually(play(), 1)
