"""What a change of a type breaks, case by case, with models as people write them."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, Json, TypeAdapter

from beluga_stream.domain.breaking import Break, breaks
from beluga_stream.domain.schema import Schema
from beluga_stream.errors import InvalidInput


class Order(BaseModel):
    id: str
    amount: int = Field(ge=0, le=10)
    tags: list[str] = []
    note: str | None = None


class More(Order):
    currency: str = "EUR"
    parts: list[Order] = []


class Demanding(Order):
    customer: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str


class Tree(BaseModel):
    value: int
    inner: list["Tree"] = []


class Wider(BaseModel):
    value: float
    inner: list["Wider"] = []
    colour: str = "green"


class Other(BaseModel):
    value: str
    inner: list["Other"] = []


class Card(BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Cash(BaseModel):
    kind: Literal["cash"] = "cash"
    paid: int


class Coin(BaseModel):
    kind: Literal["coin"] = "coin"
    paid: int


class Cheque(BaseModel):
    kind: Literal["cash"] = "cash"
    paid: str


Two = Annotated[Card | Cash, Field(discriminator="kind")]
Three = Annotated[Card | Cash | Coin, Field(discriminator="kind")]
Mixed = Annotated[Card | Cheque, Field(discriminator="kind")]
Short = Annotated[str, Field(max_length=3)]


def _schema(kind: Any) -> Schema:
    return Schema.of(kind if isinstance(kind, dict) else TypeAdapter(kind).json_schema())


def _breaks(old: Any, new: Any, *, strict: bool = False) -> list[tuple[str, str]]:
    return [(found.at, found.keyword) for found in breaks(_schema(old), _schema(new), strict=strict)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Order, Order),
        (Order, More),
        (int, float),
        (int, int | str),
        (int, int | None),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a", "b"], str),
        (Short, str),
        (Annotated[int, Field(ge=1, le=3)], Annotated[int, Field(gt=0, le=5)]),
        (tuple[int, str], list[int | str]),
        (dict[str, int], dict[str, float]),
        (set[int], list[int]),
        (datetime, str),
        (uuid.UUID, uuid.UUID),
        (Tree, Wider),
        (Two, Three),
        (Order, dict[str, Any]),
        (Order, Any),
        (Json[Order], Json[Order]),
        (Json[Order], str),
        (Base64Bytes, Base64Bytes),
        ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, {"type": "number", "minimum": 2}),
        ({"type": "object", "patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False}, dict),
    ],
    ids=str,
)
def test_what_takes_all_that_was_valid_is_compatible(old: Any, new: Any) -> None:
    assert _breaks(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (Order, Demanding, [("/customer", "required")]),
        (
            More,
            Closed,
            [(f"/{name}", "additionalProperties") for name in ("amount", "tags", "note", "currency", "parts")],
        ),
        (float, int, [("", "type")]),
        (int | None, int, [("", "type")]),
        (Literal["a", "b"], Literal["a"], [("", "const")]),
        (str, Short, [("", "maxLength")]),
        (str, datetime, [("", "format")]),
        (str, Json[int], [("", "format")]),
        (Json[int], Json[float], [("", "format")]),
        (str, Annotated[str, Field(pattern="^a")], [("", "pattern")]),
        (tuple[int, str], tuple[int, int], [("/1", "type")]),
        (list[str], list[int], [("/*", "type")]),
        (list[int], set[int], [("", "uniqueItems")]),
        (dict[str, str], dict[str, int], [("/*", "type")]),
        (Tree, Other, [("/value", "type")]),
        (Wider, Tree, [("/value", "type")]),
        (Three, Two, [("", "anyOf")]),
        (Two, Mixed, [("/paid", "type")]),
        (Card, Two, [("/kind", "required")]),
        (Two, Card, [("/kind", "const"), ("/number", "required")]),
        (Any, Closed, [("/*", "additionalProperties"), ("/id", "type"), ("/id", "required"), ("", "type")]),
        ({"type": "string", "format": "x"}, {"type": "string", "format": "y"}, [("", "format")]),
        ({"const": 1}, {"const": True}, [("", "const")]),
        (
            {"type": "object", "properties": {"a/b~c": {}}},
            {"properties": {"a/b~c": {"type": "null"}}},
            [("/a~1b~0c", "type")],
        ),
    ],
    ids=str,
)
def test_what_is_refused_is_named_by_its_place(old: Any, new: Any, found: list[tuple[str, str]]) -> None:
    assert sorted(_breaks(old, new)) == sorted(found)


def test_a_new_optional_member_breaks_only_who_may_write_what_no_type_names() -> None:
    assert _breaks(Order, More) == []
    assert {at.split("/")[1] for at, _ in _breaks(Order, More, strict=True)} == {"currency", "parts"}
    open_order = {"type": "object", "properties": {"id": {"type": "string"}}, "additionalProperties": True}
    assert _breaks(open_order, {"properties": {"n": {"type": "integer"}}}) == [("/n", "type")]


def test_a_model_that_is_used_twice_breaks_at_both_places() -> None:
    class Pair(BaseModel):
        left: Tree
        right: Tree | None

    class Others(BaseModel):
        left: Other
        right: Other | None

    assert {("/left/value", "type"), ("/right/value", "type")} <= set(_breaks(Pair, Others))


def test_where_schemas_are_composed_further_members_are_taken_to_be_there() -> None:
    inner = {"type": "object", "properties": {"p": {"type": "integer"}}}
    composed = {"type": "object", "properties": {"a": inner}, "not": {"required": ["z"]}}
    more = {"properties": {"a": {"properties": {"p": {"type": "integer"}, "q": {"type": "integer"}}}}}
    assert _breaks({"type": "object", "properties": {"a": inner}}, more) == []
    assert _breaks(composed, more) == [("/a/q", "type")]


def test_what_cannot_be_decided_is_refused_and_says_so() -> None:
    (found,) = breaks(_schema({"type": "string", "pattern": "^ab"}), _schema({"type": "string", "pattern": "^a."}))
    assert (found.certain, found.specimen) == (False, None)


def test_a_break_comes_with_a_value_that_shows_it() -> None:
    def shown(old: Any, new: Any) -> list[Any]:
        return [found.specimen and found.specimen.value for found in breaks(_schema(old), _schema(new))]

    assert shown(Order, Demanding) == [{"id": "a", "amount": 0}]
    assert shown(int | None, int) == [None]
    assert shown(str, Short) == ["aaaa"]
    assert shown(Annotated[int, Field(le=9)], Annotated[int, Field(le=7)]) == [9]
    assert shown(float, int) == [0.5]


def test_a_model_that_holds_itself_at_once_is_refused_and_not_followed_for_ever() -> None:
    loop = {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}}, "$ref": "#/$defs/A"}
    found: tuple[Break, ...] = breaks(_schema({"type": "integer"}), _schema(loop))
    assert found


def test_marks_that_constrain_nothing_make_no_difference() -> None:
    marked = {"type": "integer", "title": "A", "description": "b", "default": 3, "examples": [1], "deprecated": True}
    assert _breaks(marked, {"type": "integer"}) == []
    assert _breaks({"type": "integer"}, marked) == []


def test_large_unions_of_models_that_hold_each_other_end() -> None:
    def family(kind: str) -> dict[str, Any]:
        inner = {"type": "array", "items": {"anyOf": [{"$ref": f"#/$defs/M{number}"} for number in range(12)]}}
        models = {
            f"M{number}": {
                "type": "object",
                "properties": {"t": {"const": number}, "v": {"type": kind}, "left": inner, "right": inner},
                "required": ["t"],
            }
            for number in range(12)
        }
        return {"$defs": models, **inner}

    assert _breaks(family("integer"), family("number")) == []
    assert _breaks(family("number"), family("integer")) != []


@pytest.mark.parametrize(
    "wrong",
    [3, {"type": "strnig"}, {"$ref": "#/$defs/Nobody"}, {"$ref": "https://example.org/x"}, {"properties": [1]}],
    ids=str,
)
def test_what_is_no_schema_is_bad_input(wrong: Any) -> None:
    with pytest.raises(InvalidInput):
        Schema.of(wrong)
