"""`@node`: how a handler is to be run, written where the handler is."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar, cast

from .cache import Cache
from .limit import Limits
from .retry import Retry, Seconds

F = TypeVar("F", bound=Callable[..., Any])

Executor = Literal["async", "thread", "process"]

_ATTRIBUTE = "__beluga_node__"


class NodeOptions(TypedDict, total=False):
    """How a node is run. What `add_node` is given wins over `@node`.

    `timeout` bounds one attempt (up to 24 hours). `queue` picks the workers that take it.
    `executor`: async functions run in the event loop, others in a `thread`; `process` is for sync
    functions that hold the interpreter. `on_failure="continue"` lets the run go on without the node.
    `resume` lets a streaming node's retry go on from `context().emitted(...)`. `max_crashes` is how often in a row
    its process may die with it before it fails as `poisoned` (3; 0: without limit). `limit` is for each execution: an
    item of a map, a pass of a loop; see `Limit`. `cache` keeps results for a while; see `Cache`.
    """

    name: str
    retry: Retry
    timeout: Seconds
    queue: str
    executor: Executor
    on_failure: Literal["fail", "continue"]
    resume: bool
    max_crashes: int
    limit: Limits
    cache: Cache


def node(  # noqa: PLR0913 - options, each given by its name
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Seconds | None = None,
    queue: str | None = None,
    executor: Executor | None = None,
    max_crashes: int | None = None,
    limit: Limits | None = None,
    cache: Cache | None = None,
) -> Callable[[F], F]:
    """Attach options to a handler. It stays the plain function it was: call and test it as such.

    `timeout` bounds one attempt, in seconds or as a timedelta. See `NodeOptions` for the others; they are
    checked when the graph that uses the handler is built.
    """
    given = {
        "name": name,
        "retry": retry,
        "timeout": timeout,
        "queue": queue,
        "executor": executor,
        "max_crashes": max_crashes,
        "limit": limit,
        "cache": cache,
    }

    def attach(handler: F) -> F:
        setattr(handler, _ATTRIBUTE, {key: value for key, value in given.items() if value is not None})
        return handler

    return attach


def options_of(handler: object) -> NodeOptions:
    """What `@node` attached; looks through functools.partial."""
    while isinstance(handler, partial):
        handler = handler.func
    return cast("NodeOptions", getattr(handler, _ATTRIBUTE, {}))
