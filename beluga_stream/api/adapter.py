"""The checks of types: what they take and how it travels between nodes, as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import SchemaSerializer, SchemaValidator

from ..errors import InvalidGraph
from .fit import list_of, shown, unaliased

_READ, _WRITTEN = "validation_alias", "serialization_alias"


def adapter_of(kind: Any, graph: str, node: str, what: str) -> TypeAdapter[Any]:
    """The check of a type. Raises `InvalidGraph` for one whose values cannot travel as JSON."""
    try:
        return travelling(kind)
    except (PydanticSchemaGenerationError, PydanticUserError, PydanticInvalidForJsonSchema) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise InvalidGraph(
            f"graph {graph!r}: {what} of node {node!r} is of type {shown(kind)}, which cannot travel as JSON "
            f"({reason}): use a pydantic model, a dataclass or plain values; for what workers "
            f"share, a @resource",
            graph=graph,
            node=node,
        ) from error


def travelling(kind: Any) -> TypeAdapter[Any]:
    """As `adapter_of`, and raises what pydantic does."""
    try:
        # Its text too: unions in another order are equal, and are tried in that order.
        return _known(kind, repr(kind))
    except TypeError:  # it cannot be hashed, as what some annotations hold
        return _known.__wrapped__(kind, "")


@lru_cache(1_024)
def _known(kind: Any, _: str) -> TypeAdapter[Any]:
    """Most nodes share a few types, and a check takes long to build."""
    adapter: TypeAdapter[Any] = TypeAdapter(readable_again(kind))
    if holds_secret(adapter):
        raise PydanticUserError("a secret becomes asterisks", code=None)
    written: dict[str, bool] = {}
    if _has_aliases(adapter):
        adapter.validator = _ByNameToo(adapter.validator)  # type: ignore[assignment]  # all that is asked of it
        if _is_read_as_written(adapter):
            written["by_alias"] = True
    if _refuses_what_it_writes(adapter):
        written["round_trip"] = True
    if written:
        adapter.serializer = _Writing(adapter.serializer, written)  # type: ignore[assignment]  # as above
    return adapter


def readable_again(kind: Any) -> Any:
    """The type, with lists for iterables.

    Of these pydantic checks each item when somebody asks for it, and has none for who asks a second time.
    """
    meant = unaliased(kind)
    origin, parts = get_origin(meant) or meant, get_args(meant)
    found = meant
    if origin is Iterable:
        found = list_of(readable_again((*parts, Any)[0]))
    elif origin is Annotated:
        found = cast("Any", Annotated)[(readable_again(parts[0]), *parts[1:])]
    elif origin in (Union, UnionType):
        found = cast("Any", Union)[tuple(map(readable_again, parts))]
    return kind if found == meant else found


def holds_secret(adapter: TypeAdapter[Any]) -> bool:
    """Whether it has something that would arrive as asterisks. Raises what pydantic does for what has no schema."""
    return any(schema.get("format") == "password" for schema in _mappings(adapter.json_schema()))


def schema_of(adapter: TypeAdapter[Any], mode: Literal["validation", "serialization"] = "validation") -> dict[str, Any]:
    """The JSON schema of values as they travel."""
    if _refuses_what_it_writes(adapter):
        mode = "validation"
    return adapter.json_schema(by_alias=not _has_aliases(adapter) or _is_read_as_written(adapter), mode=mode)


class _ByNameToo:
    """Takes the fields of models by their aliases and by their names: one of the two is how they travel."""

    def __init__(self, validator: Any) -> None:
        self._validator: SchemaValidator = validator

    def validate_python(self, value: Any, /, **options: Any) -> Any:
        options |= {"by_alias": True, "by_name": True}
        return self._validator.validate_python(value, **options)


class _Writing:
    """Writes in another way than a type does by itself: fields by their aliases, or only what is taken back."""

    def __init__(self, serializer: Any, options: Mapping[str, bool]) -> None:
        self._serializer: SchemaSerializer = serializer
        self._options = options

    def to_python(self, value: Any, /, **options: Any) -> Any:
        options |= self._options
        return self._serializer.to_python(value, **options)


def _has_aliases(adapter: TypeAdapter[Any]) -> bool:
    return any(field.keys() & {_READ, _WRITTEN} for _, field in _fields(adapter))


def _is_read_as_written(adapter: TypeAdapter[Any]) -> bool:
    """Whether no field has another name for reading than for writing: else each goes by its own name."""
    return all(field.get(_WRITTEN, name) == _read_as(name, field) for name, field in _fields(adapter))


def _refuses_what_it_writes(adapter: TypeAdapter[Any]) -> bool:
    """Whether it holds a model that writes computed fields and takes none but its own, or JSON in JSON."""
    return any(
        schema.get("type") == "json"
        or (
            schema.get("type") == "model"
            and schema["config"].get("extra_fields_behavior") == "forbid"
            and schema["schema"].get("computed_fields")
        )
        for schema in _mappings(adapter.core_schema)
    )


def _fields(adapter: TypeAdapter[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of all models, dataclasses and typed dicts in it."""
    for schema in _mappings(adapter.core_schema):
        match schema.get("fields"):
            case dict() as fields:
                yield from ((name, field) for name, field in fields.items() if isinstance(field, dict))
            case list() as fields:
                yield from ((field["name"], field) for field in fields if isinstance(field, dict))
            case _:
                pass


def _read_as(name: str, field: dict[str, Any]) -> object:
    """The alias that a field is read by: the first, and of a way into a tree its beginning."""
    alias: Any = field.get(_READ, name)
    while isinstance(alias, list):
        alias = alias[0]
    return alias


def _mappings(tree: object) -> Iterator[dict[str, Any]]:
    """All mappings in this tree."""
    if isinstance(tree, dict):
        yield tree
        for each in tree.values():
            yield from _mappings(each)
    elif isinstance(tree, (list, tuple)):
        for each in tree:
            yield from _mappings(each)
