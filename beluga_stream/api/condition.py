"""Conditions on edges: when an edge out of a node is taken."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_origin

from .fit import members


@dataclass(frozen=True, slots=True)
class Condition:
    """All of it must hold for a node's output: it is of every kind, and every predicate says so.

    A kind may be a union: the output is of one of its members. `otherwise` holds when no other condition on the node
    does, and stands alone.
    """

    kinds: tuple[type, ...] = ()
    predicates: tuple[Callable[[Any], bool], ...] = ()
    otherwise: bool = False
    _classes: tuple[tuple[type, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Flatten each kind once: it is asked for each output."""
        object.__setattr__(self, "_classes", tuple(map(_classes_of, self.kinds)))

    def holds(self, value: Any) -> bool:
        """Ask the output. What a predicate raises is the node's failure."""
        return all(isinstance(value, classes) for classes in self._classes) and all(
            predicate(value) for predicate in self.predicates
        )

    def describe(self) -> str:
        if self.otherwise:
            return "otherwise()"
        parts = [f"case({' | '.join(getattr(one, '__name__', str(one)) for one in members(k))})" for k in self.kinds]
        parts += [f"when({getattr(predicate, '__name__', predicate)})" for predicate in self.predicates]
        return ".".join(parts)


def is_predicate(given: object) -> bool:
    """Whether it is a function that answers by itself: what a coroutine function gives always holds."""
    return callable(given) and not inspect.iscoroutinefunction(given)


def can_be_asked(kind: Any) -> bool:
    """Whether `isinstance` tells of a value whether it is of this kind."""
    try:
        isinstance(object(), _classes_of(kind))
    except TypeError:
        return False
    return True


def _classes_of(kind: Any) -> tuple[type, ...]:
    return tuple(get_origin(one) or one for one in members(kind))


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The predicate of `otherwise`: none of the node's other conditions holds."""

    others: tuple[Condition, ...]

    def __call__(self, value: Any) -> bool:
        return not any(other.holds(value) for other in self.others)
