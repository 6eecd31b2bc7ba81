"""`BusMessage`: what a subscriber of the message bus gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class BusMessage(Generic[T_co]):
    """One message: its checked `data`, and what it came with.

    `id` is the same each time that it is delivered, `attempt` counts this subscriber's attempts in this process (from
    1). `wants_reply` says whether somebody waits for what the handler returns.
    """

    subject: str
    data: T_co
    id: str
    key: str
    headers: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    wants_reply: bool = False
