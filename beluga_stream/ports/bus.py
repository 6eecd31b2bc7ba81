"""What carries messages among agents: in this process, or over Kafka.

A *carrier* takes parcels and hands them to *lines*. Every line without a group gets every parcel that its pattern
wants, from the moment on that it was attached. Lines of one pattern and group share them: each parcel goes to one of
them, those of one key in order and to one at a time, and what a line leaves undone goes to the others. A group outlives
its lines.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from ..domain.subjects import Pattern
from ..errors import BelugaError


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way. `body` is JSON; `key` is what keeps its order.

    A request names the inbox that its `reply` goes to, and a `correlation` that the reply repeats; a reply that tells
    of a failure has its code as `error`. What is sent again to one subscriber only names it in `only`.
    """

    id: str
    subject: str
    key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str | None = None
    correlation: str | None = None
    error: str | None = None
    only: str | None = None


@dataclass(eq=False, slots=True)
class Delivery:
    """A parcel that a line has handed out; `place` says where it came from.

    A line loses what it has handed out by whole parts, and all of a key comes from one `part`.
    """

    parcel: Parcel
    place: str
    part: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that a subscriber could not take: which one, why, and where the message came from.

    `id` is the letter's own, as `beluga dead-letters` shows it.
    """

    subject: str
    subscriber: str
    reason: str
    message: str
    place: str
    parcel: Parcel
    id: str = ""


class Line(Protocol):
    """One subscriber's end."""

    @property
    def ahead(self) -> int:
        """How many messages to take for each that is handled: more than one where they are this line's anyway."""

    async def take(self) -> Delivery:
        """The next delivery, as soon as there is one. Raises `LogUnavailable`; then it may be asked again."""

    def done(self, delivery: Delivery) -> None:
        """This one was dealt with: it does not come again."""

    async def close(self) -> None:
        """Want no more. What is not done goes to the other lines of the group."""


class Release(Protocol):
    """Called when a line loses these parts: whatever is not done of them when it returns comes to somebody again.

    Handlers that are at it may end within `grace` seconds.
    """

    async def __call__(self, parts: Collection[int], grace: float) -> None: ...


class Carrier(Protocol):
    """See the module."""

    @property
    def where(self) -> str:
        """What it connects to, for messages."""

    async def start(self) -> None:
        """Connect. Raises `LogUnavailable`."""

    async def close(self) -> None:
        """Disconnect. Lines are closed before."""

    async def check(self) -> None:
        """Raises what keeps it from carrying."""

    async def send(self, parcel: Parcel, timeout: float) -> None:  # noqa: ASYNC109 - what it waits for is its own matter
        """Take a parcel for all lines and groups that want it, or for none of them.

        Raises `ResourceExhausted` when one of them has had no room for so many seconds, `LogUnavailable` when the
        broker does not confirm, and `RecordTooLarge`.
        """

    async def attach(self, pattern: Pattern, group: str | None, subscriber: str, release: Release) -> Line:
        """A new line; what is sent from now on reaches it. Raises `LogUnavailable`."""

    async def keeps(self, group: str, pattern: Pattern) -> bool:
        """Whether the group has a place, so that what is sent now reaches it, though no line of it may be there.

        True as well where that cannot be known. Raises `LogUnavailable`.
        """

    async def forget(self, group: str, pattern: Pattern) -> None:
        """Drop the group with all that waits for it.

        Raises `NotFound` when there is none, `InvalidState` while it has lines, and `LogUnavailable`.
        """

    async def refuse(self, delivery: Delivery, error: BelugaError, subscriber: str) -> None:
        """Keep a message that this subscriber cannot take as a dead letter. Raises `LogUnavailable`."""

    async def letters(self) -> Sequence[DeadLetter]:
        """The dead letters that nobody has dealt with, oldest first. Raises `LogUnavailable`."""

    async def settle(self, letter: DeadLetter) -> None:
        """This one was sent again: it is listed no more. Raises `LogUnavailable`."""


class Traces(Protocol):
    """Carries the trace that is going on from one process to another (W3C Trace Context)."""

    def told(self) -> Mapping[str, str]:
        """Headers that name the trace that is going on; none without one."""

    def inside(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """What is done inside belongs to the trace that these headers name."""
