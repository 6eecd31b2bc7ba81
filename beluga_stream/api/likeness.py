"""Whether graphs of one definition run the same functions: a run knows its graph by the definition alone.

Functions are no part of a definition, so that what they do may change under runs that go on. Two graphs in one process
whose definitions are equal and whose functions are not could not be told apart: one would run the other's code.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from types import FunctionType, MethodType
from typing import Any

from pydantic import TypeAdapter

from ..domain.ids import GraphHash
from ..errors import InvalidGraph
from ..ports.handlers import Handler, Program
from .handler import origin_of

_PLAIN = (str, bytes, int, float, bool, type(None))


def check_alike(programs: Iterable[Program]) -> None:
    """Look at these with all their subgraphs. Raises `InvalidGraph` for two of one definition with other functions."""
    found: dict[GraphHash, Program] = {}
    waiting = list(programs)
    while waiting:
        program = waiting.pop()
        known = found.setdefault(program.definition.hash, program)
        if known is not program:
            _check(known, program)
        waiting.extend(program.children.values())


def _check(one: Program, other: Program) -> None:
    for name, handler in one.handlers.items():
        if not _same_handler(handler, other.handlers[name]):
            graph = one.definition.name
            raise InvalidGraph(
                f"two graphs named {graph!r} are alike but for the function of their node {name!r}, and runs know a "
                f"graph by its definition, in which no function is: give each a name of its own (`name=`)",
                graph=graph,
                node=name,
            )


def _same_handler(one: Handler | None, other: Handler | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        _same(origin_of(one.call), origin_of(other.call))
        and _same_handler(one.fallback, other.fallback)
        and _same_handler(one.compensate, other.compensate)
        and all(_same(mine, its) for (_, mine), (_, its) in zip(one.branches, other.branches, strict=True))
        and _same(one.until, other.until)
    )


def _same(one: Any, other: Any) -> bool:
    """Whether they do the same, as far as can be told: what holds a state is the same only as itself."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN):
        return bool(one == other)
    if isinstance(one, TypeAdapter):
        return True  # types are in the definition
    if isinstance(one, MethodType):
        return _same(one.__self__, other.__self__) and one.__func__ is other.__func__
    if isinstance(one, functools.partial):
        return _same(one.func, other.func) and _all_same(one.args, other.args) and _same(one.keywords, other.keywords)
    if isinstance(one, tuple):
        return _all_same(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if is_dataclass(one):
        return all(_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return isinstance(one, FunctionType) and _same_function(one, other)


def _same_function(one: FunctionType, other: FunctionType) -> bool:
    """A function that is made twice, as inside of another, is the same if it holds the same."""
    return (
        one.__code__ == other.__code__
        and one.__globals__ is other.__globals__
        and _same(one.__defaults__, other.__defaults__)
        and _same(one.__kwdefaults__, other.__kwdefaults__)
        and _all_same(_held(one), _held(other))
    )


def _held(function: Callable[..., Any]) -> tuple[Any, ...]:
    """What a closure holds; a cell that is empty yet counts as itself."""
    held: list[Any] = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            held.append(cell)
    return tuple(held)


def _all_same(some: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    return len(some) == len(others) and all(map(_same, some, others))
