"""Checks the options of a node when its graph is built: whether each exists, and has a value of the right kind."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, get_args

from ..domain.misspelt import meant
from ..errors import InvalidGraph
from .cache import Cache
from .limit import Limit
from .node import Executor
from .retry import Retry

_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,100}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_limits(value: object) -> bool:
    return isinstance(value, Limit) or (
        isinstance(value, list | tuple) and all(isinstance(each, Limit) for each in value)
    )


_WANTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str), "a text"),
    "retry": (lambda value: isinstance(value, Retry), "a Retry, as Retry(4)"),
    "timeout": (lambda value: _is_number(value) or isinstance(value, timedelta), "seconds, or a timedelta"),
    "queue": (
        lambda value: isinstance(value, str) and _QUEUE.fullmatch(value) is not None,
        "a name of letters, digits, '.', '_' and '-', which is part of a topic's",
    ),
    "executor": (lambda value: value in get_args(Executor), "'async', 'thread' or 'process'"),
    "on_failure": (lambda value: value in ("fail", "continue"), "'fail' or 'continue'"),
    "resume": (lambda value: isinstance(value, bool), "True or False"),
    "max_crashes": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "limit": (_are_limits, "a Limit, as Limit(3), or several"),
    "cache": (lambda value: isinstance(value, Cache), "a Cache"),
}
"""By the names of `NodeOptions`: what holds for a value, and how that is said."""


def check_options(options: Mapping[str, object], graph: str, node: str) -> None:
    """Raises `InvalidGraph` for a name that is no option's, and for a value that its option does not take."""
    for name, value in options.items():
        if name not in _WANTED:
            close = meant(name, _WANTED)
            told = f"there are {', '.join(_WANTED)}" if close is None else f"is {close}= meant?"
            raise InvalidGraph(f"graph {graph!r}, node {node!r}: {name}= is no option: {told}", graph=graph, node=node)
        fits, wanted = _WANTED[name]
        if not fits(value):
            raise InvalidGraph(
                f"graph {graph!r}, node {node!r}: {name}={value!r} does not fit: give {wanted}", graph=graph, node=node
            )
