"""`Cache`: results of a node, kept for a while and given again for the same arguments."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from ..application.in_process.in_process import InProcessStore
from ..errors import InvalidConfig, InvalidGraph
from ..ports.cache import Caching, ResultStore, Tally
from .bound import bound_text, function_name
from .carried import carried_text
from .retry import Seconds, seconds

_LONGEST_SECONDS = 365 * 24 * 3600
_LONGEST_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Cache:
    """Keeps the results of a handler for `ttl` (seconds or timedelta, up to a year), by its arguments as JSON.

    The key of a result is made of graph, node, the handler's module and name, `version`, the arguments, and what the
    handler carries besides its code, as it is when the graph is built: arguments that `functools.partial` has bound,
    defaults, and what it closes over. Change `version` when the handler's code gives other results.

    Plain values, models, enums, classes, modules and functions that carry no more can be part of a key. A handler that
    carries anything else (a method its object, a closure a client) needs a `name`, which stands for graph, node and
    handler: nodes whose caches have one name share results. Without it the graph is refused with `InvalidGraph`.

    Of several executions at once with the same arguments, one computes in each event loop; if it fails, the others
    compute side by side. Failures are not kept, nor are results above 1 MiB. `store` may be the class of a store that a
    `@resource` gives. If the store does not answer within `timeout` (seconds or timedelta, up to a minute), the handler
    is called, and the store is not asked for five seconds. Raises `InvalidConfig` for a time out of range.
    """

    ttl: Seconds
    _: KW_ONLY
    store: ResultStore | type[ResultStore] = field(default_factory=InProcessStore)
    version: str = "1"
    name: str | None = None
    timeout: Seconds = 1.0
    _tally: Tally = field(default_factory=Tally, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < seconds(self.ttl) <= _LONGEST_SECONDS:
            raise InvalidConfig(f"Cache(ttl={self.ttl}): give more than 0 seconds and at most a year")
        if not 0 < seconds(self.timeout) <= _LONGEST_TIMEOUT_SECONDS:
            raise InvalidConfig(f"Cache(timeout={self.timeout}): give more than 0 seconds and at most a minute")

    @property
    def hits(self) -> int:
        """How often a result was there, in this process."""
        return self._tally.hits

    @property
    def misses(self) -> int:
        """How often one was computed, in this process."""
        return self._tally.misses

    @property
    def silences(self) -> int:
        """How often the store did not answer in time, in this process."""
        return self._tally.silences

    def of(self, graph: str, node: str, handler: Callable[..., Any]) -> Caching:
        """For the engine: how this handler's results are kept.

        Raises `InvalidGraph` when neither key nor name would tell it from others of the same code.
        """
        if self.name is not None:
            with suppress(TypeError):
                return self._kept(self.name + bound_text(handler))
            return self._kept(self.name)
        try:
            return self._kept(f"{graph}/{node} {function_name(handler)}{carried_text(handler)}{bound_text(handler)}")
        except TypeError as error:
            raise InvalidGraph(
                f"graph {graph!r}, node {node!r}: cache= keeps results by handler and arguments, and "
                f"{function_name(handler)} carries {error}, by which its results may differ: give Cache(name=...), "
                f"another one for each that it may carry",
                graph=graph,
                node=node,
            ) from None

    def _kept(self, handled: str) -> Caching:
        return Caching(handled, self.version, seconds(self.ttl), self.store, self._tally, seconds(self.timeout))
