"""Conditions on edges: when an edge out of a node is taken."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin


@dataclass(frozen=True, slots=True)
class Condition:
    """All of it must hold for a node's output: it is of every kind, and every predicate says so.

    `otherwise` holds when no other condition on the node does, and stands alone.
    """

    kinds: tuple[type, ...] = ()
    predicates: tuple[Callable[[Any], bool], ...] = ()
    otherwise: bool = False

    def holds(self, value: Any) -> bool:
        """Ask the output. What a predicate raises is the node's failure."""
        return all(isinstance(value, get_origin(kind) or kind) for kind in self.kinds) and all(
            predicate(value) for predicate in self.predicates
        )

    def describe(self) -> str:
        if self.otherwise:
            return "otherwise()"
        parts = [f"case({getattr(kind, '__name__', kind)})" for kind in self.kinds]
        parts += [f"when({getattr(predicate, '__name__', predicate)})" for predicate in self.predicates]
        return ".".join(parts)


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The predicate of `otherwise`: none of the node's other conditions holds."""

    others: tuple[Condition, ...]

    def __call__(self, value: Any) -> bool:
        return not any(other.holds(value) for other in self.others)
