"""Comparing schemas is sound: what it lets through, no value disproves. jsonschema-rs validates the values."""

from itertools import islice
from typing import Any

import jsonschema_rs
from hypothesis import event, given, settings
from hypothesis import strategies as st

from beluga_stream.domain.breaking import breaks
from beluga_stream.domain.schema import Schema
from beluga_stream.domain.specimen import likely

_NAMES = st.sampled_from(["a", "b", "c"])
_NUMBERS = st.integers(-3, 4)
_WORDS = st.sampled_from(["", "a", "ab", "b", "2026-01-02", "abc"])
_SCALARS = st.none() | st.booleans() | _NUMBERS | st.sampled_from([0.5, 1.0, -2.5]) | _WORDS
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | st.just("d"), inner, max_size=4),
    max_leaves=8,
)
_DEFINED = ("One", "Two")


def _some(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


def _grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(_NAMES, inner, max_size=3)
    objects = _some(
        properties=members,
        required=st.lists(_NAMES, unique=True, max_size=2),
        additionalProperties=st.booleans() | inner,
        patternProperties=st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=1),
        minProperties=st.integers(0, 2),
    ).map(lambda tree: {"type": "object", **tree})
    arrays = _some(
        items=inner,
        prefixItems=st.lists(inner, min_size=1, max_size=2),
        minItems=st.integers(0, 2),
        maxItems=st.integers(0, 3),
        uniqueItems=st.booleans(),
        contains=inner,
    ).map(lambda tree: {"type": "array", **tree})
    branches = st.lists(inner, min_size=1, max_size=3)
    composed = st.one_of(
        branches.map(lambda found: {"anyOf": found}),
        branches.map(lambda found: {"oneOf": found}),
        branches.map(lambda found: {"allOf": found}),
        inner.map(lambda found: {"not": found}),
        st.tuples(inner, inner).map(lambda two: {"if": two[0], "then": two[1]}),
        st.tuples(inner, members).map(lambda two: {"allOf": [two[0]], "properties": two[1]}),
    )
    return objects | objects | arrays | composed


_LEAVES = st.one_of(
    st.sampled_from([True, {}, {"type": "null"}, {"type": "boolean"}, {"type": ["string", "null"]}]),
    st.sampled_from([{"$ref": f"#/$defs/{name}"} for name in _DEFINED]),
    _SCALARS.map(lambda value: {"const": value}),
    st.lists(_SCALARS, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    st.builds(
        lambda kind, more: {"type": kind, **more},
        st.sampled_from(["integer", "number"]),
        _some(minimum=_NUMBERS, maximum=_NUMBERS, exclusiveMinimum=_NUMBERS, multipleOf=st.sampled_from([1, 2, 0.5])),
    ),
    _some(
        minLength=st.integers(0, 2),
        maxLength=st.integers(0, 3),
        pattern=st.sampled_from(["^a", "b$", "^ab?$"]),
        format=st.sampled_from(["date", "email", "binary"]),
    ).map(lambda tree: {"type": "string", **tree}),
)
_TREES = st.recursive(_LEAVES, _grown, max_leaves=6)


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, Any]:
    """A schema that may hold itself: a definition's references are below a member or an item, so that they end."""
    inner = st.dictionaries(_NAMES, _TREES, max_size=2).map(lambda found: {"type": "object", "properties": found})
    definitions = {name: draw(inner | _LEAVES.filter(lambda tree: "$ref" not in str(tree))) for name in _DEFINED}
    return {"$defs": definitions, "allOf": [draw(_TREES)]}


@st.composite
def _changed(draw: st.DrawFn, tree: Any) -> Any:
    """The same but for a place or two, as schemas are changed by people."""
    if draw(st.integers(0, 5)) == 0:
        return draw(_TREES)
    if isinstance(tree, dict):
        left = {name: value for name, value in tree.items() if name == "$ref" or draw(st.integers(0, 9)) > 0}
        deeper = ("properties", "items", "additionalProperties", "anyOf", "allOf", "$defs")
        return {name: draw(_changed_inside(value)) if name in deeper else value for name, value in left.items()}
    return tree


@st.composite
def _changed_inside(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, list):
        return [draw(_changed(each)) for each in value]
    if isinstance(value, dict) and not value.keys() & {
        "type",
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
        "const",
        "enum",
        "not",
    }:
        return {name: draw(_changed(each)) for name, each in value.items()}
    return draw(_changed(value))


def _valid(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    old = draw(_documents())
    if draw(st.booleans()):
        return Schema.of(old), Schema.of(draw(_documents()))
    definitions = {name: draw(_changed(tree)) for name, tree in old["$defs"].items()}
    guarded = {
        name: tree if "properties" in str(tree) or "$ref" not in str(tree) else True
        for name, tree in definitions.items()
    }
    return Schema.of(old), Schema.of({"$defs": guarded, "allOf": [draw(_changed(old["allOf"][0]))]})


@given(pair=_pairs(), strict=st.booleans(), values=st.lists(_VALUES, min_size=5, max_size=10))
@settings(max_examples=250, deadline=None)
def test_what_is_compatible_no_value_disproves(*, pair: tuple[Schema, Schema], strict: bool, values: list[Any]) -> None:
    old, new = pair
    if breaks(old, new, strict=strict):
        return
    bundle = old.bundle(old.tree, written=not strict)
    valid, written, read = _valid(old.bundle(old.tree)), _valid(bundle), _valid(new.bundle(new.tree))
    values = [*values, *islice(likely(bundle), 200)]
    values = [value for value in values if valid.is_valid(value) and written.is_valid(value)]
    event(f"values that were allowed: {bool(values)}")
    assert [value for value in values if not read.is_valid(value)] == []


@given(document=_documents(), strict=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_schema_is_compatible_with_itself(*, document: dict[str, Any], strict: bool) -> None:
    assert breaks(Schema.of(document), Schema.of({**document, "title": "the same"}), strict=strict) == ()


@given(_pairs())
@settings(max_examples=60, deadline=None)
def test_a_value_that_shows_a_break_is_written_and_not_read(pair: tuple[Schema, Schema]) -> None:
    old, new = pair
    for found in breaks(old, new):
        if found.specimen is None:
            continue
        assert found.certain
        read = _valid(new.bundle(found.read))
        assert not read.is_valid(found.specimen.value)
