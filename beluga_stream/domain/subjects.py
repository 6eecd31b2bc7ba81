"""Subjects of messages and patterns of them, as NATS has them: words joined by dots, `*` for one, `>` for the rest."""

from dataclasses import dataclass
from typing import cast

from ..errors import InvalidInput

MOST_LETTERS = 255
INBOX = "_inbox"
"""The first word of subjects that replies go to. Words that begin with `_` are the bus's own."""


def check_subject(subject: str) -> str:
    """The subject. Raises `InvalidInput` for one that is empty, too long, or has wildcards, spaces or empty words."""
    words = _words(subject, "subject")
    if any("*" in word or ">" in word for word in words):
        raise InvalidInput(f"subject {subject!r} has wildcards: those are for subscribers", subject=subject)
    if words[0].startswith("_"):
        raise InvalidInput(f"subject {subject!r}: first words that begin with _ are the bus's own", subject=subject)
    return subject


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which subjects a subscriber wants: `orders.*.created`, `orders.>`. Make it with `pattern`."""

    text: str
    words: tuple[str, ...]

    def matches(self, subject: str) -> bool:
        """Whether it wants messages of this subject. Wildcards do not reach the bus's own subjects."""
        words = subject.split(".")
        if words[0].startswith("_") and self.words[0] in ("*", ">"):
            return False
        if self.words[-1] == ">":
            return len(words) >= len(self.words) and _fit(self.words[:-1], words)
        return len(words) == len(self.words) and _fit(self.words, words)


def pattern(text: str) -> Pattern:
    """Read a pattern. Raises `InvalidInput` for one with wildcards inside of words, or `>` before the last one."""
    words = _words(text, "pattern")
    for at, word in enumerate(words):
        if word in ("*", ">"):
            if word == ">" and at < len(words) - 1:
                raise InvalidInput(
                    f"pattern {text!r}: > stands for the rest, so it must be the last word", subject=text
                )
        elif "*" in word or ">" in word:
            raise InvalidInput(f"pattern {text!r}: a wildcard is a word of its own, as in orders.*", subject=text)
    return Pattern(text, words)


def _fit(wanted: tuple[str, ...], words: list[str]) -> bool:
    return all(one in ("*", word) for one, word in zip(wanted, words, strict=False))


def _words(text: str, what: str) -> tuple[str, ...]:
    if not isinstance(cast("object", text), str):
        raise InvalidInput(f"{what} {text!r} is no text: give words joined by dots, as orders.created")
    words = tuple(text.split("."))
    if len(text) > MOST_LETTERS:
        raise InvalidInput(f"a {what} of {len(text)} letters is too long: give at most {MOST_LETTERS}")
    if not all(words) or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise InvalidInput(f"{what} {text!r}: give words joined by dots, as orders.created", subject=text)
    return words
