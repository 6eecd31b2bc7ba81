"""Requests that are packed in one go, and their answers read in one go.

aiokafka describes messages field by field and walks the description, at every request.
"""

from collections.abc import Mapping
from functools import cache
from struct import Struct, error
from typing import Any, ClassVar

LENGTH = Struct(">h")
"""Of a text."""
COUNT = Struct(">i")
"""Of the parts of a list, or of bytes."""

_REQUEST = Struct(">ihhi")
"""size, API key, version, correlation."""
HEADER_BYTES = COUNT.size
"""Of an answer: its correlation."""

Versions = Mapping[int, tuple[int, int]]
"""For each API key the lowest and the highest version that a broker has."""


class Packet:
    """One request in one version, and how its answer is read.

    No abstract class, for every answer asks whether it is for one, and that would take it longer.
    """

    API_KEY: ClassVar[int]
    VERSION: ClassVar[int]

    __slots__ = ("due",)

    due: float
    """By when, in seconds of the loop's time, it is to be answered; known as it goes out."""

    def body(self) -> bytes:
        """What follows the header."""
        raise NotImplementedError

    def answer(self, frame: bytes) -> Any:
        """What the broker says; `frame` begins with the header.

        Raises `struct.error` when it is cut off, or `UnicodeDecodeError` when that is within a name.
        """
        raise NotImplementedError

    def framed(self, correlation: int, client_id: str) -> bytes:
        """All that is written for it."""
        client, body = text(client_id), self.body()
        size = _REQUEST.size - COUNT.size + len(client) + len(body)
        return _REQUEST.pack(size, self.API_KEY, self.VERSION, correlation) + client + body

    @classmethod
    def fits(cls, versions: Versions) -> bool:
        """Whether a broker with these understands it."""
        lowest, highest = versions.get(cls.API_KEY, (0, -1))
        return lowest <= cls.VERSION <= highest


class Packable:
    """A request that becomes a packet when it is known to whom it goes."""

    def packed(self, versions: Versions) -> Packet | None:
        """None: this broker has to be asked as aiokafka asks it."""
        raise NotImplementedError


def topic_at(frame: bytes, at: int) -> tuple[str, int, int]:
    """The topic that begins here in an answer: its name, the number of its partitions, and where the first begins."""
    (length,) = LENGTH.unpack_from(frame, at)
    at += LENGTH.size + length
    (partitions,) = COUNT.unpack_from(frame, at)
    return frame[at - length : at].decode(), partitions, at + COUNT.size


def check_end(frame: bytes, at: int) -> None:
    """Raise `struct.error` when an answer that ends here is longer than its frame: a slice may be short unseen."""
    if at > len(frame):
        raise error(f"an answer of {at} bytes in a frame of {len(frame)}")


@cache
def text(value: str) -> bytes:
    """As the protocol has it. Few are ever asked for: topics, and ids of clients."""
    encoded = value.encode()
    return LENGTH.pack(len(encoded)) + encoded
