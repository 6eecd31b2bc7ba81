"""Every metric that the engine has: name, type, unit, attributes and meaning.

The instruments, docs/observability.md, the dashboards and the alert rules all go by this list.
"""

from typing import Literal, NamedTuple

KINDS = ("chain", "graph", "workflow")
"""What runs are called by. Each kind has its own metrics."""

_TELLERS = {"workflow": ("orchestrators", "begun by an orchestrator of this process")}
"""Who tells of a kind, where it is not the coordinator; and of which runs that go on."""

InstrumentType = Literal["counter", "updown", "histogram", "gauge"]

_RUN_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200, 86_400)
_NODE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)
_NODES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


class Metric(NamedTuple):
    """One metric. `name` comes after the prefix; `told_by` are the processes that have it."""

    name: str
    type: InstrumentType
    unit: str
    attributes: tuple[str, ...]
    meaning: str
    told_by: str
    buckets: tuple[float, ...] = ()
    is_watched: bool = False
    """Whether it is asked for when somebody wants to know it; others are told of."""


def _of(kind: str) -> tuple[Metric, ...]:
    told_by, whose = _TELLERS.get(kind, ("coordinator", "in the partitions that this process owns"))
    return (
        Metric(
            f"{kind}_executions_total",
            "counter",
            "{run}",
            (f"{kind}_name", "success"),
            f"{kind} runs that ended",
            told_by,
        ),
        Metric(f"{kind}_errors_total", "counter", "{run}", (f"{kind}_name",), f"{kind} runs that failed", told_by),
        Metric(
            f"{kind}_duration_seconds",
            "histogram",
            "s",
            (f"{kind}_name", "success"),
            f"from a {kind} run's start to its end",
            told_by,
            _RUN_SECONDS,
        ),
        Metric(
            f"active_{kind}s",
            "updown",
            "{run}",
            (f"{kind}_name",),
            f"{kind} runs that go on, {whose}",
            told_by,
        ),
    )


METRICS: tuple[Metric, ...] = (
    *(metric for kind in KINDS for metric in _of(kind)),
    Metric("graph_nodes", "histogram", "{node}", ("graph_name",), "nodes of the graphs of runs", "coordinator", _NODES),
    Metric("executions_total", "counter", "{run}", ("success",), "runs that ended, of every kind", "coordinator"),
    Metric("errors_total", "counter", "{run}", (), "runs that failed, of every kind", "coordinator"),
    Metric(
        "stuck_runs",
        "updown",
        "{run}",
        ("reason",),
        "runs that wait longer than they should, by what they wait for: `worker`, `lease`, `timer`, `signal`, `limit`, "
        "`code` or `nothing`",
        "coordinator",
    ),
    Metric("lease_expiries_total", "counter", "{lease}", ("graph_name",), "nodes whose worker was lost", "coordinator"),
    Metric(
        "queue_wait_seconds",
        "histogram",
        "s",
        ("graph_name",),
        "from a node's dispatch to its begin in a worker, by the clocks of both",
        "worker",
        _NODE_SECONDS,
    ),
    Metric(
        "node_duration_seconds",
        "histogram",
        "s",
        ("graph_name", "node", "success"),
        "how long an execution of a node took; without success each failed attempt counts",
        "worker",
        _NODE_SECONDS,
    ),
    Metric("nodes_in_flight", "updown", "{node}", (), "nodes that have begun here and have not ended", "worker"),
    Metric(
        "triggers_total",
        "counter",
        "{event}",
        ("graph_name", "trigger", "outcome"),
        "what came of triggers: `started` a run, `missing` an event when a window ended, `late` for its window (or one "
        "that its window has already), `refused` as no input",
        "ingest",
    ),
    Metric(
        "dead_letters_total", "counter", "{record}", ("role", "code"), "records refused, by error code", "each role"
    ),
    Metric(
        "recovery_seconds",
        "histogram",
        "s",
        ("role",),
        "from an assignment of partitions until the role has recovered them",
        "each role",
        _NODE_SECONDS,
    ),
    Metric(
        "consumer_lag_records",
        "gauge",
        "{record}",
        ("group", "topic", "partition"),
        "records of an assigned partition that the group has not acknowledged",
        "each role",
        is_watched=True,
    ),
    Metric(
        "lost_spans_total",
        "counter",
        "{span}",
        ("reason",),
        "spans that were not exported: they did not fit into the `queue`, or their `export` failed",
        "each process",
        is_watched=True,
    ),
)
"""All of them."""
