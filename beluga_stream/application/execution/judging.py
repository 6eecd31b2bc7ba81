"""What a user's function raised, as the failure of its node. Whatever it is: it never harms the process.

Texts are bounded and always encodable, since a failure travels in records that must not become too large.
"""

from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from ...domain.events import Failure
from ...errors import BelugaError
from ...ports.handlers import Handler
from .places import told_place

SAID_MOST = 2_000
"""Characters of a message; what is longer is cut."""

_SAID_OF_GROUP = 3
_LONGEST_PAUSE_SECONDS = 24 * 3600

PLACE = "beluga_place"
"""An error from another process carries here where it was raised: its traceback stayed there."""


def judged(handler: Handler, error: BaseException, node: str, attempt: int) -> tuple[Failure, bool]:
    """The failure, and whether another attempt may help.

    The default rule: everything is worth another attempt but type errors, invalid values and marked errors.
    """
    pause = asked_pause_ms(error)
    if isinstance(error, BelugaError):
        failure = Failure(error.code, f"{node}: {said(error)}", node, attempt, pause)
    else:
        failure = Failure("execution_failed", f"{node} raised {_told(error)}", node, attempt, pause)
    return failure, may_help(error, handler.retry_on)


def may_help(error: BaseException, on: tuple[type[Exception], ...] | None) -> bool:
    """Whether another attempt may help: for what is `on` the list, or by the default rule without one.

    It may for a group of exceptions if it may for each of them.
    """
    if isinstance(error, BaseExceptionGroup) and not (on is not None and isinstance(error, on)):
        return all(may_help(each, on) for each in error.exceptions)
    if on is not None:
        return isinstance(error, on)
    if isinstance(error, BelugaError):
        return error.retryable
    return not isinstance(error, TypeError | ValidationError) and not _marked_final(error)


def asked_pause_ms(error: BaseException) -> int:
    """How long the error asks to be left alone, a day at most: 0 where it does not.

    By its `retry_after`, a number of seconds or a timedelta; else by the header Retry-After (RFC 9110, 10.2.3) of the
    HTTP response that it has, where that is a number. Of a group what the most patient of its exceptions asks for.
    """
    if isinstance(error, BaseExceptionGroup):
        return max(map(asked_pause_ms, error.exceptions))
    try:
        asked = _asked(error)
        wanted = asked.total_seconds() if isinstance(asked, timedelta) else float(asked)
        return int(min(max(wanted, 0), _LONGEST_PAUSE_SECONDS) * 1000)
    except Exception:  # noqa: BLE001 - a user's property, or what is no number
        return 0


def said(error: BaseException) -> str:
    """Its text, cut and encodable; a text that raises is said to be missing."""
    try:
        return clipped(str(error))
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "(its text cannot be had)"


def in_words(error: BaseException, text: str) -> str:
    """Its type and text; the type alone where it has none, as a bare `assert`."""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def clipped(text: str) -> str:
    """The text, cut, and without what cannot be encoded."""
    cut = text if len(text) <= SAID_MOST else f"{text[:SAID_MOST]}… ({len(text)} characters)"
    return cut.encode("utf-8", "replace").decode()


def first_of(error: ValidationError) -> str:
    """Where the first thing is wrong, and what."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    # No other value is told: it may be long, and a secret. None is what a function gives that forgets its `return`.
    what = f"{first['msg']}, and it is None" if first["input"] is None else str(first["msg"])
    return clipped(f"{place}: {what}" if place else what)


def _asked(error: BaseException) -> Any:
    asked = getattr(error, "retry_after", None)
    if asked is None:
        # Of httpx, requests and openai the response has the headers, of aiohttp the error itself.
        response = getattr(error, "response", None)
        asked = getattr(error if response is None else response, "headers", {}).get("Retry-After", 0)
    return asked


def _told(error: BaseException) -> str:
    """Its type, its text and where it was raised; of a group what is in it."""
    told = f"{in_words(error, said(error))}{_place(error)}"
    if not isinstance(error, BaseExceptionGroup):
        return told
    inside = [_told(each) for each in error.exceptions[:_SAID_OF_GROUP]]
    return clipped(f"{told}: {'; '.join(inside)}")


def _place(error: BaseException) -> str:
    told = getattr(error, PLACE, None)
    if isinstance(told, str):
        return told
    return told_place(error.__traceback__)


def _marked_final(error: BaseException) -> bool:
    try:
        return getattr(error, "retryable", True) is False
    except Exception:  # noqa: BLE001 - a user's property
        return False
