"""References to what a node will give: passing one to `add_node` draws an edge."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import UnionType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ..domain.definition import EdgeMode
from ..errors import InvalidGraph
from .condition import Condition, can_be_asked, is_predicate
from .stream import Outcome, Stream

if TYPE_CHECKING:
    from .blueprint import Blueprint

T_co = TypeVar("T_co", covariant=True)
X = TypeVar("X")
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a reference points: what an edge from it starts at, hands over, and asks."""

    blueprint: "Blueprint"
    node: str
    mode: EdgeMode = EdgeMode.VALUE
    condition: Condition | None = None


class Ref(Generic[T_co]):
    """The output of a node (or a graph's input), of type `T_co`. Made by the methods of `Graph`."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    @property
    def origin(self) -> Origin:
        """For the engine: where it points."""
        return self._origin

    @property
    def node(self) -> str:
        """The name of the node that it comes from; `input` for the graph's input."""
        return self._origin.node

    @property
    def outcome(self) -> "Ref[Outcome[T_co]]":
        """How the node ended, its failure included: a node that takes it keeps the failure from failing the run.

        Raises `InvalidGraph` on a reference with a condition.
        """
        if self._origin.condition is not None:
            raise self._invalid("an outcome has no condition: write ref.outcome, and ask it in the node it feeds")
        return Ref(Origin(self._origin.blueprint, self._origin.node, EdgeMode.OUTCOME))

    def when(self, predicate: Callable[[T_co], bool]) -> "Ref[T_co]":
        """The output, where the predicate holds for it; elsewhere the edge is dead.

        The predicate runs on the worker, in the attempt of this node: what it raises fails the attempt.
        Two conditions of one node may both hold. Raises `InvalidGraph` on a stream or an `otherwise()`, and for what is
        no function.
        """
        before = self._conditional()
        if not is_predicate(predicate):
            raise self._invalid(
                f"when({predicate!r}) asks nothing: give a function of the node's output that is not async"
            )
        return self._with(replace(before, predicates=(*before.predicates, predicate)))

    @overload
    def case(self, kind: type[X]) -> "Ref[X]": ...
    @overload
    def case(self, kind: UnionType) -> "Ref[Any]": ...
    def case(self, kind: Any) -> "Ref[Any]":
        """The output, where it is of this type (isinstance); of a union, of one of its members.

        Raises `InvalidGraph` on a stream or an `otherwise()`, and for what `isinstance` does not take, as a `Literal`.
        The same is raised when the graph is built, for a subclass of what the node is annotated with that has more
        fields: values travel by the annotation.
        """
        before = self._conditional()
        if not can_be_asked(kind):
            raise self._invalid(f"case({kind!r}) asks for no type that isinstance() knows: ask by when(), or a model")
        return self._with(replace(before, kinds=(*before.kinds, kind)))

    def otherwise(self) -> "Ref[T_co]":
        """The output, where no other condition on this node holds.

        Raises `InvalidGraph` on a reference that has a condition already.
        """
        if self._conditional() != Condition():
            raise self._invalid("otherwise() belongs to the node itself, not to one of its conditions")
        return self._with(Condition(otherwise=True))

    def __repr__(self) -> str:
        condition = f".{self._origin.condition.describe()}" if self._origin.condition is not None else ""
        mode = f".{self._origin.mode}" if self._origin.mode is not EdgeMode.VALUE else ""
        return f"<Ref {self._origin.blueprint.graph}/{self._origin.node}{mode}{condition}>"

    def _with(self, condition: Condition) -> "Ref[T_co]":
        return Ref(replace(self._origin, condition=condition))

    def _conditional(self) -> Condition:
        if self._origin.mode is EdgeMode.STREAM:
            raise self._invalid("a condition asks the whole output: put it on the node, not on its .stream")
        if self._origin.condition is not None and self._origin.condition.otherwise:
            raise self._invalid("otherwise() cannot be narrowed further: give the node another condition")
        return self._origin.condition or Condition()

    def _invalid(self, told: str) -> InvalidGraph:
        graph = self._origin.blueprint.graph
        return InvalidGraph(f"graph {graph!r}, node {self._origin.node!r}: {told}", graph=graph, node=self._origin.node)


class StreamRef(Ref[list[C]]):
    """The output of a streaming node: collected as a list, or with `.stream` chunk by chunk while it runs."""

    @property
    def stream(self) -> "Ref[Stream[C]]":
        """The chunks as they come, for a parameter of type `Stream[...]`.

        Raises `InvalidGraph` on a condition.
        """
        if self._origin.condition is not None:
            raise self._invalid("a stream begins before its node's conditions are known: take the node's output")
        return Ref(Origin(self._origin.blueprint, self._origin.node, EdgeMode.STREAM))
