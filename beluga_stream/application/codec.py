"""Records as bytes: JSON with a version in front, checked by type on the way in.

The first member is always `"v"`, so that its value is known from the first bytes.
"""

from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeAlias, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from ..domain.commands import Command
from ..domain.definition import Definition
from ..domain.ids import NodeKey
from ..domain.state import NodeState, RunState
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


Encoded: TypeAlias = dict[NodeKey, tuple[NodeState, orjson.Fragment]]
"""The nodes of one run as they were last encoded: an event changes one or two of them."""


class KeptCodec(Codec[Kept]):
    """Bytes of a run's table value, which is written at every event of the run.

    Members that have their default are left out, and nodes that have not changed are not encoded again.
    """

    def __init__(self) -> None:
        super().__init__(Kept, "the run table")

    def encode(self, value: Kept, encoded: Encoded | None = None) -> bytes:
        """`encoded` is kept by the caller from one value of the run to the next."""
        encoded = {} if encoded is None else encoded
        state = value.state
        nodes: dict[NodeKey, orjson.Fragment] = {}
        for key, node in state.nodes.items():
            found = encoded.get(key)
            if found is None or found[0] is not node:
                found = encoded[key] = (node, orjson.Fragment(orjson.dumps(_set_members(node))))
            nodes[key] = found[1]
        for gone in encoded.keys() - nodes.keys():
            del encoded[gone]
        members = _set_members(state) | {"nodes": nodes}
        tree = {"state": members, "intents": value.intents, "source": value.source}
        return _PREFIX + orjson.dumps(tree)[1:]


def _set_members(value: NodeState | RunState) -> dict[str, Any]:
    kind: type = type(value)
    names, defaults, members = _shape(kind)
    return {
        name: member
        for name, member, default in zip(names, members(value), defaults, strict=True)
        if member is not default
    }


@lru_cache(maxsize=2)
def _shape(kind: type) -> tuple[tuple[str, ...], tuple[object, ...], "attrgetter[tuple[Any, ...]]"]:
    names = tuple(member.name for member in fields(kind))
    return names, tuple(member.default for member in fields(kind)), attrgetter(*names)


def _check_version(data: bytes, what: str) -> None:
    try:
        tree = _any.validate_json(data)
    except ValidationError as error:
        raise InvalidInput(f"a record of {what} is not JSON: {error.errors()[0]['msg']}") from error
    if not isinstance(tree, dict):
        raise InvalidInput(f"a record of {what} is no JSON object")
    version = tree.get("v")
    if version != VERSION:
        raise UnknownVersion(f"a record of {what} has version {version!r}; this engine knows version {VERSION}")


_any: TypeAdapter[Any] = TypeAdapter(Any)

incoming: Codec[Any] = Codec(Incoming, "run events")
node_ready: Codec[NodeReady] = Codec(NodeReady, "node-ready")
results: Codec[Any] = Codec(Result, "run-results")
control: Codec[CancelNotice] = Codec(CancelNotice, "control")
summaries: Codec[Summary] = Codec(Summary, "runs")
definitions: Codec[Definition] = Codec(Definition, "graphs")
kept = KeptCodec()
