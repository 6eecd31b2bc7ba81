"""Checks numbers that users give: whether they are numbers, and in range. Errors name the option."""

from datetime import timedelta
from typing import TypeGuard

from ..errors import InvalidConfig

DAY_SECONDS = 24 * 3600
MONTH_SECONDS = 30 * DAY_SECONDS
YEAR_SECONDS = 366 * DAY_SECONDS


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def as_seconds(value: object) -> float | None:
    """A number of seconds or a timedelta, in seconds; None for what is neither."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def check_whole(what: str, name: str, value: object, least: int, most: int | None = None) -> None:
    """Raises `InvalidConfig` for what is no whole number, or out of range."""
    wanted = f"give {least} or more" if most is None else f"give {least} to {most:,}"
    if not is_whole(value):
        raise InvalidConfig(f"{what}: {name}={value!r} is no whole number: {wanted}")
    if value < least or (most is not None and value > most):
        raise InvalidConfig(f"{what}: {name}={value} is out of range: {wanted}")


def check_duration(
    what: str, name: str, value: object, *, most_seconds: float = DAY_SECONDS, may_be_zero: bool = False
) -> float:
    """It in seconds. Raises `InvalidConfig` for what is no duration, or out of range."""
    given = as_seconds(value)
    if given is None:
        raise InvalidConfig(f"{what}: {name}={value!r} is no duration: give seconds or a timedelta")
    if not 0 <= given <= most_seconds or (given == 0 and not may_be_zero):  # NaN neither
        least = "0 or more" if may_be_zero else "more than 0"
        raise InvalidConfig(
            f"{what}: {name}={value} is out of range: give {least} and at most {most_seconds / 3600:g} hours"
        )
    return given
