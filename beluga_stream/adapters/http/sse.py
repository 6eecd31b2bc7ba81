"""Server-sent events as text (WHATWG HTML, section 9.2): written by the gateway, read by the client."""

from collections.abc import Iterator
from typing import NamedTuple

from ...errors import RecordTooLarge

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": still here\n\n"

MOST_BYTES = 64 * 1024 * 1024
"""Of one event that is taken. A gateway sends longer ones, too: what a node gave has no bound."""


class Sent(NamedTuple):
    """One event as it arrived. `retry_ms` is how long to wait before connecting again, when it says so."""

    event: str
    data: str
    id: str | None = None
    retry_ms: int | None = None


def encode(event: str, data: bytes, *, id: str | None = None, retry_ms: int | None = None) -> bytes:  # noqa: A002 - the field's name
    """One event. `data` is JSON, which has no line breaks of its own."""
    lines = [] if retry_ms is None else [b"retry: %d\n" % retry_ms]
    if id is not None:
        lines.append(b"id: %s\n" % id.encode())
    return b"".join([*lines, b"event: ", event.encode(), b"\ndata: ", data, b"\n\n"])


class Parser:
    """Takes bytes as they come and gives whole events."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._event = "message"
        self._data: list[str] = []
        self._id: str | None = None
        self._retry_ms: int | None = None

    def feed(self, data: bytes) -> Iterator[Sent]:
        """The events that these bytes complete. Raises `RecordTooLarge` for one that is too long."""
        self._rest += data
        if len(self._rest) > MOST_BYTES:
            raise RecordTooLarge(
                f"an event of the stream has more than {MOST_BYTES} bytes, which a client of a gateway does not take: "
                f"follow the run through the broker, or let its nodes give less at once"
            )
        if b"\n" not in data:
            return
        *lines, last = self._rest.split(b"\n")
        self._rest = bytearray(last)
        for line in lines:
            event = self._line(line.rstrip(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Sent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id":
                self._id = value
            case "retry" if value.isdecimal():
                self._retry_ms = int(value)
            case _:
                pass  # a comment, or a field of a later version
        return None

    def _dispatch(self) -> Sent | None:
        found = Sent(self._event, "\n".join(self._data), self._id, self._retry_ms) if self._data else None
        self._event, self._data, self._id, self._retry_ms = "message", [], None, None
        return found
