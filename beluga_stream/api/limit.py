"""`Limit`: how many runs or executions of a node may go on at a time, or begin in a period, for each value of a key."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from ..domain import limit as domain
from ..domain.definition import Definition
from ..domain.ids import NOT_IN_NAMES
from ..domain.payload import Json
from ..errors import InvalidConfig, InvalidGraph
from .ranges import check_whole
from .retry import Seconds, milliseconds

_LONGEST_MS = 30 * 24 * 3600 * 1000
_UNKNOWN: Json = {}
"""A schema that says nothing."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `at_once` at a time, and `rate` in each period `per`; at least one of the two.

    `key` is a dotted path into the run's input, such as `"customer.id"`: each value there has a limit of its own, and
    runs without one share a limit. Without a key there is one for all. Slots are given out first come, first served;
    those of a rate evenly, one each `per / rate`. Graphs and nodes whose limits have one `name` share it. A run
    or node that has waited `wait` for a slot fails. `per` and `wait` are seconds or a timedelta, up to 30 days.

    Raises `InvalidConfig` when a value is out of range.
    """

    at_once: int | None = None
    _: KW_ONLY
    rate: int | None = None
    per: Seconds = 1
    key: str | None = None
    name: str | None = None
    wait: Seconds = timedelta(days=1)

    def __post_init__(self) -> None:
        if self.at_once is None and self.rate is None:
            raise InvalidConfig("Limit() limits nothing: give at_once=, or rate= and per=")
        for what, value in (("at_once", self.at_once), ("rate", self.rate)):
            if value is not None:
                check_whole("Limit", what, value, 1)
        for what, span in (("per", self.per), ("wait", self.wait)):
            if not 0 < milliseconds(span) <= _LONGEST_MS:
                raise InvalidConfig(f"Limit({what}={span}): give more than 0 and at most 30 days")
        if self.key is not None and not all(self.key.split(".")):
            raise InvalidConfig(f"Limit(key={self.key!r}): give a path of names, as 'customer.id'")
        if self.name is not None and (not self.name or any(letter in self.name for letter in NOT_IN_NAMES)):
            raise InvalidConfig(
                f"Limit(name={self.name!r}): a name has at least one letter, and none of {NOT_IN_NAMES}"
            )


Limits: TypeAlias = Limit | Sequence[Limit]
"""One limit or several: a slot of all is needed."""


def declared(limits: Limits, graph: str, node: str | None = None) -> tuple[domain.Limit, ...]:
    """What the definition keeps of them. Without a name of its own a limit is the graph's or node's alone.

    Raises `InvalidGraph` for what is no limit, and for two of one name.
    """
    if not isinstance(limits, Limit | list | tuple):
        raise _invalid(graph, node, f"has limit={limits!r}: give a Limit, as Limit(3), or several")
    found = tuple(
        domain.Limit(
            name=limit.name or f"{graph if node else ''}/{node or graph}",
            key=limit.key,
            at_once=limit.at_once,
            rate=limit.rate,
            per_ms=milliseconds(limit.per),
            wait_ms=milliseconds(limit.wait),
        )
        for limit in ([limits] if isinstance(limits, Limit) else limits)
    )
    names = [limit.name for limit in found]
    for name in names:
        if names.count(name) > 1:
            raise _invalid(graph, node, "has two limits of one name: put both into one Limit, or give them name=")
    return tuple(sorted(found, key=lambda limit: limit.name))


def check_limits(definition: Definition, children: Sequence[Definition]) -> None:
    """Raises `InvalidGraph` for a key that the input cannot have, and for a run that would wait for itself."""
    graph = definition.name
    if definition.durable:
        _check_durable(definition, children)
    for node, limits in ((None, definition.limits), *((str(node.name), node.limits) for node in definition.nodes)):
        for limit in limits:
            if limit.key is not None and not _has(
                definition.input_schema, definition.input_schema, limit.key.split(".")
            ):
                raise _invalid(
                    graph,
                    node,
                    f"is limited by the key {limit.key!r}, which the graph's input does not have: "
                    f"give a path into the input, as its JSON has it",
                )
    held = {limit.name for limit in definition.limits}
    inside = [(str(node.name), limit.name) for node in definition.nodes for limit in node.limits]
    inside += [(child.name, limit.name) for child in children for limit in _all_of(child)]
    for node, name in inside:
        if name in held:
            raise _invalid(
                graph,
                node,
                f"is limited by {name!r}, which each run of the graph holds already: it would wait for itself; "
                f"give one of them another name=",
            )


def _check_durable(definition: Definition, children: Sequence[Definition]) -> None:
    """Raises `InvalidGraph` for limits in a durable graph: within one workflow they would not hold over all runs."""
    for each in (definition, *children):
        limited = next((node.name for node in each.nodes if node.limits), None)
        if each.limits or limited is not None:
            raise _invalid(
                definition.name,
                limited,
                f"is durable, and {each.name!r} in it has limits: the coordinator keeps those, over all runs, and "
                f"durable runs are Temporal's; limit the graph that starts it, or its workers (BELUGA_WORKER_SLOTS)",
            )


def _all_of(definition: Definition) -> list[domain.Limit]:
    return [*definition.limits, *(limit for node in definition.nodes for limit in node.limits)]


def _has(root: Json, schema: Json, path: Sequence[str]) -> bool:
    """Whether a value of this JSON schema may have something at the path; what it leaves open may."""
    if not isinstance(schema, dict):
        return schema is not False
    if "$ref" in schema:
        return _has(root, _referred(root, str(schema["$ref"])), path)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return any(_has(root, one, path) for one in schema[choice])
    if not path:
        return True
    if "allOf" in schema:
        return all(_has(root, one, path) for one in schema["allOf"])
    if schema.get("type", "object") != "object":
        return False
    properties: dict[str, Any] = schema.get("properties", {})
    if path[0] in properties:
        return _has(root, properties[path[0]], path[1:])
    if "type" not in schema:
        return True
    return _has(root, schema.get("additionalProperties", "properties" not in schema), path[1:])


def _referred(root: Json, ref: str) -> Json:
    found = root
    for part in ref.removeprefix("#/").split("/"):
        found = found.get(part, _UNKNOWN) if isinstance(found, dict) else _UNKNOWN
    return found


def _invalid(graph: str, node: str | None, told: str) -> InvalidGraph:
    where = f"graph {graph!r}" + ("" if node is None else f", node {node!r}")
    return InvalidGraph(f"{where}: it {told}", graph=graph, node=node)
