"""A request as an operation wants it: parameters, headers and body checked, within the limits."""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import HTTPConnection, Request

from ...bounds import within
from ...errors import InvalidInput, RecordTooLarge, TimedOut
from . import form
from .operation import Asked, Operation, Parameter
from .problem import Problem
from .tokens import Caller

_PATTERNS = {"run": re.compile(form.RUN_PATTERN)}
_BODY_SECONDS = 60.0
_PLACE_MOST = 300
"""Letters that are told of where a body is wrong: its names are its sender's."""
_NAME = re.compile(form.NAME_PATTERN)
_JSON = ("application/json", "application/cloudevents+json")


async def checked(operation: Operation, request: HTTPConnection, caller: Caller, most_bytes: int) -> Asked:
    """Raises `Problem` and `InvalidInput` that say what is wrong with it."""
    path = {name: _named(name, str(value)) for name, value in request.path_params.items()}
    query = _query(operation, request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    for parameter in operation.parameters:
        if parameter.place == "header" and parameter.name in headers:
            _fits(parameter, headers[parameter.name])
    body, made = b"", None
    if isinstance(request, Request) and operation.method == "POST":
        body = await _body(request, most_bytes)
        if operation.raw:
            _check_kind(headers)
        else:
            made = _form(operation, body, headers)
    return Asked(caller, path, query, headers, made, body)


def _named(name: str, value: str) -> str:
    if not _PATTERNS.get(name, _NAME).fullmatch(value):
        raise InvalidInput(f"{value[:100]!r} cannot be the {name} of a path")
    return value


def _query(operation: Operation, request: HTTPConnection) -> Mapping[str, Any]:
    """What is declared, as what it is; what is not declared is refused, since it is most likely misspelled."""
    declared = {parameter.name: parameter for parameter in operation.parameters if parameter.place == "query"}
    found: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        parameter = declared.get(name)
        if parameter is None:
            known = ", ".join(declared) or "none"
            raise InvalidInput(f"there is no parameter {name[:100]!r} here: known are {known}")
        if parameter.many:
            found.setdefault(name, []).append(_fits(parameter, value))
        elif name in found:
            raise InvalidInput(f"the parameter {name!r} is given twice")
        else:
            found[name] = _fits(parameter, value)
    return found


def _fits(parameter: Parameter, value: str) -> Any:
    if parameter.flag:
        if value not in ("true", "false"):
            raise InvalidInput(f"{parameter.name} must be true or false")
        return value == "true"
    if parameter.number is not None:
        return _number(parameter, value)
    if len(value) > parameter.most_letters:
        raise InvalidInput(f"{parameter.name} may have {parameter.most_letters} letters, and has {len(value)}")
    if parameter.pattern is not None and re.search(parameter.pattern, value) is None:
        raise InvalidInput(f"{parameter.name} is wrong: {value[:100]!r} does not match {parameter.pattern}")
    return value


def _number(parameter: Parameter, value: str) -> float:
    assert parameter.number is not None
    least, most = parameter.number
    try:
        number = int(value) if parameter.whole else float(value)
    except ValueError as error:
        raise InvalidInput(f"{parameter.name} must be a number, and is {value[:100]!r}") from error
    if not least <= number <= most:
        raise InvalidInput(f"{parameter.name} must lie between {least:g} and {most:g}")
    return number


async def _body(request: Request, most: int) -> bytes:
    """The body, read only as far as it may go."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    found = bytearray()
    try:
        async with within(_BODY_SECONDS):
            async for part in request.stream():
                found += part
                if len(found) > most:
                    raise _too_large(most)
    except TimeoutError as error:
        told = f"the body did not come within {_BODY_SECONDS:g} s"
        raise Problem(408, TimedOut(told)) from error
    return bytes(found)


def _too_large(most: int) -> Problem:
    told = f"the body may have {most} bytes: put large values where the graph can fetch them"
    return Problem.of(RecordTooLarge(told))


def _form(operation: Operation, body: bytes, headers: Mapping[str, str]) -> Any:
    if not body:
        tree: Any = {}
    else:
        _check_kind(headers)
        try:
            tree = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Problem(400, InvalidInput(f"the body is not JSON: {error}")) from error
    try:
        return operation.form.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the body"
        raise InvalidInput(f"the body is wrong: {place[:_PLACE_MOST]}: {first['msg']}") from error


def _check_kind(headers: Mapping[str, str]) -> None:
    """A page of another site can send other kinds without its browser asking first."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _JSON:
        raise Problem(415, InvalidInput(f"the body must be {_JSON[0]}, and says that it is {kind[:100]!r}"))
