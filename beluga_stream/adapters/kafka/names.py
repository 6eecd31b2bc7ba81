"""Reads batches in which names of headers are not UTF-8: brokers accept them.

The protocol calls a name a string, and nobody checks it. aiokafka can read no record of a batch from such a name on.
"""

from struct import Struct
from typing import Any

from aiokafka.record.default_records import _DefaultRecordBatchPy

_HEAD = Struct(">qi")
"""base offset, and how many bytes of the batch follow."""


def batch_at(batches: bytes, base_offset: int) -> bytes:
    """The bytes of one of these batches: the one that begins at this offset."""
    at = 0
    while True:
        base, following = _HEAD.unpack_from(batches, at)
        end = at + _HEAD.size + following
        if base == base_offset:
            return batches[at:end]
        at = end


def with_any_names(batch: bytes) -> Any:
    """The batch, as aiokafka has it. In a name a byte that is no UTF-8 becomes its number behind a backslash."""
    read: Any = iter(_DefaultRecordBatchPy(batch))
    read._buffer = _Lenient(read._buffer)  # noqa: SLF001 - iterating has uncompressed it (contract test: test_fetched)
    return read


class _Lenient(bytearray):
    """Bytes whose text can always be read."""

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Lenient(found) if isinstance(at, slice) else found

    def decode(self, *_: str) -> str:
        return super().decode("utf-8", "backslashreplace")
