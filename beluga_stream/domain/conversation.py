"""A conversation as stores keep it: its turns, each under the id of the run that it came of, and the bounds of both."""

from typing import NamedTuple

from ..errors import InvalidInput

LONGEST_NAME = 512
"""Characters of a conversation's name, of a turn's id and of a fact's."""

MOST_BYTES = 1 << 20
"""Of one turn, fact or result."""

MOST_TURNS = 1_000
"""What a store keeps of a conversation unless told otherwise; the oldest go first."""


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


def check_vector(conversation: str, has: int | None, vector: tuple[float, ...]) -> None:
    """Raises `InvalidInput` for an empty vector, one that is not finite, and one of another size than was kept."""
    if not vector or any(number != number or abs(number) == float("inf") for number in vector):  # noqa: PLR0124 - NaN
        raise InvalidInput("a vector must hold numbers, all of them finite: mend the embed function")
    if has is not None and has != len(vector):
        raise InvalidInput(
            f"embed gave {len(vector)} numbers, and what conversation {conversation!r} keeps has {has}: another "
            f"embedding needs other conversations, or clear() first"
        )
