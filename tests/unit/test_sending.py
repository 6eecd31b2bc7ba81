"""The window of what an execution has sent: it bounds what is not known to be durable, by number and by bytes."""

import asyncio
from collections.abc import Sequence

import pytest

from beluga_stream.application.worker.sending import Sending, Sent
from beluga_stream.ports.log import Position
from tests.unit.coordinating import a_while

_MIB = 1 << 20


def sent() -> Sent:
    future: asyncio.Future[Sequence[Position]] = asyncio.get_running_loop().create_future()
    return future


@pytest.mark.parametrize(
    ("records", "size", "is_full"), [(512, 1, False), (513, 1, True), (1, _MIB, False), (2, _MIB, True)]
)
async def test_it_is_full_by_number_and_by_bytes(records: int, size: int, *, is_full: bool) -> None:
    sending = Sending()
    together = sent()
    for _ in range(records):
        sending.note(together, size)
    assert sending.is_full is is_full


async def test_who_waits_for_room_waits_for_the_oldest_and_who_waits_for_all_for_all() -> None:
    sending = Sending()
    first, second = sent(), sent()
    for _ in range(400):
        sending.note(first, 1)
    for _ in range(400):
        sending.note(second, 1)
    room = asyncio.create_task(sending.settle())
    await a_while()
    assert not room.done()
    first.set_result(())
    await room
    assert not sending.is_full
    whole = asyncio.create_task(sending.settle(all_of_it=True))
    await a_while()
    assert not whole.done()
    second.set_result(())
    await whole


async def test_what_has_failed_is_raised_where_somebody_waits() -> None:
    sending = Sending()
    broken = sent()
    sending.note(broken, 1)
    broken.set_exception(OSError("away"))
    with pytest.raises(OSError, match="away"):
        await sending.settle(all_of_it=True)
