"""What a handler carries besides its code: arguments that `functools.partial` has bound, and the object of a method."""

import inspect
import json
from collections.abc import Iterator
from functools import partial
from types import ModuleType


def bound_keywords(handler: object) -> frozenset[str]:
    """The parameters that partials have bound by name: `inspect.signature` lists them still, as if they were open."""
    return frozenset(name for one in layers(handler) if isinstance(one, partial) for name in one.keywords)


def bound_text(handler: object) -> str:
    """What partials have bound, as JSON; empty for nothing. Raises `TypeError` for what is none."""
    bound = [(one.args, one.keywords) for one in layers(handler) if isinstance(one, partial)]
    if not any(args or keywords for args, keywords in bound):
        return ""
    try:
        return json.dumps(bound, sort_keys=True)
    except (TypeError, ValueError) as error:  # the latter when it holds itself
        raise TypeError(f"arguments that are no JSON ({error})") from error


def function_name(handler: object) -> str:
    """Module and name of the function that it calls in the end."""
    *_, inner = layers(handler)
    owner: object = getattr(inner, "__self__", None)
    if isinstance(owner, type):  # a class method: a subclass's is another one
        return f"{owner.__module__}.{owner.__qualname__}.{getattr(inner, '__name__', '')}"
    return f"{getattr(inner, '__module__', '')}.{getattr(inner, '__qualname__', type(inner).__qualname__)}"


def object_of(handler: object) -> object | None:
    """The object whose method it calls in the end, or that is called itself; None for functions and classes."""
    *_, inner = layers(handler)
    if isinstance(inner, type):
        return None
    return _owner(inner) if inspect.isroutine(inner) else inner


def layers(handler: object) -> Iterator[object]:
    """It and what it stands around, down to the function: of partials, and of decorators that say so."""
    inner: object | None = handler
    while inner is not None:
        yield inner
        if isinstance(inner, partial):
            inner = inner.func
        elif inspect.isroutine(inner) and _owner(inner) is None:  # a method would give its function's, without object
            inner = getattr(inner, "__wrapped__", None)
        else:
            return


def _owner(routine: object) -> object | None:
    owner = getattr(routine, "__self__", None)
    return None if isinstance(owner, type | ModuleType) else owner
