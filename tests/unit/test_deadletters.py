"""Dead letters: what is kept of a record, whatever it holds, and how it is had back."""

import pytest

from beluga_stream.adapters.memory.blobs import MemoryBlobs
from beluga_stream.application.deadletters import dead_letter, original
from beluga_stream.application.payloads import Payloads
from beluga_stream.errors import InvalidInput
from beluga_stream.ports.log import Outgoing, Record


def _read(letter: Outgoing) -> Record:
    return Record(letter.topic, 0, 0, letter.key, letter.value, 0, letter.headers)


@pytest.mark.parametrize("size", [3, 600_000], ids=["short", "long"])
@pytest.mark.parametrize("key", [b"k", None], ids=["key", "no key"])
async def test_a_record_comes_back_as_it_was(size: int, key: bytes | None) -> None:
    payloads = Payloads(MemoryBlobs())
    record = Record("docs", 2, 7, key, b"\xff" * size, 0, (("h", b"\x00\xff"), ("h", b"2")))
    letter = await dead_letter("dead", record, InvalidInput("no good"), payloads)
    assert len(letter.value or b"") + len(letter.key or b"") < 600_000
    told = dict(letter.headers)
    assert (told["beluga-reason"], told["beluga-message"]) == (b"invalid_input", b"no good")
    assert told["beluga-source"] == b"docs/2/7"
    assert await original(_read(letter), payloads) == (key, record.value, record.headers)


async def test_headers_and_keys_may_be_long_too() -> None:
    payloads = Payloads(MemoryBlobs())
    record = Record("docs", 2, 7, b"k" * 600_000, None, 0, (("h", b"x" * 600_000),))
    letter = await dead_letter("dead", record, InvalidInput("x" * 600_000), payloads)
    assert sum(len(value) for _, value in letter.headers) < 5_000
    assert await original(_read(letter), payloads) == (record.key, None, record.headers)


async def test_a_message_that_cannot_be_encoded_is_mended() -> None:
    record = Record("docs", 2, 7, b"k", b"v", 0, ())
    letter = await dead_letter("dead", record, InvalidInput("half a pair: \ud800"), Payloads(MemoryBlobs()))
    assert dict(letter.headers)["beluga-message"] == b"half a pair: ?"
