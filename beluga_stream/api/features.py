"""`Features` and `Defaults` of an orchestrator: what it may be asked for, and which options its work has by default."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import timedelta
from inspect import get_annotations
from typing import Any, TypedDict, cast

from ..domain.misspelt import instead
from ..errors import InvalidConfig
from .memory import Memory
from .ranges import DAY_SECONDS, YEAR_SECONDS, check_duration, check_whole
from .retry import Retry, Seconds

MOST_SECONDS = DAY_SECONDS
MOST_WORKFLOW_SECONDS = YEAR_SECONDS
MOST_QUEUE_LETTERS = 255
MOST_RETRIES = 20
MOST_WORKERS = 1_000
MOST_QUEUED = 100_000

WORKERS = ("max_workers", "queue_size", "parallel")
"""Options of a graph's workers in this process, for engines that have none here."""

_NOT_OF_RUNNING = ("name", "memory", "conversation")
"""Options that say what is made, and not how it runs."""


@dataclass(frozen=True, slots=True)
class Features:
    """What an orchestrator makes; what is off is refused with `InvalidState`."""

    _: KW_ONLY
    chains: bool = True
    graphs: bool = True
    workflows: bool = True
    scheduler: bool = True
    message_bus: bool = True


@dataclass(frozen=True, slots=True)
class Defaults:
    """Options of all chains, graphs or workflows of an orchestrator. None: the orchestrator's own default.

    `timeout` bounds a run (seconds or timedelta, up to 24 hours). `retries` is how often a failed step is tried
    again (0 to 20), where it has no `Retry` of its own. Of graphs only: `max_workers` executions go on at a time
    (1 to 1,000), and while `queue_size` wait (0 to 100,000) no more runs are taken; both are for the engine `local`,
    and mean nothing to the others. Of workflows `timeout` and `retries` are for classes: a durable graph has its own.
    `provider` names the engine. Raises `InvalidConfig` when a value is out of range.
    """

    _: KW_ONLY
    timeout: Seconds | None = None
    retries: int | None = None
    max_workers: int | None = None
    queue_size: int | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("timeout", "retries", "max_workers", "queue_size")}
        check_ranges("Defaults", **{name: value for name, value in given.items() if value is not None})


class ChainOptions(TypedDict, total=False):
    """What `create_chain` takes besides its steps. See `Options`; what is left out is the `Defaults`'."""

    name: str
    description: str
    timeout: Seconds
    retries: int
    input_keys: tuple[str, ...]
    output_keys: tuple[str, ...]
    provider: str
    memory: Memory
    conversation: Callable[[Any], str]


class GraphOptions(TypedDict, total=False):
    """What `create_graph` takes besides name and types. See `Options`; what is left out is the `Defaults`'."""

    description: str
    timeout: Seconds
    retries: int
    max_workers: int
    queue_size: int
    parallel: bool
    provider: str
    memory: Memory
    conversation: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Options:
    """How a chain or graph runs: what it was given, and the defaults for the rest.

    `timeout` is in seconds or a timedelta, for a whole run. `retries`: how often a failed step is tried again.
    `input_keys` and `output_keys` are what input and result must have at least, as mappings. `parallel` says
    whether a graph's nodes may run beside each other in one run. For workers and queue see `Defaults`.
    """

    _: KW_ONLY
    description: str = ""
    timeout: Seconds = timedelta(minutes=5)
    retries: int = 3
    input_keys: tuple[str, ...] = ()
    output_keys: tuple[str, ...] = ()
    max_workers: int = 5
    queue_size: int = 100
    parallel: bool = True
    provider: str = "local"

    def __post_init__(self) -> None:
        check_ranges(
            "options",
            timeout=self.timeout,
            retries=self.retries,
            max_workers=self.max_workers,
            queue_size=self.queue_size,
        )
        if not isinstance(cast("object", self.parallel), bool):
            raise InvalidConfig(f"options: parallel={self.parallel!r}: give True or False")
        for name, keys in (("input_keys", self.input_keys), ("output_keys", self.output_keys)):
            _check_keys(name, keys)

    @property
    def retry(self) -> Retry:
        """The engine's own: pauses that double, and no retry of errors that another attempt cannot mend."""
        return Retry(self.retries + 1)


