"""What a function carries besides its code and its arguments, as text: what it closes over, and its defaults.

Two functions of one name that carry the same do the same, as far as code is known by its name; a lambda has no name,
and is known by its code. Of what is around a function, such as decorators that say so, plain values count: the rest is
theirs, and changes no result.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel

from .bound import function_name, layers, object_of
from .resource import INJECTED

_LAMBDA = "<lambda>"


def carried_text(handler: object) -> str:
    """As JSON; empty for nothing. Raises `TypeError` for what cannot be told from others of its kind; it says what."""
    owner = object_of(handler)
    if owner is not None:
        raise TypeError(f"a {type(owner).__name__}")
    *around, inner = layers(handler)
    found = [_plain_values(one) for one in around if isinstance(one, FunctionType)]
    own = _of_function(inner, ())
    if (code := _code_of(inner)) is not None:
        own[_LAMBDA] = code
    told = [*(one for one in found if one), own]
    return json.dumps(told, sort_keys=True) if any(told) else ""


def _plain_values(function: FunctionType) -> dict[str, Any]:
    return {name: value for name, value in _held(function) if isinstance(value, str | int | float)}


def _of_function(function: object, inside: tuple[object, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in _held(function):
        try:
            found[name] = _told(value, (*inside, function))
        except _Untold as error:
            raise TypeError(f"a {error} as {name!r}") from None
    return found


def _held(function: object) -> Iterator[tuple[str, object]]:
    """By name: variables of functions around it, and defaults of its parameters. Variables without a value are none."""
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue
    for name, parameter in inspect.signature(function, follow_wrapped=False).parameters.items():
        if not any(parameter.default is none for none in (parameter.empty, None, INJECTED)):
            yield f"{name}=", parameter.default


class _Untold(Exception):
    """A value that another of its type may differ from without being told. It says the type."""


def _told(value: object, inside: tuple[object, ...]) -> Any:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, Enum)):
        return value
    if any(value is one for one in inside):
        return ["itself", len(inside)]
    inside = (*inside, value)
    match value:
        case Enum():
            return ["enum", _name(type(value)), value.name]
        case type():
            return ["type", _name(value)]
        case ModuleType():
            return ["module", value.__name__]
        case bytes() | timedelta() | date() | Decimal() | UUID() | PurePath():
            return ["value", repr(value)]
        case list() | tuple():
            return [type(value).__name__, *(_told(one, inside) for one in cast("list[object]", value))]
        case dict():
            return _of_mapping(cast("Mapping[object, object]", value), inside)
        case BaseModel():
            return [_name(type(value)), _of_mapping(dict(value), inside)]
        case _ if is_dataclass(value):
            return [_name(type(value)), {one.name: _told(getattr(value, one.name), inside) for one in fields(value)}]
        case _:
            return _of_callable(value, inside)


def _of_mapping(values: Mapping[object, object], inside: tuple[object, ...]) -> dict[str, Any]:
    if not all(isinstance(name, str) for name in values):
        raise _Untold("dict with keys that are no texts")
    return {str(name): _told(one, inside) for name, one in values.items()}


def _of_callable(value: object, inside: tuple[object, ...]) -> Any:
    """A function, by its name and what it carries itself; a lambda by its code as well."""
    if isinstance(value, partial):
        return ["partial", _told(value.func, inside), _told(value.args, inside), _told(value.keywords, inside)]
    *_, inner = layers(value)
    if not inspect.isroutine(inner) or not isinstance(getattr(inner, "__self__", None), type | ModuleType | None):
        raise _Untold(type(value).__name__)
    return ["function", function_name(inner), _code_of(inner), _of_function(inner, inside)]


def _code_of(function: object) -> list[Any] | None:
    """The code of a lambda, which has no name that would stand for it; None for what has one."""
    if isinstance(function, FunctionType) and function.__name__ == _LAMBDA:
        return _code(function.__code__)
    return None


def _code(code: CodeType) -> list[Any]:
    return [code.co_code.hex(), list(code.co_names), [_constant(one) for one in code.co_consts]]


def _constant(value: object) -> Any:
    if isinstance(value, CodeType):
        return _code(value)
    # Of a set, which has another order in each process, in one of its own.
    return sorted(map(repr, cast("frozenset[object]", value))) if isinstance(value, frozenset) else repr(value)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
