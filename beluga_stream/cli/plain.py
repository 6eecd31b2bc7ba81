"""Text of others without what would steer a terminal: tags, chunks and errors are written by whoever starts runs."""

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters but tabs and line breaks: some begin sequences that move the cursor, or set colours and titles."""


def plain(text: str) -> str:
    """The text without them. They have no width, so it fits where it did."""
    return text if text.isprintable() else _STEERING.sub("", text)


def escaped(text: str) -> str:
    """The same JSON, whose strings name them."""
    return text if text.isprintable() else _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