class WorkflowTerms(TypedDict, total=False):
    """What `create_workflow` takes besides the workflow. See `WorkflowOptions`; what is left out is the `Defaults`'."""

    name: str
    description: str
    timeout: Seconds
    retries: int
    task_queue: str
    metadata: Mapping[str, Any]
    provider: str


@dataclass(frozen=True, slots=True)
class WorkflowOptions:
    """How a workflow runs: what it was given, and the defaults for the rest.

    `timeout` bounds a whole workflow (seconds or timedelta, up to a year). `retries`: how often a class that failed
    begins again (0 to 20); a graph's nodes have retries of their own. `task_queue` (1 to 255 letters; None: the
    settings', `beluga-workflows`) is where its workers listen. `metadata` is kept with each workflow, and told by
    `describe`.
    """

    _: KW_ONLY
    description: str = ""
    timeout: Seconds | None = timedelta(minutes=30)
    retries: int = 5
    task_queue: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provider: str = "temporal"

    def __post_init__(self) -> None:
        check_ranges("options", timeout=self.timeout, most_seconds=MOST_WORKFLOW_SECONDS, retries=self.retries)
        queue: object = self.task_queue
        if queue is not None and not (isinstance(queue, str) and 1 <= len(queue) <= MOST_QUEUE_LETTERS):
            raise InvalidConfig(f"options: task_queue={self.task_queue!r}: give 1 to {MOST_QUEUE_LETTERS} letters")


def workflow_options(defaults: Defaults, given: WorkflowTerms, *, is_graph: bool) -> WorkflowOptions:
    """Options: what is given, else the defaults, else the orchestrator's own. Raises `InvalidConfig`.

    A graph says itself how long it may run and how often its nodes are tried.
    """
    if is_graph and "retries" in given:
        raise InvalidConfig("retries= is for workflow classes: a graph's nodes have their own, add_node(..., retry=)")
    chosen: dict[str, Any] = {"timeout": None, "retries": 0} if is_graph else {}
    for default in ("provider",) if is_graph else ("timeout", "retries", "provider"):
        if (value := getattr(defaults, default)) is not None:
            chosen[default] = value
    chosen |= {name: value for name, value in given.items() if name != "name"}
    return WorkflowOptions(**chosen)


def merged(own: Options, defaults: Defaults, given: ChainOptions | GraphOptions, terms: type) -> Options:
    """Options: what is given, else the defaults, else the orchestrator's own.

    Raises `InvalidConfig`, and `TypeError` for one that is none of these terms: it would be ignored.
    """
    for name in given:
        if name not in get_annotations(terms):
            told = instead(name, get_annotations(terms))
            raise TypeError(f"{name}= is no option of what this makes: {told}")
    chosen: dict[str, Any] = {
        name: value
        for name in ("timeout", "retries", "max_workers", "queue_size", "provider")
        if (value := getattr(defaults, name)) is not None
    }
    chosen |= {name: value for name, value in given.items() if name not in _NOT_OF_RUNNING}
    for keys in ("input_keys", "output_keys"):
        if isinstance(chosen.get(keys), list):
            chosen[keys] = tuple(chosen[keys])
    return replace(own, **chosen)


_RANGES: dict[str, tuple[int, int]] = {
    "retries": (0, MOST_RETRIES),
    "max_workers": (1, MOST_WORKERS),
    "queue_size": (0, MOST_QUEUED),
}


def check_ranges(
    what: str, *, timeout: Seconds | None = None, most_seconds: float = MOST_SECONDS, **counts: int
) -> None:
    """Raises `InvalidConfig` for what is out of range, naming it and the range."""
    if timeout is not None:
        check_duration(what, "timeout", timeout, most_seconds=most_seconds)
    for name, value in counts.items():
        check_whole(what, name, value, *_RANGES[name])


def _check_keys(what: str, keys: object) -> None:
    if not isinstance(keys, tuple) or not all(isinstance(key, str) and key for key in keys):
        raise InvalidConfig(f"{what}={keys!r}: give the names of keys, as ('text', 'language')")
    if len(set(keys)) < len(keys):
        raise InvalidConfig(f"{what}={keys!r} names a key twice")


CHAIN = Options()
GRAPH = Options(timeout=timedelta(minutes=10))
