"""From a user's function to `ports.handlers.Handler`: adapters for its types, and one way to call it."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InvalidGraph
from ..ports.handlers import LEFT_OUT, Handler, Parameter
from .adapter import adapter_of
from .fit import fits, list_of, shown
from .guard import of_one_process, that_block
from .node import Executor
from .signature import Argument, Signature, signature_of
from .unannotated import like


@dataclass(frozen=True, slots=True)
class ByName:
    """Takes by position what edges feed, and gives it to the function by name. Picklable if the function is.

    For functions whose fed parameters are not simply their first, or have defaults, which they keep where `LEFT_OUT`
    is given. `positional` counts those that cannot be given by name.
    """

    function: Callable[..., Any]
    names: tuple[str, ...]
    positional: int = 0

    def __call__(self, *values: Any, **injected: Any) -> Any:
        first = values[: self.positional]
        if any(value is LEFT_OUT for value in first):
            first = self._filled(first)
        named = {
            name: value
            for name, value in zip(self.names[self.positional :], values[self.positional :], strict=False)
            if value is not LEFT_OUT
        }
        return self.function(*first, **named, **injected)

    def _filled(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What is given by position cannot be left out: one behind it may be given."""
        declared = inspect.signature(self.function).parameters
        return tuple(
            declared[name].default if value is LEFT_OUT else value
            for name, value in zip(self.names, values, strict=False)
        )


@dataclass(frozen=True, slots=True)
class InLoop:
    """A sync function that its user wants called in the event loop: `executor="async"`."""

    function: Callable[..., Any]

    async def __call__(self, *positional: Any, **given: Any) -> Any:
        result = self.function(*positional, **given)
        return await result if inspect.isawaitable(result) else result


def origin_of(call: Callable[..., Any]) -> Callable[..., Any]:
    """The user's own function behind a handler's call."""
    while isinstance(call, (ByName, InLoop)):
        call = call.function
    return call


def build_handler(
    signature: Signature,
    graph: str,
    node: str,
    *,
    fed: Sequence[Argument] | None = None,
    executor: Executor | None = None,
    names: Sequence[str] | None = None,
) -> Handler:
    """A handler that takes what edges feed, by position.

    `fed` are those parameters, with the modes of their edges (by default all). `names` are the
    edges' own, where a function stands in for another.
    """
    _check_injected(signature, graph, node)
    fed = signature.arguments if fed is None else fed
    chosen = executor or ("async" if signature.is_async else "thread")
    call = _callable(signature, fed)
    if chosen == "async" and not signature.is_async:
        if signature.streams:
            raise _misplaced(graph, node, "a sync generator cannot run in the event loop: make it `async def`")
        if blocking := that_block(signature.call):
            raise _misplaced(
                graph, node, f"its {blocking[-1]} may wait, and would hold up the event loop: make it `async def`"
            )
        call = InLoop(call)
    elif chosen != "async" and signature.is_async:
        raise _misplaced(graph, node, f"an async function runs in the event loop, not in a {chosen}")
    elif chosen == "process":
        _check_process(signature, graph, node)
    return Handler(
        call=call,
        parameters=tuple(
            Parameter(name, adapter_of(one.kind, graph, node, f"parameter {one.name!r}"), one.mode, one.has_default)
            for name, one in zip(names or [one.name for one in fed], fed, strict=True)
        ),
        output=adapter_of(signature.output, graph, node, "the output"),
        executor=chosen,
        streams=signature.streams,
        resources=signature.resources,
    )


def build_fallback(main: Signature, function: object, graph: str, node: str) -> Handler:
    """A handler that takes what `main` takes and gives what it gives."""
    signature = like(signature_of(function, graph, node), [argument.kind for argument in main.arguments])
    _check_stand_in(main, signature, graph, node, "fallback", extra=())
    return build_handler(signature, graph, node, names=[argument.name for argument in main.arguments])


def build_compensation(main: Signature, function: object, graph: str, node: str) -> Handler:
    """A handler that takes what `main` takes, then its output."""
    output = list_of(main.output) if main.streams else main.output
    signature = like(signature_of(function, graph, node), [*(argument.kind for argument in main.arguments), output])
    _check_stand_in(main, signature, graph, node, "compensate", extra=(output,))
    last = signature.arguments[-1].name
    taken = {argument.name for argument in main.arguments}
    names = [*(argument.name for argument in main.arguments), last if last not in taken else f"{last}_output"]
    return build_handler(signature, graph, node, names=names)


