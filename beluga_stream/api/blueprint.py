"""What a graph has been told so far: its steps and links, in the user's terms, before any check."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..domain.definition import EdgeMode, Join, NodeKind
from .condition import Condition
from .limit import Limits
from .node import NodeOptions

if TYPE_CHECKING:
    from .remembering import Remembered
    from .signal import Signal
    from .work import Work


@dataclass(frozen=True, slots=True)
class Link:
    """An edge as declared.

    `into` is a parameter by name or position; None: to be found by the string form's rule. `mode`
    None means: what the parameter's type asks for (the string form).
    """

    source: str
    target: str
    into: str | int | None = None
    mode: EdgeMode | None = None
    condition: Condition | None = None


@dataclass(slots=True)
class Step:
    """A node as declared. Durations in milliseconds."""

    name: str
    kind: NodeKind
    handler: Callable[..., Any] | None = None
    work: "Work[Any, Any] | None" = None
    options: NodeOptions = field(default_factory=NodeOptions)
    fallback: Callable[..., Any] | None = None
    compensate: Callable[..., Any] | None = None
    join: Join = Join.ALL
    count: int = 1
    max_parallel: int = 64
    max_passes: int = 1
    until: Callable[[Any], bool] | None = None
    signal: "Signal[Any] | None" = None
    timeout_ms: int | None = None
    remind_ms: int | None = None


@dataclass(slots=True)
class Blueprint:
    """The steps by name, the links in their order, the finish points. `version` counts changes.

    `options` are those of every step that executes something and has none of its own.
    """

    graph: str
    timeout_ms: int = 600_000
    durable: bool = False
    limits: Limits = ()
    options: NodeOptions = field(default_factory=NodeOptions)
    memory: "Remembered | None" = None
    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    links: list[Link] = field(default_factory=list[Link])
    finish: list[str] = field(default_factory=list[str])
    version: int = 0
