"""What a deployment has agreed on with others: the types of what it reads and writes, by an AsyncAPI document of it.

What it reads must still be read when it was written by the earlier types; what it writes must be readable by them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..errors import InvalidInput
from .breaking import Break, breaks
from .definition import Definition
from .schema import Schema

LISTED = "x-beluga-contracts"
"""Where the document lists them: which schema is of what."""


class Kind(StrEnum):
    """What it is that has a type."""

    EVENT = "event"  # of a topic that starts runs
    INPUT = "input"  # of a graph
    SIGNAL = "signal"
    OUTPUT = "output"  # of a graph
    CHUNKS = "chunks"  # that a node of a graph yields

    @property
    def is_read(self) -> bool:
        """Whether the deployment reads it; else it writes it."""
        return self in (Kind.EVENT, Kind.INPUT, Kind.SIGNAL)


class State(StrEnum):
    """What became of it."""

    COMPATIBLE = "compatible"
    REFUSED = "refused"
    REMOVED = "removed"  # refused, too
    NEW = "new"
    UNKNOWN = "not compared"
    ACCEPTED = "accepted"  # a break that somebody says is wanted


@dataclass(frozen=True)
class Contract:
    """The type of one thing. `of` is the topic or graph, `part` the node, the signal, or one reader of the topic.

    Without a `schema` all that is known is that it is there.
    """

    kind: Kind
    of: str
    part: str | None
    schema: Schema | None

    @property
    def name(self) -> str:
        """How it is named in reports."""
        part = "" if self.part is None else f" {self.part}"
        return f"{self.of} {self.kind}{part}"


@dataclass(frozen=True)
class Verdict:
    """What became of a contract. `forward` says of each break that it is readers of before that it breaks."""

    contract: Contract
    state: State
    backward: tuple[Break, ...] = ()
    forward: tuple[Break, ...] = ()


def of_document(document: Any) -> list[Contract]:
    """The contracts of an AsyncAPI document that `beluga docs asyncapi` has written. Raises `InvalidInput`."""
    try:
        schemas: Mapping[str, Any] = document["components"]["schemas"]
        return [_contract(listed, schemas) for listed in document[LISTED]]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            "this is no AsyncAPI document as `beluga docs asyncapi` writes it: write it anew, from the version to "
            "compare with, by `beluga docs asyncapi > FILE`"
        ) from error


def of_definitions(definitions: Iterable[Definition]) -> list[Contract]:
    """The contracts of published graphs. Of topics and chunks they say nothing, and of signals the names alone."""
    found: list[Contract] = []
    for each in definitions:
        for kind, schema in ((Kind.INPUT, each.input_schema), (Kind.OUTPUT, each.output_schema)):
            found.append(Contract(kind, each.name, None, Schema.of(schema if isinstance(schema, dict) else {})))
        signals = sorted({node.signal for node in each.nodes if node.signal is not None})
        found += [Contract(Kind.SIGNAL, each.name, name, None) for name in signals]
    return found


def compare(
    before: Iterable[Contract], now: Iterable[Contract], *, full: bool = False, strict: bool = False
) -> list[Verdict]:
    """What became of every contract: what is read is compared backward, what is written forward, or with `full` both.

    With `strict`, whoever writes may add members that its schema does not name.
    """
    old = {(each.kind, each.of, each.part): each for each in before}
    new = {(each.kind, each.of, each.part): each for each in now}
    found: list[Verdict] = []
    matched = set[tuple[Kind, str, str | None]]()
    for key, contract in new.items():
        earlier = _earlier(old, key)
        matched |= {(each.kind, each.of, each.part) for each in earlier}
        found.append(_verdict(earlier, contract, full=full, strict=strict))
    gone = [Verdict(each, State.REMOVED) for key, each in old.items() if key not in matched]
    return sorted([*found, *gone], key=lambda each: (each.contract.of, each.contract.kind, each.contract.name))


def _contract(listed: Mapping[str, Any], schemas: Mapping[str, Any]) -> Contract:
    name = listed["schema"]
    try:
        schema = Schema.of(schemas[name], schemas)
    except InvalidInput as error:
        raise InvalidInput(f"schema {name!r}: {error}") from error
    return Contract(Kind(listed["kind"]), listed["of"], listed["part"], schema)


def _earlier(old: Mapping[Any, Contract], key: tuple[Kind, str, str | None]) -> list[Contract]:
    """What it is compared with. A topic may have had one type for all readers, and now one for each, or reverse."""
    if key in old:
        return [old[key]]
    kind, of, part = key
    if kind is not Kind.EVENT:
        return []
    if part is None:
        return [each for each in old.values() if each.kind is Kind.EVENT and each.of == of]
    return [old[kind, of, None]] if (kind, of, None) in old else []


def _verdict(earlier: list[Contract], now: Contract, *, full: bool, strict: bool) -> Verdict:
    if not earlier:
        return Verdict(now, State.NEW)
    backward: list[Break] = []
    forward: list[Break] = []
    for each in earlier:
        if each.schema is None or now.schema is None:
            return Verdict(now, State.UNKNOWN)
        if full or now.kind.is_read:
            backward += breaks(each.schema, now.schema, strict=strict)
        if full or not now.kind.is_read:
            forward += breaks(now.schema, each.schema, strict=strict)
    state = State.REFUSED if backward or forward else State.COMPATIBLE
    return Verdict(now, state, tuple(backward), tuple(forward))
