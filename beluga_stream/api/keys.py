"""Keys that a chain's input and result must have: part of their types, so that every engine checks them."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, get_origin, get_type_hints, is_typeddict

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from ..domain import frozen
from ..domain.ids import INPUT, NodeName
from ..errors import InvalidGraph
from ..ports.handlers import Handler
from .adapter import adapter_of, schema_of
from .compile import Compiled
from .fit import shown


@dataclass(frozen=True, slots=True)
class Keys:
    """What a type is annotated with."""

    names: tuple[str, ...]
    what: str

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.checked, handler(kind))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "object", "required": list(self.names), "allOf": [handler(schema)]}

    def checked(self, value: Any) -> Any:
        """The value. Raises what pydantic reports as an invalid value, naming the keys that it lacks."""
        has = value.__contains__ if isinstance(value, Mapping) else lambda name: hasattr(value, name)
        missing = [name for name in self.names if not has(name)]
        if missing:
            named = ", ".join(map(repr, missing))
            raise PydanticCustomError("missing_keys", "{text}", {"text": f"{self.what} lacks {named}"})
        return value


def with_keys(compiled: Compiled, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Compiled:
    """The chain with keys that its input and its result must have.

    Raises `InvalidGraph` for keys that the types of its first and last step cannot have.
    """
    program, definition = compiled.program, compiled.program.definition
    handlers = dict(program.handlers)
    input_adapter, output_adapter = program.input, program.output
    if inputs:
        first = definition.entry()[0]
        input_adapter = _adapter(compiled.input_kind, Keys(inputs, "the input"), definition.name, INPUT)
        handler = handlers.get(first)
        if handler is not None:
            parameter = replace(handler.parameters[0], adapter=input_adapter)
            handlers[first] = replace(handler, parameters=(parameter, *handler.parameters[1:]))
        definition = frozen.replace(definition, input_schema=schema_of(input_adapter))
    if outputs:
        last = definition.finish[0]
        output_adapter = _adapter(compiled.output_kind, Keys(outputs, "the result"), definition.name, last)
        found = handlers.get(last)
        if found is not None and not found.streams:
            handlers[last] = _giving(found, output_adapter)
        definition = frozen.replace(definition, output_schema=schema_of(output_adapter, "serialization"))
    changed = replace(program, definition=definition, handlers=handlers, input=input_adapter, output=output_adapter)
    return Compiled(changed, compiled.input_kind, compiled.output_kind)


def _giving(handler: Handler, adapter: Any) -> Handler:
    return replace(
        handler,
        output=adapter,
        fallback=None if handler.fallback is None else replace(handler.fallback, output=adapter),
    )


def _adapter(kind: Any, keys: Keys, graph: str, node: NodeName) -> Any:
    _check(kind, keys, graph, node)
    return adapter_of(Annotated[kind, keys], graph, node, keys.what)


def _check(kind: Any, keys: Keys, graph: str, node: NodeName) -> None:
    origin = get_origin(kind) or kind
    if kind is Any or (isinstance(origin, type) and issubclass(origin, Mapping) and not is_typeddict(origin)):
        return
    is_model = isinstance(origin, type) and (issubclass(origin, BaseModel) or is_dataclass(origin))
    fields = set(get_type_hints(origin)) if is_model or is_typeddict(origin) else set()
    unknown = [name for name in keys.names if name not in fields]
    if unknown:
        has = f"has no {unknown[0]!r}" if fields else "has no keys: a mapping, a model or a dataclass has"
        raise InvalidGraph(
            f"graph {graph!r}: {keys.what} must have the keys {', '.join(keys.names)}, but {shown(kind)} {has}",
            graph=graph,
            node=str(node),
        )
