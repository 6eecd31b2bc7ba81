"""Finished spans in OTLP's protobuf encoding, written by hand: the library's messages take ten times as long.

The field numbers are those of opentelemetry/proto/trace/v1/trace.proto, which is stable. What is the same for all spans
of a process, its resource and scope, is encoded by the library, once.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ...ports.spans import Facts, SpanKind
from .above import above
from .finished import Finished

_KINDS: Mapping[SpanKind, int] = {"internal": 1, "server": 2, "producer": 4, "consumer": 5}
_SEVEN_BITS = 0x7F
_MORE = 0x80
_LONG = 1 << 64
_REMEMBERED = 4096
_RUN, _RUN_BYTES = "beluga.run", 32
"""What every span of a run says, and how long it is as the engine makes it."""

# start_time_unix_nano (7) and end_time_unix_nano (8), both fixed64.
_TIMES = Struct("<BQBQ").pack
_BEGAN, _ENDED = 0x39, 0x41
# flags (16), fixed32: it is known whether the parent is remote; it is.
_OF_REMOTE = b"\x85\x01" + (0x300).to_bytes(4, "little")
_OF_NONE = b"\x85\x01" + (0x100).to_bytes(4, "little")
_FAILED = b"\x18\x02"  # code (3) of Status: error
_AS_IT_SHOULD = b"\x7a\x00"  # status (15): unset


def _counted(number: int) -> bytes:
    """A number as protobuf's varint."""
    found = bytearray()
    while number > _SEVEN_BITS:
        found.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    found.append(number)
    return bytes(found)


_SIZES = tuple(_counted(size) for size in range(1024))


def _sized(content: bytes) -> bytes:
    """Its length, and it."""
    size = len(content)
    return (_SIZES[size] if size < len(_SIZES) else _counted(size)) + content


def _utf8(text: str) -> bytes:
    # Half a surrogate is no character, and the whole batch would be refused for it.
    return text.encode("utf-8", "replace")


@lru_cache(256)
def _key(key: str) -> bytes:
    return b"\x0a" + _sized(_utf8(key)) + b"\x12"


_before: dict[tuple[str, int], bytes] = {}
"""What comes before a text in an attribute, by its key and the text's size. A cache of functools' is slower to ask."""


def _attribute(item: tuple[str, str | int]) -> bytes:
    key, value = item
    if isinstance(value, str):
        told = _utf8(value)
        size = key, len(told)
        return (_before.get(size) or _new_before(size)) + told
    return _numbers.get((key, value)) or _new_number(key, value)


_numbers: dict[tuple[str, int], bytes] = {}
"""Whole attributes that are numbers: nearly all are the same few."""


def _new_number(key: str, value: int) -> bytes:
    found = b"\x4a" + _sized(_key(key) + _sized(b"\x18" + _counted(value % _LONG)))
    if len(_numbers) >= _REMEMBERED:
        _numbers.clear()
    _numbers[key, value] = found
    return found


def _new_before(of: tuple[str, int]) -> bytes:
    key, size = of
    text = b"\x0a" + _counted(size)
    value = _counted(len(text) + size) + text
    found = b"\x4a" + _counted(len(_key(key)) + len(value) + size) + _key(key) + value
    if len(_before) >= _REMEMBERED:
        _before.clear()
    _before[of] = found
    return found


_alike: dict[int, tuple[Facts, bytes]] = {}
"""What spans say alike, and what nearly all do, by its address: it is kept, so that no other comes to lie there."""


def _told_alike(facts: Facts) -> bytes:
    found = b"".join((*map(_attribute, facts.items()), _OF_REMOTE, _AS_IT_SHOULD))
    if len(_alike) >= _REMEMBERED:
        _alike.clear()
    _alike[id(facts)] = facts, found
    return found


@lru_cache(256)
def _head(name: str, kind: SpanKind) -> bytes:
    return b"\x2a" + _sized(_utf8(name)) + b"\x30" + _counted(_KINDS[kind])


