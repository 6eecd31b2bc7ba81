"""The kinds of harm, by name."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeAlias

from tests.chaos.kills import kill, restart, storm, terminate
from tests.chaos.outages import (
    crash_broker,
    crash_node,
    full_disk,
    lose_disk,
    outage,
    restart_broker,
    silence,
    upgrade,
)
from tests.chaos.pauses import freeze, pulse, stop
from tests.chaos.scene import Harmed, Scene

Kind: TypeAlias = Literal[
    "worker",
    "coordinator",
    "both",
    "ingest",
    "stop",
    "freeze",
    "pulse",
    "storm",
    "terminate",
    "restart",
    "full",
    "broker",
    "bounce",
    "outage",
    "silence",
    "node",
    "disk",
    "upgrade",
]

KINDS: tuple[Kind, ...] = ("worker", "coordinator", "both", "stop")
"""What every release must survive; the others search for more."""

LEAST_UNFINISHED = 100
"""Harm in a round counts only when this many executions have begun and not ended."""

HARMS: Mapping[Kind, Callable[[Scene], Awaitable[Harmed]]] = {
    "worker": lambda scene: kill(scene, "worker"),
    "coordinator": lambda scene: kill(scene, "coordinator"),
    "both": lambda scene: kill(scene, "coordinator", "worker"),
    "ingest": lambda scene: kill(scene, "ingest"),
    "stop": stop,
    "freeze": freeze,
    "pulse": pulse,
    "storm": storm,
    "terminate": terminate,
    "restart": restart,
    "full": full_disk,
    "broker": crash_broker,
    "bounce": restart_broker,
    "outage": outage,
    "silence": silence,
    "node": crash_node,
    "disk": lose_disk,
    "upgrade": upgrade,
}

NEED_BROKER: frozenset[Kind] = frozenset({"broker", "bounce", "outage", "silence"})
"""What can be done only to a broker of our own."""

NEED_CLUSTER: frozenset[Kind] = frozenset({"node", "disk", "upgrade"})
"""What can be done only to several of our own."""
