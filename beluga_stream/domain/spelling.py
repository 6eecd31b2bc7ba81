"""Which name somebody meant who has misspelt it."""

import difflib
from collections.abc import Iterable

_LONGEST = 200
"""Letters of a name that is compared: what others send may be of any length."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """The known name that is nearest to this one; None where none is near."""
    if len(name) > _LONGEST:
        return None
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def advice(name: str, known: Iterable[str], otherwise: str) -> str:
    """What to do about an unknown name, to be put behind a colon."""
    close = meant(name, known)
    return otherwise if close is None else f"is {close!r} meant?"
