"""What every start of a run has in common."""

import hashlib

import orjson

from ..domain.payload import Json


def input_digest(value: Json) -> str:
    """A hash of the input, so that a reused idempotency key with another payload is recognised."""
    data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(data, digest_size=16).hexdigest()
