"""What a process may do on the broker, as access control lists say it: a resource, and operations on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Operation = Literal["Read", "Write", "Create", "Delete", "Describe"]
"""By Kafka's names. Read, Write and Delete include Describe."""

Resource = Literal["topic", "group", "transactional-id"]


@dataclass(frozen=True, slots=True)
class Right:
    """Operations on a resource, or with `prefixed` on every one whose name begins so; `why` is a few words.

    `sample` completes a prefix to a name that can be asked about.
    """

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    why: str
    prefixed: bool = False
    sample: str = ""

    @property
    def asked(self) -> str:
        """The name to ask the broker about."""
        return self.name + self.sample if self.prefixed else self.name

    def __str__(self) -> str:
        return f"{' and '.join(self.operations)} on {self.resource} {self.name}{'*' if self.prefixed else ''}"


def told(rights: Sequence[Right]) -> str:
    """Several of them in one line."""
    return "; ".join(str(right) for right in rights)
