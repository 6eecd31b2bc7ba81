"""`Retry`, and durations as users give them: seconds or a timedelta."""

import math
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, SupportsFloat, TypeAlias, TypeVar, cast

from ..domain.retry import MOST_ATTEMPTS, RetryPolicy
from ..errors import InvalidConfig

F = TypeVar("F", bound=Callable[..., Any])

Seconds: TypeAlias = float | timedelta
"""A duration: a number of seconds, or a timedelta."""

_LONGEST_PAUSE_SECONDS = 24 * 3600


def seconds(value: Seconds) -> float:
    """The duration as a number of seconds. Raises `InvalidConfig` for what is not a number: no wait would end."""
    if not isinstance(value, int | float | timedelta | SupportsFloat):
        raise InvalidConfig(f"{value!r} is no duration: give a number of seconds, or a timedelta")
    given = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if math.isnan(given):
        raise InvalidConfig("the duration nan is out of range: give a number of seconds, or a timedelta")
    return given


def milliseconds(value: Seconds) -> int:
    """The duration in whole milliseconds, at least one unless it is zero. Raises `InvalidConfig` for infinity."""
    given = seconds(value)
    if math.isinf(given):
        raise InvalidConfig(f"the duration {given:g} is out of range: give a number of seconds, or a timedelta")
    return max(round(given * 1000), 1) if given > 0 else round(given * 1000)


def check_retry(what: str, retry: object) -> None:
    """Raises `InvalidConfig` for what is no `Retry`."""
    if not isinstance(retry, Retry):
        raise InvalidConfig(f"{what}: retry={retry!r} is no Retry: give Retry(3) for three attempts")


@dataclass(frozen=True, slots=True)
class Retry:
    """How a failed node is tried again: exponential backoff with jitter.

    `attempts` counts the first one too (1 to 21). `on` are the exceptions worth another attempt, one class or
    several; None means every one but validation errors, `TypeError` and errors marked as not retryable.
    The pause doubles from `first` to at most `most` (seconds or timedelta, up to 24 hours), and is longer,
    up to `most`, when the error asks for that by `retry_after`, or the HTTP response that it carries by `Retry-After`.

    As a decorator, `@Retry(3)`, it tries a function again inside of one attempt of its node, or without any node; the
    last failure is then raised as `MaxRetriesExceeded`. A streaming function is not tried again once its first chunk is
    out.

    Raises `InvalidConfig` when a value is out of range.
    """

    attempts: int = 4
    _: KW_ONLY
    on: type[Exception] | Iterable[type[Exception]] | None = None
    first: Seconds = 1
    most: Seconds = 60

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.attempts), int):
            raise InvalidConfig(f"Retry(attempts={self.attempts!r}): give a whole number, 1 to {MOST_ATTEMPTS}")
        if not 1 <= self.attempts <= MOST_ATTEMPTS:
            raise InvalidConfig(f"Retry(attempts={self.attempts}): give 1 to {MOST_ATTEMPTS}, the first one included")
        object.__setattr__(self, "on", kinds_of("Retry", self.on))  # however it is written, equal ones are equal
        if not 0 <= seconds(self.first) <= seconds(self.most) <= _LONGEST_PAUSE_SECONDS:
            raise InvalidConfig(
                f"Retry(first={self.first}, most={self.most}): pauses are 0 to 24 hours, first not above most"
            )

    def __call__(self, function: F, /) -> F:
        from .retrying import retrying  # noqa: PLC0415 - most who write graphs leave attempts to the engine

        return retrying(function, self.policy(), self.kinds)

    @property
    def kinds(self) -> tuple[type[Exception], ...] | None:
        """What `on` names, as a tuple."""
        return cast("tuple[type[Exception], ...] | None", self.on)

    def policy(self) -> RetryPolicy:
        """The part of it that a graph's definition keeps."""
        names = tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in self.kinds or ())
        return RetryPolicy(self.attempts, milliseconds(self.first), milliseconds(self.most), names)


def kinds_of(what: str, on: type[Exception] | Iterable[type[Exception]] | None) -> tuple[type[Exception], ...] | None:
    """What `on` names, one class or several, as a tuple. Raises `InvalidConfig` for what is no exception class."""
    if on is None:
        return None
    kinds: tuple[Any, ...] = tuple(on) if isinstance(on, Iterable) else (on,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise InvalidConfig(f"{what}(on=...): {kind!r} is no exception class: give one or a tuple of them")
    return kinds
