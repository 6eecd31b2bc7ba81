"""`@resource`: what handlers share (clients, pools, models), injected by type."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from inspect import isasyncgenfunction, unwrap
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints, overload

from ..errors import InvalidConfig

T = TypeVar("T")


class Injected:
    """The type of `INJECTED`, which there is one of."""

    def __repr__(self) -> str:
        return "INJECTED"

    def __reduce__(self) -> str:
        return "INJECTED"


INJECTED: Any = Injected()
"""The default of a parameter that a resource fills: `async def f(doc: Doc, db: Database = INJECTED)`.

It tells type checkers that no edge feeds the parameter; what fills it goes by the type alone. A graph in which nothing
fills it is refused. Called as a plain function, in a test, the handler gets what the test gives.
"""

_resources: "dict[type, Resource[Any]]" = {}


class Resource(Generic[T]):
    """A factory of one value for each worker process or `Orchestrator`, opened at first need and closed with it.

    Call it for the async context manager.
    """

    def __init__(self, kind: type[T], factory: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        self.kind = kind
        self._factory = factory

    def __call__(self) -> AbstractAsyncContextManager[T]:
        return self._factory()


@overload
def resource(factory: Callable[[], AsyncIterator[T]], /) -> Resource[T]: ...
@overload
def resource(factory: Callable[[], AbstractAsyncContextManager[T]], /) -> Resource[T]: ...
def resource(factory: Callable[[], Any], /) -> Resource[Any]:
    """Declare a resource: an async generator function that yields once, or gives an async context manager.

    Every handler parameter annotated with the yielded type, or with `| None`, is filled with it, and takes no edge. A
    later declaration for the same type replaces the earlier one. It is entered and left in one task, so it may hold
    a task group; one that ends by itself is opened anew for the next node. Raises `InvalidConfig` when the return
    annotation does not name a class, or the factory takes arguments.
    """
    kind = _kind_of(factory)
    opener = asynccontextmanager(factory) if isasyncgenfunction(factory) else factory
    made: Resource[Any] = Resource(kind, opener)
    _resources[kind] = made
    return made


def open_resource(kind: type) -> AbstractAsyncContextManager[Any]:
    """A new context manager of a declared type.

    A worker process and an `Orchestrator` enter it once for all that they run; a plain `invoke` once for its run.

    Raises `InvalidConfig` for a type that no resource declares.
    """
    if kind not in _resources:
        raise InvalidConfig(f"no resource gives a {kind.__name__}: declare one with @resource")
    return _resources[kind]()


def is_resource(kind: object) -> bool:
    """Whether a parameter of this type is filled by a resource."""
    return isinstance(kind, type) and kind in _resources


def _kind_of(factory: Callable[[], Any]) -> type:
    name = getattr(factory, "__name__", repr(factory))
    try:
        returned = get_type_hints(unwrap(factory)).get("return")
    except NameError as error:
        raise InvalidConfig(f"@resource {name}: its return annotation cannot be resolved: {error}") from error
    origins = (AsyncIterator, AsyncGenerator, AbstractAsyncContextManager)
    kinds = get_args(returned)
    if get_origin(returned) not in origins or not kinds:
        raise InvalidConfig(
            f"@resource {name}: annotate what it yields, as in `async def {name}() -> AsyncIterator[Pool]`"
        )
    kind = get_origin(kinds[0]) or kinds[0]
    if not isinstance(kind, type):
        raise InvalidConfig(f"@resource {name}: {kinds[0]!r} is no class; resources are injected by class")
    return kind