def _link(parent: str) -> bytes:
    """An invalid one is left out, as by OpenTelemetry's SDK."""
    found = above(parent)
    if not found.is_valid:
        return b""
    ids = bytes.fromhex(f"0a10{found.trace}1208{found.id}")
    return b"\x6a" + _sized(ids + b"\x35" + _OF_REMOTE[2:])


class _Shape:
    """Spans that differ in their ids, their times and their run: nearly all do in nothing else."""

    __slots__ = ("after", "before", "facts", "head", "pack")

    def __init__(self, span: Finished, alike: bytes, ids: bytes, last: bytes) -> None:
        self.facts = span.of.alike
        """Kept, so that no other comes to lie at its address."""
        self.head = _head(span.name, span.of.kind) + bytes((_BEGAN,))
        self.after = alike + _new_before((_RUN, _RUN_BYTES))
        of_times = len(_TIMES(_BEGAN, 0, _ENDED, 0)) - 1
        size = len(ids) + len(self.head) + of_times + len(self.after) + _RUN_BYTES + len(last)
        self.before = b"\x12" + _counted(size)
        texts = len(self.before), len(ids), len(self.head), len(self.after), _RUN_BYTES, len(last)
        self.pack = Struct("<{}s{}s{}sQBQ{}s{}s{}s".format(*texts)).pack


_shapes: dict[tuple[int, str, SpanKind, bool], _Shape] = {}


def _new_shape(span: Finished, alike: bytes, ids: bytes, last: bytes) -> _Shape:
    if len(_shapes) >= _REMEMBERED:
        _shapes.clear()
    found = _shapes[id(span.of.alike), span.name, span.of.kind, last is _OF_NONE] = _Shape(span, alike, ids, last)
    return found


def encoded(span: Finished) -> bytes:
    """One span, as a request has it among others."""
    told, of, facts = span.parent, span.of, span.attributes
    alike, parent = _alike.get(id(of.alike)), told[36:52]
    # Of a field that comes twice the last one counts, and a status is put together.
    if parent == span.id:
        ids, last = bytes.fromhex(f"0a10{told[3:35]}1208{parent}"), _OF_NONE
    else:
        ids, last = bytes.fromhex(f"0a10{told[3:35]}1208{span.id}2208{parent}"), b""
    if alike is not None and len(facts) == 1 and span.failure is None and not of.links:
        run = facts.get(_RUN)
        if isinstance(run, str) and len(run) == _RUN_BYTES and run.isascii():
            key = id(of.alike), span.name, of.kind, last is _OF_NONE
            shape = _shapes.get(key) or _new_shape(span, alike[1], ids, last)
            return shape.pack(
                shape.before, ids, shape.head, span.began, _ENDED, span.ended, shape.after, run.encode(), last
            )
    parts = [
        ids,
        _head(span.name, of.kind),
        _TIMES(_BEGAN, span.began, _ENDED, span.ended),
        _told_alike(of.alike) if alike is None else alike[1],
        *map(_attribute, facts.items()),
        last,
    ]
    if span.failure is not None:
        parts.append(b"\x7a" + _sized(b"\x12" + _sized(_utf8(span.failure)) + _FAILED))
    if of.links:
        parts += map(_link, of.links)
    return b"\x12" + _sized(b"".join(parts))


class Encoding:
    """Of the spans of one process in one scope."""

    def __init__(self, resource: Resource, scope: str) -> None:
        none = ReadableSpan(
            "",
            context=trace.INVALID_SPAN_CONTEXT,
            resource=resource,
            instrumentation_scope=InstrumentationScope(scope),
        )
        told = encode_spans([none]).resource_spans[0]
        self._resource = b"\x0a" + _sized(told.resource.SerializeToString())
        self._schema = b"\x1a" + _sized(_utf8(told.schema_url)) if told.schema_url else b""
        self._scope = b"\x0a" + _sized(told.scope_spans[0].scope.SerializeToString())

    def request(self, spans: Iterable[bytes]) -> bytes:
        """An `ExportTraceServiceRequest` with all of these, each as `encoded`."""
        scope = b"\x12" + _sized(b"".join((self._scope, *spans)))
        return b"\x0a" + _sized(self._resource + scope + self._schema)
