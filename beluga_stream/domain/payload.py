"""Values as they travel: JSON in the record, or a reference to a blob, or a list made of such parts.

The domain never looks inside a value, but for two things: the length of a list (to map over
it) and one item of an inline list.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from .frozen import Frozen

Json: TypeAlias = Any
"""A JSON tree: None, bool, int, float, str, list or dict with str keys."""

INLINE_LIMIT_BYTES = 64 * 1024
"""A longer encoded value goes to the blob store, and the record carries its reference."""


class Inline(Frozen, tag_field="kind", tag="inline"):
    """The value itself."""

    value: Json = None


class Stored(Frozen, tag_field="kind", tag="stored"):
    """A value in the blob store, durable before any record that names it.

    `ref` is its address (owner/sha256), `size_bytes` the length of what is stored, `length` the value's number
    of items when it is a list. With `sealed` it is encrypted; with `parts` it is a payload in turn, as JSON.
    """

    ref: str
    size_bytes: int
    length: int | None = None
    sealed: bool = False
    parts: bool = False


class Sealed(Frozen, tag_field="kind", tag="sealed"):
    """An encrypted value: only who has its key can read it, and only as a value of this owner (a run).

    `length` is its number of items when it is a list, so that it can be mapped over unread.
    """

    owner: str
    data: bytes
    length: int | None = None


class Gathered(Frozen, tag_field="kind", tag="gathered"):
    """A list whose items are payloads of their own (a map's ordered results), or with `names` a mapping."""

    items: tuple["Payload", ...]
    names: tuple[str, ...] | None = None


class Paged(Frozen, tag_field="kind", tag="paged"):
    """A long list as pages, each a list of its own: the manifest of a large map."""

    pages: tuple["Payload", ...]
    length: int


class Picked(Frozen, tag_field="kind", tag="picked"):
    """One item of a list that is too long to be cut up here."""

    source: "Payload"
    index: int


Payload: TypeAlias = Inline | Stored | Sealed | Gathered | Paged | Picked

NOTHING = Inline(None)


def length_of(payload: Payload) -> int | None:
    """The number of items of a list payload; None when it is no list."""
    match payload:
        case Inline(value):
            return len(value) if isinstance(value, list) else None
        case Stored() | Sealed():
            return payload.length
        case Gathered(items, names):
            return len(items) if names is None else None
        case Paged():
            return payload.length
        case Picked():
            return None


def seals_of(payload: Payload) -> Iterator[str]:
    """The owners of everything encrypted in it."""
    match payload:
        case Sealed(owner):
            yield owner
        case Stored(ref, sealed=True):
            yield ref.rpartition("/")[0]
        case Gathered(parts) | Paged(parts):
            for part in parts:
                yield from seals_of(part)
        case Picked(source):
            yield from seals_of(source)
        case _:
            return


def gather(items: Sequence[Payload], names: Sequence[str] | None = None) -> Payload:
    """Several payloads as one list, or mapping with `names`: inline when every part is."""
    values: list[Json] = []
    for item in items:
        if not isinstance(item, Inline):
            return Gathered(tuple(items), None if names is None else tuple(names))
        values.append(item.value)
    return Inline(values if names is None else dict(zip(names, values, strict=True)))
