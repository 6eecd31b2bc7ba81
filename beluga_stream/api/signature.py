"""What a handler takes and gives, read from its annotations. An annotation that is missing means Any.

A parameter without one is read as the type of what its edge gives, once the edges are known: see `unannotated`.

A handler is a function of any kind, a method, a `functools.partial`, or an object with `ainvoke`,
`invoke`, `astream` or `stream` (as LangChain's have): the first of these that it has is called, so that an
object that can do both is an ordinary node; give `add_node` its method `astream` for a streaming one.
"""

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
)
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from ..domain.definition import EdgeMode
from ..errors import InvalidGraph
from .bound import bound_keywords
from .fit import members, unaliased, union
from .history import History
from .resource import INJECTED, is_resource
from .stream import Outcome, Stream

_METHODS = ("ainvoke", "invoke", "astream", "stream")
_ASYNC_STREAMS = (AsyncIterator, AsyncGenerator, AsyncIterable)
_AWAITABLES = (Awaitable, Coroutine)
_STREAMS = (*_ASYNC_STREAMS, Iterator, Generator)
_TAKEN_APART = (*_AWAITABLES, *_STREAMS, Stream, Outcome)


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter that edges feed. `kind` is its type; of a stream, its chunks'."""

    name: str
    kind: Any
    mode: EdgeMode = EdgeMode.VALUE
    has_default: bool = False
    by_position: bool = False  # cannot be given by name
    is_injected: bool = False  # its default says that no edge feeds it
    is_annotated: bool = True

    @property
    def is_optional(self) -> bool:
        """Whether its edge may be dead, or missing if it has a default."""
        return self.has_default or self.takes_none

    @property
    def takes_none(self) -> bool:
        return NoneType in members(self.kind) or self.kind is Any


@dataclass(frozen=True, slots=True)
class Signature:
    """A handler as the engine sees it. `output` is what it returns; of a streaming handler, each chunk."""

    call: Callable[..., Any]
    name: str
    arguments: tuple[Argument, ...]
    resources: Mapping[str, type]
    output: Any
    streams: bool
    is_async: bool
    leading: tuple[str, ...]  # every parameter that can be given by position, resources among them
    takes_more: bool = False  # `*args`, which no edge can name


def name_of(handler: object) -> str:
    """The name of a handler's node, unless another is given. Empty for a lambda."""
    while isinstance(handler, partial):
        handler = handler.func
    name = getattr(handler, "__name__", type(handler).__name__)
    return "" if name == "<lambda>" else str(name)


def signature_of(handler: object, graph: str, node: str) -> Signature:
    """Read a handler.

    Raises `InvalidGraph` for what cannot be called, and for an annotation that cannot be resolved.
    """
    call = _call_of(handler, graph, node)
    function = _function_of(call)
    try:
        declared = inspect.signature(call)
    except (ValueError, TypeError):  # some builtins have none: one parameter, of any type
        only = Argument("value", Any, by_position=True, is_annotated=False)
        return Signature(call, name_of(handler), (only,), {}, Any, streams=False, is_async=False, leading=("value",))
    hints = _hints_of(function, graph, node)
    arguments: list[Argument] = []
    resources: dict[str, type] = {}
    leading: list[str] = []
    bound = bound_keywords(call)
    for parameter in declared.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in bound:
            continue
        if parameter.kind is not parameter.KEYWORD_ONLY:
            leading.append(parameter.name)
        kind = _plain(hints.get(parameter.name, Any))
        shared = _shared(kind)
        if shared is not None:
            resources[parameter.name] = shared
            continue
        if _is_option(call, parameter):
            continue
        arguments.append(_argument(parameter, kind, is_annotated=parameter.name in hints))
    returned = _plain(hints.get("return", Any))
    is_generator = inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)
    is_coroutine = inspect.iscoroutinefunction(function) or get_origin(returned) in _AWAITABLES
    streams = not is_coroutine and (is_generator or get_origin(returned) in _STREAMS or returned in _STREAMS)
    is_async = is_coroutine or inspect.isasyncgenfunction(function)
    is_async = is_async or (streams and (get_origin(returned) or returned) in _ASYNC_STREAMS)
    return Signature(
        call,
        name_of(handler),
        tuple(arguments),
        resources,
        _output(returned, streams=streams),
        streams,
        is_async,
        tuple(leading),
        any(parameter.kind is parameter.VAR_POSITIONAL for parameter in declared.parameters.values()),
    )


