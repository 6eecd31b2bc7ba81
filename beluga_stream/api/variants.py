"""Which model a value is of, once it has been JSON: what a graph must not leave to chance where nodes give several.

Values travel by their annotation. A subclass's own fields are none of it, and models of a union that look alike are
told apart by nobody who only has the JSON.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SerializeAsAny

from ..domain.definition import EdgeMode
from ..errors import InvalidGraph
from .check import wire_kind
from .condition import Condition
from .fit import members, shown, unaliased
from .stream import Outcome
from .wiring import Wiring

_AS_ANY: Any = SerializeAsAny


def check_cases(wiring: Wiring, kinds: Mapping[str, Any]) -> None:
    """Raises `InvalidGraph` for a case of a type whose fields do not all travel: the node's annotation lacks some."""
    for one in wiring.wires:
        asked = () if one.condition is None else one.condition.kinds
        for case in (part for kind in asked for part in members(kind)):
            if not (lost := _lost(case, list(_declared(kinds[one.source])))):
                continue
            node = wiring.into(one.source)[0].source if one.source in wiring.gates else one.source
            names = ", ".join(map(repr, sorted(lost)))
            raise InvalidGraph(
                f"graph {wiring.graph!r}: case({shown(case)}) asks what {node!r} gives, which is annotated "
                f"{shown(kinds[one.source])} and travels without {names} of {shown(case)}: annotate it with each type "
                f"that it gives, as `{shown(case)} | ...`",
                graph=wiring.graph,
                node=node,
            )


def variants_of(
    wiring: Wiring,
    name: str,
    output: Any,
    conditions: Sequence[Condition],
    kinds: Mapping[str, Any],
    *,
    result: Any,
) -> tuple[type, ...]:
    """The models of a handler's output that its JSON must tell apart; none where no two are, or nobody reads them so.

    `result` is the type by which the output is read besides those of the wires after it; None where there is none.
    """
    models = tuple(get_origin(part) or part for part in members(output) if _fields(part) is not None)
    if len(models) < 2:  # noqa: PLR2004 - there is nothing to take it for
        return ()
    if len(_models_in(result)) > 1:
        return models
    for one in wiring.wires:
        if one.source != name or one.mode is EdgeMode.ORDER:
            continue
        given = wire_kind(one, kinds, others=conditions)
        step = wiring.steps[one.target]
        if step.work is not None:
            taken = step.work.input_kind
        elif one.target in wiring.signatures and one.target not in wiring.gates:
            arguments = wiring.signatures[one.target].arguments
            taken = next(argument.kind for argument in arguments if argument.name == one.into)
        else:
            taken = given  # it is handed on
        if len(_models_in(given)) > 1 and len(_models_in(taken)) > 1:
            return models
    return ()


def _lost(case: Any, declared: Sequence[Any]) -> frozenset[str]:
    """The fields of a type that are lost when it travels as the member that keeps most."""
    own = _fields(case)
    if own is None:
        return frozenset()
    bases = [one for one in declared if (get_origin(one) or one) in (get_origin(case) or case).__mro__]
    kept = [_fields(base) for base in bases]
    return min((own - names for names in kept if names is not None), key=len, default=frozenset())


def _declared(kind: Any) -> Iterator[Any]:
    """The members of a type, without those that travel with all that they have."""
    kind = unaliased(kind)
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        if not any(isinstance(mark, _AS_ANY) for mark in marks):
            yield from _declared(inner)
    elif get_origin(kind) in (Union, UnionType):
        for part in get_args(kind):
            yield from _declared(part)
    else:
        yield kind


def _fields(kind: Any) -> frozenset[str] | None:
    """The names of a model's or dataclass's fields; None for any other type."""
    base = get_origin(kind) or kind
    if not isinstance(base, type):
        return None
    if issubclass(base, BaseModel):
        return frozenset(base.model_fields)
    return frozenset(one.name for one in fields(base)) if is_dataclass(base) else None


def _models_in(kind: Any) -> frozenset[Any]:
    """The models that a type holds, as members or items; not those in their fields."""
    kind = unaliased(kind)
    base = get_origin(kind) or kind
    if base is not Outcome and _fields(base) is not None:
        return frozenset((base,))
    return frozenset(model for part in get_args(kind) for model in _models_in(part))
