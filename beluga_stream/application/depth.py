"""How deep JSON nests, told from its bytes: readers recurse, and a stack has an end."""

import re
from itertools import accumulate

# Possessive, and it may lack its end: whatever the bytes are, each is looked at once.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_LEVELS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _LEVELS)


def nests_deeper(data: bytes, levels: int) -> bool:
    """Whether somewhere in these bytes more than so many lists and objects lie within one another."""
    if len(data) < 2 * levels or data.count(b"[") + data.count(b"{") <= levels:
        return False
    # Without a backslash in it a text ends at the next quote, and nobody has to look for that byte by byte.
    outside = _TEXT.sub(b"", data) if b"\\" in data else b"".join(data.split(b'"')[::2])
    brackets = outside.translate(None, _NO_BRACKETS)
    return any(depth > levels for depth in accumulate(_LEVELS[byte] for byte in brackets))
