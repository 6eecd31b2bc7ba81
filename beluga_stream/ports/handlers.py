"""A user's code, ready to be run: what the worker, the local engine and ingest need of it.

`api` compiles graphs to these; nothing here knows how they were written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final, Literal, Protocol

from pydantic import TypeAdapter

from ..domain.definition import Definition, EdgeMode
from ..domain.ids import GraphHash, NodeName
from .cache import Caching


class Absent(Enum):
    """What stands for an argument that no edge gave. None would be one that was given."""

    LEFT_OUT = auto()  # a member, since it may be pickled and must stay itself


LEFT_OUT: Final = Absent.LEFT_OUT
"""The function has its default there."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that edges bind. `adapter` checks values (of a stream: its chunks).

    When no edge gives it, the call gets `LEFT_OUT` if it `has_default`, else None.
    """

    name: str
    adapter: TypeAdapter[Any]
    mode: EdgeMode = EdgeMode.VALUE
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Variants:
    """Models of a union, of which a value must be the same by its JSON, read with `adapter`: others have no more."""

    adapter: TypeAdapter[Any]
    models: tuple[type, ...]


@dataclass(frozen=True, slots=True)
class Handler:
    """One function of a user, with all that is needed to call it.

    `output` checks what it returns (of a streaming handler: each chunk). `branches` are the
    conditions on edges after it, by number; `until` ends a loop; `retry_on` are the exceptions
    worth another attempt (None: the default rule). `resources` maps parameter names to the
    resource types that the worker injects. `cache` says how its results are kept and given again. `variants` are
    told apart by readers of its output; None where there are none.
    """

    call: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    output: TypeAdapter[Any]
    executor: Literal["async", "thread", "process"] = "async"
    streams: bool = False
    branches: tuple[tuple[int, Callable[[Any], bool]], ...] = ()
    until: Callable[[Any], bool] | None = None
    retry_on: tuple[type[Exception], ...] | None = None
    resources: Mapping[str, type] = field(default_factory=dict)
    fallback: "Handler | None" = None
    compensate: "Handler | None" = None
    # compensate's parameters: those of the handler, then its output
    cache: Caching | None = None
    variants: Variants | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """A built graph: its data and its code.

    `children` are the subgraphs it refers to, by hash; `signals` what the signals that it waits for hold, by name.
    """

    definition: Definition
    handlers: Mapping[NodeName, Handler]
    input: TypeAdapter[Any]
    output: TypeAdapter[Any]
    children: Mapping[GraphHash, "Program"] = field(default_factory=dict)
    signals: Mapping[str, TypeAdapter[Any]] = field(default_factory=dict)

    @property
    def reads_streams(self) -> bool:
        """Whether one of its nodes reads what another still writes."""
        return any(edge.mode is EdgeMode.STREAM for edge in self.definition.edges)

    def handler(self, name: NodeName, role: Literal["handler", "fallback", "compensate"]) -> Handler | None:
        """The function of a node that is meant by this role."""
        found = self.handlers.get(name)
        if found is None or role == "handler":
            return found
        return found.fallback if role == "fallback" else found.compensate


@dataclass(frozen=True, slots=True)
class Message:
    """A trigger's event as user code sees it. `data` is checked; `id` and `source` are CloudEvents' or its record's."""

    id: str
    source: str
    headers: Mapping[str, str]
    data: Any


@dataclass(frozen=True, slots=True)
class Side:
    """One topic among those whose events start a run together. `key` takes the data, and gives what they share."""

    topic: str
    adapter: TypeAdapter[Any]
    key: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Gathers:
    """How events start a run together. Times in milliseconds.

    A join has `within_ms` (its windows), `lateness_ms`, what to do when the time of a window is over and an event
    is `missing` (`graph`: start that one), and what with an event that no window takes. A batch has `size` and
    `wait_ms`; a burst `quiet_ms` and `most_ms`.
    """

    kind: Literal["join", "batch", "burst"]
    sides: tuple[Side, ...]
    within_ms: int = 0
    lateness_ms: int = 0
    missing: Literal["start", "graph", "dead_letter", "drop"] = "dead_letter"
    graph: str | None = None
    late: Literal["dead_letter", "drop"] = "dead_letter"
    size: int = 0
    wait_ms: int = 0
    quiet_ms: int = 0
    most_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a schedule starts runs: a cron expression in a time zone, up to `jitter_ms` later.

    `catch_up` says what becomes of times that were missed. `input` makes the run's input of its time.
    """

    cron: str
    tz: str
    input: Callable[[datetime], Any]
    jitter_ms: int = 0
    catch_up: Literal["all", "last", "skip"] = "last"


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a graph: events of a topic, several events together, a clock, or the end of another graph's runs.

    For `run_finished`, `topic` is the other graph's name, `status` how its run must have ended,
    and a message's data is that run's result. For `gathered`, `gathers` tells which events, and `map` takes what they
    are together.
    """

    name: str
    kind: Literal["topic", "run_finished", "gathered", "schedule"]
    topic: str
    graph: str
    adapter: TypeAdapter[Any]
    where: Callable[[Any], bool] | None = None
    map: Callable[[Any], Any] | None = None
    idempotency_key: Callable[[Any], str] | None = None
    status: str = "succeeded"
    gathers: Gathers | None = None
    schedule: Schedule | None = None

    @property
    def is_kept(self) -> bool:
        """Whether it has a state, which the gatherer keeps."""
        return self.gathers is not None or self.schedule is not None

    @property
    def sources(self) -> tuple[str, ...]:
        """The users' topics that it listens to."""
        if self.gathers is not None:
            return tuple(dict.fromkeys(side.topic for side in self.gathers.sides))
        return (self.topic,) if self.kind == "topic" else ()


class Deployment(Protocol):
    """Everything that is deployed in this process."""

    @property
    def programs(self) -> Mapping[GraphHash, Program]:
        """Every deployed graph and, for pinned runs, subgraph."""

    @property
    def triggers(self) -> Sequence[Trigger]:
        """Every trigger of the deployed graphs."""

    def latest(self, graph: str) -> Program | None:
        """The graph of this name."""
