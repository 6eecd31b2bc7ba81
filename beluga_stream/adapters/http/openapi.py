"""The OpenAPI document (3.1) of the gateway, from the table of operations."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from . import form, problem, sse
from .operation import Operation, Parameter

_REF = "#/components/schemas/{model}"
_STATUS = {
    202: "It is durable.",
    204: "There is nothing after the cursor.",
    400: "The body is no JSON.",
    401: "No token, an unknown one, or one whose time is up.",
    403: "The token may not do this.",
    404: "There is no such thing (yet).",
    408: "The body did not come in time.",
    409: "The run is in a state in which this is not possible (yet); `code` and `retryable` say more.",
    410: "It was there, and is kept no longer.",
    413: "The body is too large.",
    415: "The body is of another kind than JSON.",
    422: "A value is wrong.",
    429: "Too much at once; `Retry-After` says when there is room.",
    500: "A defect of the gateway.",
    503: "The engine's log does not answer, or the gateway closes; try later.",
}
_EVENT = {
    "type": "object",
    "description": "One event of the stream; `data` is a JSON text.",
    "properties": {"event": {"type": "string"}, "id": {"type": "string"}, "data": {"type": "string"}},
}
_ALWAYS = (401, 403, 422, 429, 500, 503)
_WITH_BODY = (400, 408, 413, 415)


def document(table: Iterable[Operation], version: str = "1") -> dict[str, Any]:
    """The document as JSON."""
    operations = list(table)
    models: set[type[BaseModel]] = {form.ProblemView, form.HealthView, *(each.form for each in operations)}
    models |= {each.gives for each in operations if each.gives is not None}
    ordered: list[Any] = [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)]
    _, schemas = models_json_schema(ordered, ref_template=_REF)
    paths: dict[str, Any] = {"/healthz": {"get": _health()}}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "beluga_stream",
            "version": version,
            "description": "Starts runs of graphs, follows them as they go, and sends them signals and cancels.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.about,
        "parameters": [*_in_path(operation.path), *(_parameter(each) for each in operation.parameters)],
        "responses": _responses(operation),
    }
    if operation.scope is not None:
        told["description"] = f"Needs the scope `{operation.scope}`."
    if operation.raw:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    elif operation.method == "POST" and operation.form is not form.Nothing:
        content = {"application/json": {"schema": _of(operation.form)}}
        told["requestBody"] = {"required": False, "content": content}
    return told


def _responses(operation: Operation) -> dict[str, Any]:
    statuses = {*_ALWAYS, *operation.problems, *(_WITH_BODY if operation.method == "POST" else ())}
    responses: dict[str, Any] = {
        str(status): {
            "description": _STATUS[status],
            "content": {problem.MEDIA_TYPE: {"schema": _of(form.ProblemView)}},
        }
        for status in sorted(statuses)
    }
    if operation.gives is not None:
        content = {"application/json": {"schema": _of(operation.gives)}}
        responses[str(operation.status)] = {"description": _STATUS.get(operation.status, "Done."), "content": content}
    else:
        responses["200"] = {
            "description": "Events as they come: `run`, `node`, `chunk`, `superseded`, `rejected`; and `live` when all "
            "that was there has been sent, `end`, `problem`, and `closing` when to connect again.",
            "content": {sse.MEDIA_TYPE: {"schema": _EVENT}},
        }
        responses["204"] = {"description": _STATUS[204]}
    return responses


def _in_path(path: str) -> Iterable[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", path):
        pattern = form.RUN_PATTERN if name == "run" else form.NAME_PATTERN
        schema = {"type": "string", "pattern": pattern}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any]
    if parameter.flag:
        schema = {"type": "boolean"}
    elif parameter.number is not None:
        least, most = parameter.number
        schema = {"type": "integer" if parameter.whole else "number", "minimum": least, "maximum": most}
    else:
        schema = {"type": "string", "maxLength": parameter.most_letters}
        if parameter.pattern is not None:
            schema["pattern"] = parameter.pattern
        if parameter.many:
            schema = {"type": "array", "items": schema}
    told = {"name": parameter.name, "in": parameter.place, "description": parameter.about, "schema": schema}
    return told | {"required": False}


def _of(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}


def _health() -> dict[str, Any]:
    content = {"application/json": {"schema": _of(form.HealthView)}}
    return {
        "operationId": "health",
        "summary": "Whether the gateway takes requests.",
        "security": [],
        "responses": {
            "200": {"description": "It does.", "content": content},
            "503": {"description": "It closes.", "content": content},
        },
    }