def called(handler: object) -> Callable[..., Any] | None:
    """What the engine calls of a handler: itself, or an object's method."""
    if inspect.isroutine(handler) or isinstance(handler, partial):
        return cast("Callable[..., Any]", handler)
    if not isinstance(handler, type):
        for method in _METHODS:
            if callable(handler) and inspect.getattr_static(handler, method, None) is None:
                continue  # a mock has whatever it is asked for
            found: object = getattr(handler, method, None)
            if callable(found):
                return found
    return handler if callable(handler) else None


def _call_of(handler: object, graph: str, node: str) -> Callable[..., Any]:
    call = called(handler)
    if call is not None:
        return call
    raise InvalidGraph(
        f"graph {graph!r}: node {node!r} is of type {type(handler).__name__}, which cannot be called: "
        f"give a function, a graph, or an object with invoke or ainvoke",
        graph=graph,
        node=node,
    )


def _function_of(call: object) -> Any:
    """The function whose annotations count and whose kind tells how to call it."""
    while isinstance(call, partial):
        call = call.func
    if isinstance(call, type) or inspect.isroutine(call):
        return call
    return getattr(type(call), "__call__", call)  # noqa: B004 - the function is wanted, not whether there is one


def _hints_of(function: Any, graph: str, node: str) -> dict[str, Any]:
    if isinstance(function, type):
        hints = _hints_of(getattr(function, "__init__"), graph, node)  # noqa: B009 - read, not called
        return {**hints, "return": function}
    try:
        hints = get_type_hints(function, include_extras=True)
        for kind in hints.values():
            unaliased(kind)  # what it names is looked up when it is first asked for
    except NameError as error:
        raise InvalidGraph(
            f"graph {graph!r}: an annotation of node {node!r} cannot be resolved ({error}): import the type "
            f"at run time, and define it at the top of a module",
            graph=graph,
            node=node,
        ) from error
    except TypeError:  # no annotations at all, as of builtins
        return {}
    return hints


def _plain(kind: Any) -> Any:
    """The type itself: a type variable is anything, None is NoneType.

    An alias of what is taken apart here is what it stands for; of a value's type it stays, as it may hold itself.
    """
    if kind is None:
        return NoneType
    meant = unaliased(kind)
    if (get_origin(meant) or meant) in _TAKEN_APART:
        return meant
    if isinstance(kind, TypeVar) or kind is inspect.Parameter.empty:
        return Any
    return Any if any(isinstance(part, TypeVar) for part in get_args(kind)) else kind


def _shared(kind: Any) -> type | None:
    """The type of the resource that fills a parameter of this type, which may also say that there may be none."""
    wanted = [part for part in members(kind) if part is not NoneType]
    return wanted[0] if len(wanted) == 1 and is_resource(wanted[0]) else None


def _is_option(call: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    """LangChain's `config` and the like: later parameters with defaults of an adapted object's method."""
    return (
        getattr(call, "__name__", "") in _METHODS
        and inspect.ismethod(call)
        and parameter.default is not parameter.empty
    )


def _argument(parameter: inspect.Parameter, kind: Any, *, is_annotated: bool) -> Argument:
    mode = EdgeMode.VALUE
    origin = get_origin(kind) or kind
    if origin is Stream:
        kind, mode = _plain((*get_args(kind), Any)[0]), EdgeMode.STREAM
    elif origin is Outcome:
        mode = EdgeMode.OUTCOME
    return Argument(
        parameter.name,
        kind,
        mode,
        has_default=parameter.default is not parameter.empty or kind is History,  # the memory feeds it
        by_position=parameter.kind is parameter.POSITIONAL_ONLY,
        is_injected=parameter.default is INJECTED and kind is not History,
        is_annotated=is_annotated,
    )


def _output(returned: Any, *, streams: bool) -> Any:
    """The type of what a call gives once that is awaited, where it is to be; of a streaming one, of each chunk."""
    if streams:
        return _plain((*get_args(returned), Any)[0])
    parts = members(returned)
    if not any(get_origin(part) in _AWAITABLES for part in parts):
        return returned
    return union(_plain(get_args(part)[-1]) if get_origin(part) in _AWAITABLES else part for part in parts)
