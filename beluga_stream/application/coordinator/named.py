"""Which blobs a value names, through those that are payloads in turn."""

from contextlib import suppress

from ...domain.references import references
from ...errors import NotFound
from ...ports.blobs import Blobs
from .. import codec


async def named(blobs: Blobs, value: object) -> tuple[str, ...]:
    """Its references, and those in the stored payloads that it names."""
    refs: list[str] = []
    left = list(references(value))
    while left:
        stored = left.pop()
        refs.append(stored.ref)
        if stored.parts:
            with suppress(NotFound):  # it was swept before, and what it named with it
                left.extend(references(codec.payloads.decode(await blobs.get(stored.ref))))
    return tuple(refs)
