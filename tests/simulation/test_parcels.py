"""Messages of the bus as records of a log that loses confirmations, repeats and delays: each is what it was."""

import asyncio
import random
from contextlib import aclosing

import pytest

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application.bus.parcels import is_letter_of, letter_of, parcel_of, record_of
from beluga_stream.application.deadletters import dead_letter
from beluga_stream.application.payloads import Payloads
from beluga_stream.errors import InvalidInput, LogUnavailable
from beluga_stream.ports.bus import DeadLetter, Parcel
from beluga_stream.ports.log import Outgoing, Record, TopicSpec
from beluga_stream.testing.faulty_ports import FaultyAppender, FaultyReader
from beluga_stream.testing.process import Faults, Process
from beluga_stream.testing.virtual_time import VirtualClock, run_virtually
from tests.simulation.test_simulation import batches

_SEEDS = 40
_PARCELS = 30
_FOREIGN = (
    Outgoing("bus", b"orders.eu", b'"of another program"'),
    Outgoing("bus", b"no subject!", b"1"),
    Outgoing("bus", None, None, (("beluga-subject", b"two..dots"),)),
)
"""Written by others: the first is a message, whose key is its subject; the others are none."""


def _parcel(rnd: random.Random, number: int) -> Parcel:
    asks = rnd.random() < 0.3
    return Parcel(
        id=f"p{number}",
        subject=rnd.choice(("orders.eu", "orders.us", "_inbox.abc.1")) if number else "orders.eu",
        key=rnd.choice(("anna", "ben", "ö")),
        body=rnd.randbytes(rnd.randint(0, 40)),
        headers={"traceparent": "00-1"} if rnd.random() < 0.5 else {},
        reply="_inbox.abc" if asks else None,
        correlation=str(number) if asks else None,
        error="invalid_input" if rnd.random() < 0.1 else None,
        only="billing" if rnd.random() < 0.1 else None,
    )


async def _sent(appender: FaultyAppender, records: list[Outgoing]) -> None:
    """Again until it is confirmed, as a bus does."""
    while True:
        try:
            await appender.append(records)
        except LogUnavailable:
            await asyncio.sleep(1)
        else:
            return


async def _told(seed: int) -> None:
    rnd = random.Random(seed)
    log = MemoryLog(clock=VirtualClock())
    log.create([TopicSpec("bus", 1), TopicSpec("letters", 1)])
    process = Process("publisher", Faults(random.Random(seed), unavailable=0.2, left=10))
    appender, payloads = FaultyAppender(log, process), Payloads(MemoryBlobs())
    parcels = [_parcel(rnd, number) for number in range(_PARCELS)]
    await _sent(appender, list(_FOREIGN))
    for parcel in parcels:
        await _sent(appender, [record_of("bus", parcel)])
    found: dict[str, Parcel] = {}
    refused: list[tuple[Parcel | None, Record, Record]] = []
    async with aclosing(FaultyReader(log, process).read("bus", {0: 0}, until=await log.end("bus"))) as reading:
        async for records in reading:
            for record in records:
                parcel = parcel_of(record)
                if parcel is not None:
                    assert found.setdefault(parcel.id, parcel) == parcel, "one that comes twice is the same"
                if parcel is None or rnd.random() < 0.2:
                    letter = await dead_letter("letters", record, InvalidInput("not for me"), payloads)
                    at = (await log.append([letter]))[0].offset
                    refused.append((parcel, record, log.records("letters", 0, at, 1)[0]))
    ours = [parcel for parcel in found.values() if parcel.id.startswith("p")]
    assert ours == parcels, "in their order, and each as it was sent"
    assert {parcel.subject for parcel in found.values() if parcel not in ours} == {"orders.eu"}
    assert any(parcel is None for parcel, _, _ in refused)
    for parcel, record, letter in refused:
        assert is_letter_of(letter, "bus")
        assert not is_letter_of(letter, "other")
        place = f"bus/{record.partition}/{record.offset}"
        if parcel is None:
            assert letter_of(letter, record) is None
        else:
            told = letter_of(letter, record)
            assert told == DeadLetter(
                parcel.subject, parcel.only or "", "invalid_input", "not for me", place, parcel, f"0-{letter.offset}"
            )


@pytest.mark.parametrize("seeds", batches(_SEEDS), ids=str)
def test_every_message_comes_as_it_was_sent_whatever_is_lost_or_repeated(seeds: range) -> None:
    for seed in seeds:
        run_virtually(_told(seed), seed)
