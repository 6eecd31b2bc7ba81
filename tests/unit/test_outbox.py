"""Group commit: order, and what a failed flush does to those that come after it."""

import asyncio
from collections.abc import Sequence

import pytest

from beluga_stream.application.outbox import Outbox
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, Position


class Slow:
    """An appender that waits to be let on, and fails when told to."""

    def __init__(self) -> None:
        self.flushes: list[list[bytes | None]] = []
        self.fails = False
        self.gate = asyncio.Event()

    async def append(self, records: Sequence[Outgoing]) -> Sequence[Position]:
        self.flushes.append([record.value for record in records])
        await self.gate.wait()
        if self.fails:
            self.fails = False
            raise LogUnavailable("no answer")
        return [Position(record.topic, 0, int(record.value or b"0")) for record in records]


def record(number: int) -> Outgoing:
    return Outgoing("t", b"k", str(number).encode())


async def test_what_comes_during_a_flush_goes_with_the_next_in_order() -> None:
    slow = Slow()
    outbox = Outbox(slow)
    first = outbox.submit([record(1)])
    await asyncio.sleep(0)
    others = [outbox.submit([record(2), record(3)]), outbox.submit([record(4)])]
    slow.gate.set()
    assert [position.offset for position in await first] == [1]
    assert [[position.offset for position in await other] for other in others] == [[2, 3], [4]]
    assert slow.flushes == [[b"1"], [b"2", b"3", b"4"]]


@pytest.mark.parametrize("goes_on", [False, True])
async def test_after_a_failure_a_role_sends_nothing_and_a_client_goes_on(*, goes_on: bool) -> None:
    slow = Slow()
    slow.fails = True
    slow.gate.set()
    outbox = Outbox(slow, goes_on=goes_on)
    with pytest.raises(LogUnavailable):
        await outbox.append([record(1)])
    if goes_on:
        await outbox.append([record(2)])
    else:
        with pytest.raises(LogUnavailable):
            await outbox.append([record(2)])
    assert slow.flushes == ([[b"1"], [b"2"]] if goes_on else [[b"1"]])
