"""What a process may do on the broker, as access control lists say it: a resource, and operations on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Operation = Literal["Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs"]
"""By Kafka's names. Read, Write and Delete include Describe; nothing here includes DescribeConfigs."""

OPTIONAL: frozenset[Operation] = frozenset({"DescribeConfigs"})
"""What a role does without: then it cannot check how topics are kept, and says so."""

Resource = Literal["topic", "group", "transactional-id"]


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on a resource, or with `prefixed` on every one whose name begins so; `why` is a few words.

    `sample` completes a prefix to a name that can be asked about. Without an `optional` one a role starts all the same.
    """

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    why: str
    prefixed: bool = False
    sample: str = ""
    optional: bool = False

    @property
    def asked(self) -> str:
        """The name to ask the broker about."""
        return self.name + self.sample if self.prefixed else self.name

    def __str__(self) -> str:
        return f"{' and '.join(self.operations)} on {self.resource} {self.name}{'*' if self.prefixed else ''}"


def required(rights: Sequence[Right]) -> list[Right]:
    """Without the optional ones, and the `OPTIONAL` operations."""
    strict = (
        replace(right, operations=tuple(op for op in right.operations if op not in OPTIONAL))
        for right in rights
        if not right.optional
    )
    return [right for right in strict if right.operations]


def told(rights: Sequence[Right]) -> str:
    """Several of them in one line."""
    return "; ".join(str(right) for right in rights)
