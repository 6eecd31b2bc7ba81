"""What starts runs besides clients: events of topics, ends of other graphs' runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from pydantic import TypeAdapter

from ..errors import InvalidGraph
from ..ports.handlers import Trigger
from .fit import fits, shown
from .handler import adapter_of
from .topic import Join, Topic

if TYPE_CHECKING:
    from .work import Work

O = TypeVar("O")  # noqa: E741 - an output
T_co = TypeVar("T_co", covariant=True)

Ended = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class OnRun(Generic[T_co]):
    """The runs of a graph that end so, as a source of events. Made by `on_run`."""

    work: "Work[Any, T_co]"
    status: Ended

    @property
    def name(self) -> str:
        return f"{self.work.name}:{self.status}"


@overload
def on_run(work: "Work[Any, O]", status: Literal["succeeded"] = "succeeded", /) -> OnRun[O]: ...
@overload
def on_run(work: "Work[Any, Any]", status: Literal["failed", "cancelled"], /) -> OnRun[Any]: ...
def on_run(work: "Work[Any, Any]", status: Ended = "succeeded", /) -> OnRun[Any]:
    """Every run of this graph that ends with this status: `m.id` is its id, `m.data` its typed result.

    Runs that failed or were cancelled have no result: `m.data` tells what is known of the end.
    """
    return OnRun(work, status)


@dataclass(frozen=True, slots=True)
class Declared:
    """A trigger as its user wrote it."""

    on: Topic[Any] | OnRun[Any] | Join[Any]
    map: Callable[[Any], Any] | None
    where: Callable[[Any], bool] | None
    idempotency_key: Callable[[Any], str] | None

    @property
    def name(self) -> str:
        """Its part of the run ids: stable over deployments."""
        return self.on.name


def compile_trigger(declared: Declared, work: "Work[Any, Any]") -> Trigger:
    """Make a trigger ready for ingest. Raises `InvalidGraph` for joins, and data that is not the input."""
    graph = work.name
    on = declared.on
    if isinstance(on, Join):
        raise InvalidGraph(
            f"graph {graph!r} is triggered by a join of {declared.name!r}: joins of several topics are not "
            f"supported yet: trigger by one topic, or start the run from a client",
            graph=graph,
        )
    given: Any = Any
    if isinstance(on, Topic):
        given = on.kind
        adapter = adapter_of(given, graph, "input", f"the event of topic {on.name!r}")
    elif on.status == "succeeded":
        given, adapter = on.work.output_kind, on.work.compile().output
    else:
        adapter = TypeAdapter(Any)
    wanted = work.input_kind
    if declared.map is None and not fits(given, wanted):
        raise InvalidGraph(
            f"graph {graph!r} takes {shown(wanted)}, and its trigger {declared.name!r} brings "
            f"{shown(given)}: give trigger() a map that makes one of the other",
            graph=graph,
        )
    return Trigger(
        name=declared.name,
        kind="topic" if isinstance(on, Topic) else "run_finished",
        topic=on.name if isinstance(on, Topic) else on.work.name,
        graph=graph,
        adapter=adapter,
        where=declared.where,
        map=declared.map,
        idempotency_key=declared.idempotency_key,
        status="succeeded" if isinstance(on, Topic) else on.status,
    )
