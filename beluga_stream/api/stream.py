"""What a parameter may take besides values: `Stream` (chunks as they come), `Outcome` (failures too)."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Stream(Protocol[T_co]):
    """The chunks of a streaming node, read while it runs. A parameter of this type takes `ref.stream`."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...


@dataclass(frozen=True)
class Outcome(Generic[T_co]):
    """How a node ended. A parameter of this type takes `ref.outcome` and is fed even by a failure.

    `value` is the output of a node that succeeded; `code` and `message` tell why another did not.
    """

    status: Literal["succeeded", "failed", "skipped", "cancelled"]
    value: T_co | None = None
    code: str | None = None
    message: str | None = None
