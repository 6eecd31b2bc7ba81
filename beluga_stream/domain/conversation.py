"""A conversation as stores keep it: its turns, each under the id of the run that it came of, and the bounds of both."""

from collections.abc import Iterable
from typing import NamedTuple, cast

from ..errors import InvalidConfig, InvalidInput

LONGEST_NAME = 512
"""Characters of a conversation's name, of a turn's id and of a fact's."""

MOST_BYTES = 1 << 20
"""Of one turn, fact or result."""

MOST_TURNS = 1_000
"""What a store keeps of a conversation unless told otherwise; the oldest go first."""


_LARGEST = 3.4028234663852886e38


class Entry(NamedTuple):
    """One turn. Places grow from turn to turn of a conversation, with gaps where turns were dropped."""

    place: int
    turn: str
    value: bytes


def check_name(what: str, name: object) -> str:
    """The name. Raises `InvalidInput` for one that is no text, empty, too long, or cannot be encoded."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{what} is {name!r}: give a text with at least one letter")
    if len(name) > LONGEST_NAME:
        raise InvalidInput(f"{what} has {len(name):,} letters: at most {LONGEST_NAME} are kept")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise InvalidInput(f"{what} is {name!r}: it has half a letter (a lone surrogate), which no store can keep")
    return name


def check_size(what: str, value: bytes) -> bytes:
    """The value. Raises `InvalidInput` for one that is too large."""
    if len(value) > MOST_BYTES:
        raise InvalidInput(
            f"{what} has {len(value):,} bytes, and at most {MOST_BYTES:,} are kept: save less of it, by input_key= or "
            f"output_key=, or a reference to it"
        )
    return value


def as_vector(vector: object) -> tuple[float, ...]:
    """As numbers. Raises `InvalidInput` for what is none, for nothing, and for what a store's 32 bits do not hold."""
    try:
        found = tuple(map(float, cast("Iterable[float]", vector)))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"embed gave a {type(vector).__name__}, which is no sequence of numbers") from error
    except OverflowError:
        found = ()
    if not found or not all(abs(number) <= _LARGEST for number in found):  # no NaN is
        raise InvalidInput("a vector must hold numbers, all finite and within 3.4e38: mend the embed function")
    return found


def check_length(conversation: str, has: int | None, length: int) -> None:
    """Raises `InvalidInput` for a vector of another length than those that are kept."""
    if has is not None and has != length:
        raise InvalidInput(
            f"embed gave {length} numbers, and what conversation {conversation!r} keeps has {has}: another "
            f"embedding needs other conversations, or clear() first"
        )


def check_bounds(owner: str, **bounds: object) -> None:
    """Raises `InvalidConfig` for what is no whole number of 1 or more; None is no bound."""
    for name, bound in bounds.items():
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 1):
            raise InvalidConfig(f"{owner}({name}={bound!r}): give a whole number, at least 1")