def build_fake(handler: Handler, fake: Callable[..., Any], graph: str, node: str) -> Handler:
    """The handler with another function in its place: its types, its branches, its names.

    Raises `InvalidGraph` when the fake takes other arguments, or streams where the handler does not.
    """
    signature = signature_of(fake, graph, node)
    if signature.streams is not handler.streams:
        kind = "an async generator" if handler.streams else "a plain function"
        raise InvalidGraph(
            f"graph {graph!r}: the fake of node {node!r} must be {kind}, as what it stands for is",
            graph=graph,
            node=node,
        )
    taken = signature.arguments[: len(handler.parameters)]
    if signature.takes_more and len(taken) < len(handler.parameters):  # as a mock does
        parameters = [replace(parameter, has_default=False) for parameter in handler.parameters]
        return _stood_in(handler, signature, signature.call, parameters)
    if len(taken) < len(handler.parameters):
        raise InvalidGraph(
            f"graph {graph!r}: the fake of node {node!r} takes {len(signature.arguments)} arguments, "
            f"and must take {len(handler.parameters)}, as what it stands for does",
            graph=graph,
            node=node,
        )
    parameters = [
        replace(parameter, has_default=one.has_default)
        for parameter, one in zip(handler.parameters, taken, strict=True)
    ]
    return _stood_in(handler, signature, _callable(signature, taken), parameters)


def _stood_in(
    handler: Handler, signature: Signature, call: Callable[..., Any], parameters: Sequence[Parameter]
) -> Handler:
    """The handler with the call of a fake."""
    return replace(
        handler,
        call=call,
        parameters=tuple(parameters),
        executor="async" if signature.is_async else "thread",
        resources=signature.resources,
        cache=None,  # what it gives is nobody else's result
    )


def _check_injected(signature: Signature, graph: str, node: str) -> None:
    """Raises `InvalidGraph` for what waits for a resource that nobody declares: it would get the default itself."""
    for one in signature.arguments:
        if one.is_injected:
            raise InvalidGraph(
                f"graph {graph!r}: parameter {one.name!r} of node {node!r} is INJECTED, and no resource gives a "
                f"{shown(one.kind)}: declare one with @resource, in a file that is imported before the graph runs",
                graph=graph,
                node=node,
            )


def _callable(signature: Signature, fed: Sequence[Argument]) -> Callable[..., Any]:
    names = tuple(one.name for one in fed)
    if names == signature.leading[: len(names)] and not any(one.has_default for one in fed):
        return signature.call
    return ByName(signature.call, names, positional=sum(one.by_position for one in fed))


def _check_stand_in(
    main: Signature, other: Signature, graph: str, node: str, role: str, *, extra: tuple[Any, ...]
) -> None:
    wanted = (*(argument.kind for argument in main.arguments), *extra)
    if len(other.arguments) != len(wanted) or other.streams is not (main.streams and not extra):
        takes = "its arguments" + (" and then its output" if extra else "")
        raise InvalidGraph(
            f"graph {graph!r}: {role}={other.name} of node {node!r} takes {len(other.arguments)} arguments, "
            f"and must take {len(wanted)}: {takes}",
            graph=graph,
            node=node,
        )
    for argument, kind in zip(other.arguments, wanted, strict=True):
        if not fits(kind, argument.kind):
            raise InvalidGraph(
                f"graph {graph!r}: {role}={other.name} of node {node!r} takes {shown(argument.kind)} as "
                f"{argument.name!r}, and would get {shown(kind)}",
                graph=graph,
                node=node,
            )
    if not extra and not fits(other.output, main.output):
        raise InvalidGraph(
            f"graph {graph!r}: {role}={other.name} of node {node!r} gives {shown(other.output)}, and "
            f"stands for {shown(main.output)}",
            graph=graph,
            node=node,
        )


def _check_process(signature: Signature, graph: str, node: str) -> None:
    name = getattr(signature.call, "__qualname__", "")
    if signature.streams:
        raise _misplaced(graph, node, "a streaming handler cannot run in a process: return a list, or stream async")
    if signature.resources:
        raise _misplaced(graph, node, "a resource lives in the worker's own process: open what you need in the handler")
    if guards := of_one_process(signature.call):
        raise _misplaced(
            graph,
            node,
            f"each process would have a {guards[-1]} of its own: use Limit, CircuitBreaker(store=SharedCircuits(...)), "
            f"or another executor",
        )
    if "<locals>" in name or "<lambda>" in name:
        raise _misplaced(
            graph,
            node,
            f"executor='process' imports the handler by its name, and {name} has none: move it to a module",
        )


def _misplaced(graph: str, node: str, told: str) -> InvalidGraph:
    return InvalidGraph(f"graph {graph!r}, node {node!r}: {told}", graph=graph, node=node)
