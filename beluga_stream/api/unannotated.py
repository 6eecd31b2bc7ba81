"""What parameters without an annotation are read as: what their edges give.

Type checkers infer the parameter of a `lambda order: order.total` from the edge, so the handler gets an `Order`, and
not the JSON that it travelled as. Whether an edge fits, or may be dead, is decided before: there such a parameter
takes anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..domain.definition import EdgeMode, NodeKind
from .check import wire_kind
from .condition import Condition
from .fit import item_of, union
from .signature import Argument, Signature
from .wiring import Wiring


def read_as_given(wiring: Wiring, kinds: Mapping[str, Any], branches: Mapping[str, Sequence[Condition]]) -> Wiring:
    """The wiring with a type for each parameter that an edge feeds and nobody has annotated."""
    signatures: dict[str, Signature] = {}
    for name, signature in wiring.signatures.items():
        arguments = tuple(_read(wiring, name, one, kinds, branches) for one in signature.arguments)
        output = signature.output
        if wiring.steps[name].kind is NodeKind.LOOP and output is Any:  # its output is its next input
            output = arguments[0].kind
        signatures[name] = replace(signature, arguments=arguments, output=output)
    return replace(wiring, signatures=signatures)


def like(signature: Signature, kinds: Sequence[Any]) -> Signature:
    """A function that stands in for another reads what it leaves unannotated as that one does."""
    arguments = tuple(
        one if one.is_annotated or place >= len(kinds) else replace(one, kind=kinds[place])
        for place, one in enumerate(signature.arguments)
    )
    return replace(signature, arguments=arguments)


def _read(
    wiring: Wiring,
    name: str,
    one: Argument,
    kinds: Mapping[str, Any],
    branches: Mapping[str, Sequence[Condition]],
) -> Argument:
    wires = [each for each in wiring.into(name) if each.into == one.name]
    if one.is_annotated or not wires:
        return one
    given = [wire_kind(each, kinds, others=branches.get(each.source, ())) for each in wires]
    if wiring.steps[name].kind is NodeKind.MAP:
        given = [
            kind if each.mode is EdgeMode.STREAM else item_of(kind) for each, kind in zip(wires, given, strict=True)
        ]
    return replace(one, kind=union(given))
