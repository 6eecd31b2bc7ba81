"""What starts runs besides clients: events of topics, alone or several together, and ends of other graphs' runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from pydantic import TypeAdapter

from ..errors import InvalidGraph
from ..ports.handlers import Trigger
from .adapter import adapter_of
from .fit import fits, shown
from .gathering import Together
from .schedule import Cron
from .topic import Topic

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

    on: Topic[Any] | OnRun[Any] | Together[Any] | Cron
    map: Callable[[Any], Any] | None
    where: Callable[[Any], bool] | None
    idempotency_key: Callable[[Any], str] | None

    @property
    def name(self) -> str:
        """Its part of the run ids: stable over deployments."""
        return self.on.name


def compile_trigger(declared: Declared, work: "Work[Any, Any]") -> Trigger:
    """Make a trigger ready for ingest. Raises `InvalidGraph` for data that is not the input."""
    graph = work.name
    on = declared.on
    given: Any = Any
    if isinstance(on, Together):
        return _compile_together(declared, on, work)
    if isinstance(on, Cron):
        return Trigger(
            name=on.name, kind="schedule", topic="", graph=graph, adapter=TypeAdapter(Any), schedule=on.compiled()
        )
    if isinstance(on, Topic):
        given = on.kind
        adapter = adapter_of(given, graph, "input", f"the event of topic {on.name!r}")
    elif on.status == "succeeded":
        given, adapter = on.work.output_kind, on.work.compile().output
    else:
        adapter = TypeAdapter(Any)
    _check_fit(declared, given, work)
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


def _compile_together(declared: Declared, on: Together[Any], work: "Work[Any, Any]") -> Trigger:
    if declared.where is not None or declared.idempotency_key is not None:
        raise InvalidGraph(
            f"graph {work.name!r}: its trigger {declared.name!r} starts runs by several events: where= and "
            f"idempotency_key= are for triggers by one; their runs are told apart by key and window",
            graph=work.name,
        )
    _check_fit(declared, on.value_kind, work)
    other = on.on_missing
    if not isinstance(other, str) and not fits(on.missing_kind, other.input_kind):
        raise InvalidGraph(
            f"graph {other.name!r} takes {shown(other.input_kind)}, and gets {shown(on.missing_kind)} of the "
            f"incomplete windows of {declared.name!r}",
            graph=other.name,
        )
    return Trigger(
        name=declared.name,
        kind="gathered",
        topic=declared.name,
        graph=work.name,
        adapter=TypeAdapter(Any),
        map=declared.map,
        gathers=on.compiled(work.name),
    )


def _check_fit(declared: Declared, given: Any, work: "Work[Any, Any]") -> None:
    wanted = work.input_kind
    if declared.map is None and not fits(given, wanted):
        raise InvalidGraph(
            f"graph {work.name!r} takes {shown(wanted)}, and its trigger {declared.name!r} brings "
            f"{shown(given)}: give trigger() a map that makes one of the other",
            graph=work.name,
        )
