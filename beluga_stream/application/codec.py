"""Records as bytes: JSON with a version in front, checked by type on the way in.

The first member is always `"v"`, so that its value is known from the first bytes.
"""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..domain.commands import Command
from ..domain.definition import Definition
from ..domain.state import RunState
from ..errors import InvalidInput
from .messages import CancelNotice, Incoming, NodeReady, Result, Summary

VERSION = 1
_PREFIX = b'{"v":1,'

T = TypeVar("T")


class UnknownVersion(InvalidInput):
    """A record of a version that this engine does not know."""

    code = "unknown_version"


class Codec(Generic[T]):
    """Bytes of one family of records."""

    def __init__(self, kind: Any, what: str) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)
        self._what = what

    def encode(self, value: T) -> bytes:
        return _PREFIX + self._adapter.dump_json(value, exclude_none=True)[1:]

    def decode(self, data: bytes | None) -> T:
        """Raises `UnknownVersion`, or `InvalidInput` that says which member is wrong."""
        if data is None:
            raise InvalidInput(f"a record of {self._what} has no value: it must hold a JSON object")
        if not data.startswith(_PREFIX):
            _check_version(data, self._what)
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the record"
            raise InvalidInput(f"a record of {self._what} is not valid: {place}: {first['msg']}") from error


@dataclass(frozen=True, slots=True)
class Kept:
    """A run's table value: its state, what is decided and not yet known to be sent, and from where.

    `source` maps topics to the offset of the event that led to `intents`: once the group has
    committed past all of them, the intents were sent.
    """

    state: RunState
    intents: tuple[Command, ...] = ()
    source: dict[str, int] = field(default_factory=dict)


def _check_version(data: bytes, what: str) -> None:
    try:
        tree = _any.validate_json(data)
    except ValidationError as error:
        raise InvalidInput(f"a record of {what} is not JSON: {error.errors()[0]['msg']}") from error
    if not isinstance(tree, dict):
        raise InvalidInput(f"a record of {what} is no JSON object")
    version = tree.get("v")
    if version != VERSION:
        raise UnknownVersion(
            f"a record of {what} has version {version!r}; this engine knows version {VERSION}"
        )


_any: TypeAdapter[Any] = TypeAdapter(Any)

incoming: Codec[Any] = Codec(Incoming, "run events")
node_ready: Codec[NodeReady] = Codec(NodeReady, "node-ready")
results: Codec[Any] = Codec(Result, "run-results")
control: Codec[CancelNotice] = Codec(CancelNotice, "control")
summaries: Codec[Summary] = Codec(Summary, "runs")
definitions: Codec[Definition] = Codec(Definition, "graphs")
kept: Codec[Kept] = Codec(Kept, "the run table")
