"""Limits as a graph declares them: so many at a time, or per period, for each value of a key in the run's input.

What holds a limit is told by its id, which is a hash of its name and the key's value. The ids of all that one node
(or run) needs are asked for in their order, one after another, so that two that need the same ones never wait for
each other.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from .frozen import Frozen
from .ids import LimitId, digest
from .payload import Json

_LONGEST_KEY = 200
"""A longer value of a key is told by its hash."""


class Limit(Frozen):
    """At most `at_once` slots held at a time, and `rate` given out in `per_ms`; None is without that bound.

    `key` is a dotted path into the run's input: each of its values has slots of its own. What has waited `wait_ms` for
    a slot fails. Graphs and nodes whose limits have one name share it.
    """

    name: str
    key: str | None = None
    at_once: int | None = None
    rate: int | None = None
    per_ms: int = 1_000
    wait_ms: int = 86_400_000


def keys_of(limits: Iterable[Limit], value: Json) -> dict[str, str]:
    """What each limit's path finds in a run's input, as JSON; what is not there counts as null."""
    return {limit.key: _text(_found(value, limit.key)) for limit in limits if limit.key is not None}


def limit_id(limit: Limit, keys: Mapping[str, str]) -> LimitId:
    """The id of the limit for a run whose input has these keys."""
    return _id(limit.name, value_of(limit, keys))


@lru_cache(4_096)
def _id(name: str, value: str) -> LimitId:
    return LimitId(f"~limit/{digest('limit', name, value)}")


def value_of(limit: Limit, keys: Mapping[str, str]) -> str:
    """The value of the limit's key, as JSON; empty when it has none."""
    return "" if limit.key is None else keys.get(limit.key, "null")


def limit_ids(limits: Sequence[Limit], keys: Mapping[str, str]) -> list[LimitId]:
    """The ids of these limits, in the order in which their slots are asked for."""
    return sorted({limit_id(limit, keys) for limit in limits})


def limit_of(limits: Sequence[Limit], keys: Mapping[str, str], found: LimitId) -> Limit:
    """The limit of this id among these."""
    return next(limit for limit in limits if limit_id(limit, keys) == found)


def _found(value: Json, path: str) -> Json:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(value: Json) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= _LONGEST_KEY else f"#{digest(text)}"
