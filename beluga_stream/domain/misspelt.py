"""A name that is not there: which of those that are is meant, for the message that says so."""

import difflib
from collections.abc import Iterable

_NAMED = 20
"""So many are named at most."""

_LONGEST = 200
"""Letters of a name that is compared: what others send may be of any length."""


def meant(name: str, known: Iterable[str], *, alike: float = 0.6) -> str | None:
    """The one of these that is closest, if one is close; `alike` is from 0, anything, to 1, the very same."""
    if len(name) > _LONGEST:
        return None
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=alike)), None)


def instead(name: str, known: Iterable[str]) -> str:
    """What follows "there is no ...": the one that may be meant, and what there is."""
    names = sorted(known)
    if not names:
        return "there are none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    there = f"there are {', '.join(names[:_NAMED])}{more}"
    close = meant(name, names)
    return there if close is None else f"is {close!r} meant? T{there[1:]}"


def advice(name: str, known: Iterable[str], otherwise: str) -> str:
    """What to do about an unknown name, to be put behind a colon: the one that may be meant, else `otherwise`."""
    close = meant(name, known)
    return otherwise if close is None else f"is {close!r} meant?"
