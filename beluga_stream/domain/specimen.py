"""A value that one schema allows and another does not: it shows what breaks better than two schemas do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jsonschema_rs

from .payload import Json

_DEEPEST = 5
_MOST = 400
_EACH = 24
_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "a@example.org",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}
_KINDS = ("null", "boolean", "integer", "number", "string", "array", "object")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LENGTHS = ("minLength", "maxLength")
_COUNTS = ("minItems", "maxItems")


@dataclass(frozen=True)
class Specimen:
    """`value` stands at the JSON pointer `at` of what is written."""

    at: str
    value: Json


def specimen(allowing: Mapping[str, Any], refusing: Mapping[str, Any], at: str) -> Specimen | None:
    """The first of some likely values that is valid by one schema and not by the other."""
    try:
        valid = jsonschema_rs.Draft202012Validator(dict(allowing), validate_formats=True)
        wanted = jsonschema_rs.Draft202012Validator(dict(refusing), validate_formats=True)
    except (jsonschema_rs.ValidationError, ValueError):
        return None
    for value in islice(likely(allowing, refusing), _MOST):
        if valid.is_valid(value) and not wanted.is_valid(value):
            return Specimen(at, value)
    return None


def likely(document: Mapping[str, Any], beside: Mapping[str, Any] | None = None) -> Iterator[Json]:
    """Values that are likely to fit a schema, and of those what lies around the bounds of another one beside it."""
    hints = _hints({"allOf": []} if beside is None else beside)
    return _Maker(document, hints).values({"allOf": document["allOf"]}, 0)


class _Maker:
    """Makes values that are likely to fit a schema. Whether they do is for a validator to say."""

    def __init__(self, document: Mapping[str, Any], hints: Mapping[str, list[Any]]) -> None:
        self._definitions = document["$defs"]
        self._hints = hints

    def values(self, tree: Any, depth: int) -> Iterator[Json]:
        if depth > _DEEPEST or tree is False:
            return
        tree = {} if tree is True else tree
        if "$ref" in tree:
            yield from self.values(self._definitions.get(tree["$ref"].removeprefix("#/$defs/"), {}), depth + 1)
            return
        if "const" in tree or "enum" in tree:
            yield from [tree["const"]] if "const" in tree else tree["enum"]
            return
        for union in ("anyOf", "oneOf", "allOf"):
            for each in tree.get(union, ()):
                yield from islice(self.values(each, depth), _EACH)
        if tree.keys() & {"anyOf", "oneOf", "allOf"}:
            return
        kinds = tree.get("type", _KINDS)
        kinds = [kinds] if isinstance(kinds, str) else kinds
        for kind in kinds:
            yield from islice(self._of_kind(kind, tree, depth), _EACH // len(kinds))

    def _of_kind(self, kind: str, tree: dict[str, Any], depth: int) -> Iterator[Json]:
        match kind:
            case "null":
                yield None
            case "boolean":
                yield from (False, True)
            case "integer":
                yield from (int(each) for each in self._numbers(tree))
            case "number":
                yield from self._numbers(tree)
                yield from (each + 0.5 for each in self._numbers(tree))
            case "string":
                yield from self._strings(tree)
            case "array":
                yield from self._arrays(tree, depth)
            case _:
                yield from self._objects(tree, depth)

    def _numbers(self, tree: dict[str, Any]) -> Iterator[Any]:
        bounds = [tree[name] for name in _NUMBERS if name in tree] + self._hints["numbers"]
        yield from (each + more for each in bounds for more in (0, 1, -1))
        yield from (0, 1, -1, 1_000_000)

    def _strings(self, tree: dict[str, Any]) -> Iterator[str]:
        if "format" in tree:
            yield _FORMATS.get(tree["format"], "a")
            return
        lengths = [tree[name] for name in _LENGTHS if name in tree] + self._hints["lengths"]
        yield from ("a" * max(length + more, 0) for length in lengths if length < _MOST for more in (0, 1, -1))
        yield from ("a", "", "A b", "1", *_FORMATS.values())

    def _arrays(self, tree: dict[str, Any], depth: int) -> Iterator[list[Json]]:
        first = [next(self.values(each, depth + 1), None) for each in tree.get("prefixItems", ())]
        yield first[: tree.get("maxItems", len(first))]
        counts = [tree[name] for name in _COUNTS if name in tree] + self._hints["counts"]
        sizes = {1, 2, *(max(count + more, 0) for count in counts if count < _MOST for more in (0, 1, -1))}
        for value in islice(self.values(tree.get("items", True), depth + 1), _EACH):
            yield from ([*first, *[value] * (size - len(first))] for size in sorted(sizes))

    def _objects(self, tree: dict[str, Any], depth: int) -> Iterator[dict[str, Json]]:
        named = tree.get("properties", {})
        needed = tree.get("required", ())
        least = {name: next(self.values(named.get(name, True), depth + 1), None) for name in needed}
        yield least
        yield least | {name: next(self.values(each, depth + 1), None) for name, each in named.items()}
        for name, each in named.items():
            yield from (least | {name: value} for value in islice(self.values(each, depth + 1), _EACH))
        for value in islice(self.values(tree.get("additionalProperties", True), depth + 1), _EACH):
            yield from (least | {name: value} for name in ("a", *self._hints["names"]))


def _hints(document: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Bounds and names of the schema that refuses: just beyond them is what it does not take."""
    found: dict[str, list[Any]] = {"numbers": [], "lengths": [], "counts": [], "names": []}
    for tree in document["allOf"]:
        if isinstance(tree, dict):
            found["numbers"] += [tree[name] for name in _NUMBERS if name in tree]
            found["lengths"] += [tree[name] for name in _LENGTHS if name in tree]
            found["counts"] += [tree[name] for name in _COUNTS if name in tree]
            found["names"] += tree.get("properties", {})
    return found
