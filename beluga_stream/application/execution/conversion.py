"""Values on their way: from Python to the JSON that travels, and back. What is wrong with one is told in a line."""

from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from ...domain.payload import Json
from ...errors import InvalidGraph, InvalidInput, NotSerializable
from ...ports.handlers import Handler, Program
from .judging import first_of, judged, said
from .verdict import Completed, Failed


def json_of(adapter: TypeAdapter[Any], value: Any, what: str) -> Json:
    """The value as JSON. Raises `InvalidInput` when it is of another type, `NotSerializable` when it is none."""
    try:
        checked = adapter.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"{what} fails its type: {first_of(error)}") from error
    return _dumped(adapter, checked, what)


def input_json(program: Program, value: Any) -> Json:
    """The input of a run as JSON. Raises `InvalidInput` and `NotSerializable`."""
    name = program.definition.name
    try:
        checked = program.input.validate_python(value)
    except ValidationError as error:
        raise InvalidInput(f"the input does not fit graph {name!r}: {first_of(error)}", graph=name) from error
    return _dumped(program.input, checked, f"the input of graph {name!r}")


def declared_result(program: Program, json: Json) -> Any:
    """The result of a run, of the type that its graph declares. Raises `InvalidGraph` when it gave something else."""
    try:
        return program.output.validate_python(json)
    except ValidationError as error:
        name = program.definition.name
        raise InvalidGraph(
            f"graph {name!r} gave another result than it declares: {first_of(error)}. Annotate what its last nodes "
            f"return, and it is checked when the graph is built",
            graph=name,
        ) from error


def sent(json: Json) -> Json:
    """What arrives of it elsewhere: what a record carries. Raises `NotSerializable`."""
    try:
        return orjson.loads(orjson.dumps(json))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise NotSerializable(f"the value cannot become JSON: {error}") from error


def own(json: Json) -> Json:
    """The value for one who may change it in place, as handlers may: others have it, too. Raises `NotSerializable`."""
    return sent(json) if isinstance(json, list | dict) else json


def outcome_sent(handler: Handler, outcome: Completed | Failed, node: str, attempt: int) -> Completed | Failed:
    """What arrives elsewhere of what an execution gave: a value that does not is a failure of its node."""
    if isinstance(outcome, Failed):
        return outcome
    try:
        output = sent(outcome.output)
    except NotSerializable as error:
        return Failed(*judged(handler, error, node, attempt), error=error)
    return Completed(output, outcome.branches, outcome.done, outcome.chunks)


def _dumped(adapter: TypeAdapter[Any], value: Any, what: str) -> Json:
    try:
        return adapter.dump_python(value, mode="json")
    except Exception as error:
        raise NotSerializable(f"{what} cannot become JSON: {said(error)}") from error
