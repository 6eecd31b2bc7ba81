"""Which rights each role needs on the broker: the least with which it does its work.

docs/security.md and `beluga acls` are made from this, a role asks the broker for its own before it starts, and a
test runs every role with exactly these.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

from ..application.topics import Topics
from ..ports.rights import Right
from .connection import topics
from .declared import changelog_topic, group, triggers_changelog
from .settings import Settings

Holder = Literal["coordinator", "worker", "ingest", "workflows", "client", "gateway", "agent", "operator"]
"""The roles of processes; `client` starts and follows runs, `gateway` does it for others, `agent` uses the message bus,
`operator` every other command of `beluga`."""

HOLDERS: tuple[Holder, ...] = get_args(Holder)


class Uses(NamedTuple):
    """What a deployment takes of the broker: the queues of its nodes, and what triggers its graphs."""

    queues: tuple[str, ...] = ("default",)
    sources: tuple[str, ...] = ()
    follows_runs: bool = False
    gathers: bool = False


def rights_of(holder: Holder, settings: Settings, uses: Uses) -> list[Right]:
    """The rights of one role."""
    match holder:
        case "coordinator":
            return _coordinator(settings)
        case "worker":
            return _worker(settings, uses)
        case "ingest":
            return _ingest(settings, uses)
        case "workflows":
            return _workflows(settings)
        case "client":
            return _client(settings, uses)
        case "gateway":
            graphs = Right("topic", topics(settings).graphs, ("Read",), "knows the graphs and their inputs")
            return _merged([*_client(settings, uses), graphs])
        case "agent":
            return _agent(settings)
        case "operator":
            return _merged(_operator(settings, uses))


def _coordinator(settings: Settings) -> list[Right]:
    names = topics(settings)
    own = group(settings, "coordinator")
    return [
        Right("topic", names.run_requests, ("Read",), "takes starts"),
        Right("topic", names.run_events, ("Read", "Write"), "takes signals and cancels, sends timers and child runs"),
        Right("topic", names.node_done, ("Read",), "takes what nodes did"),
        Right("group", own, ("Read",), "its consumer group"),
        Right("group", group(settings, "worker"), ("Describe",), "sees what the workers are done with"),
        Right("topic", changelog_topic(settings), ("Read", "Write", "DescribeConfigs"), "its table of runs"),
        Right("transactional-id", f"{own}-", ("Write",), "keeps a former owner out", prefixed=True, sample="0"),
        Right("topic", names.graphs, ("Read",), "definitions"),
        Right("topic", names.node_ready(""), ("Write",), "gives work to any queue", prefixed=True, sample="default"),
        Right("topic", names.workflow_requests, ("Write",), "asks for durable runs"),
        Right("topic", names.run_results, ("Write",), "tells readers"),
        Right("topic", names.runs, ("Write",), "summaries"),
        Right("topic", names.control, ("Write",), "cancels at the workers"),
        Right("topic", names.dead_letters, ("Write",), "what it refuses"),
        _checks(settings),
    ]


def _worker(settings: Settings, uses: Uses) -> list[Right]:
    names = topics(settings)
    return [
        *(Right("topic", names.node_ready(queue), ("Read",), "takes work") for queue in uses.queues),
        Right(
            "topic",
            names.node_ready(""),
            ("Describe",),
            "shares queues out among all workers",
            prefixed=True,
            sample="default",
        ),
        Right("group", group(settings, "worker"), ("Read",), "its consumer group"),
        Right("topic", names.control, ("Read",), "hears of cancels"),
        Right("topic", names.node_done, ("Write",), "says what nodes did"),
        Right("topic", names.run_results, ("Read", "Write"), "chunks, and what its nodes read of those of others"),
        Right("topic", names.graphs, ("Write",), "publishes its definitions"),
        Right("topic", names.dead_letters, ("Write",), "what it refuses"),
        _checks(settings),
    ]


def _ingest(settings: Settings, uses: Uses) -> list[Right]:
    names = topics(settings)
    return [
        *(Right("topic", source, ("Read", "DescribeConfigs"), "takes events") for source in uses.sources),
        *(
            [Right("topic", names.runs, ("Read",), "`on_run`: triggers on the end of runs")]
            if uses.follows_runs
            else []
        ),
        Right("group", group(settings, "ingest"), ("Read",), "its consumer group"),
        *(_gatherer(settings) if uses.gathers else []),
        Right("topic", names.run_requests, ("Write",), "starts runs"),
        Right("topic", names.graphs, ("Write",), "publishes its definitions"),
        Right("topic", names.dead_letters, ("Write",), "what it refuses"),
        _checks(settings),
    ]


def _workflows(settings: Settings) -> list[Right]:
    names = topics(settings)
    return [
        Right("topic", names.workflow_requests, ("Read",), "takes what is asked of durable runs"),
        Right("group", group(settings, "workflows"), ("Read",), "its consumer group"),
        Right("topic", names.run_events, ("Write",), "tells the ends of durable runs"),
        Right("topic", names.run_results, ("Read", "Write"), "tells readers; nodes that read a stream"),
        Right("topic", names.runs, ("Write",), "summaries of subgraphs"),
        Right("topic", names.graphs, ("Read", "Write"), "definitions"),
        Right("topic", names.dead_letters, ("Write",), "what it refuses"),
        _checks(settings),
    ]


def _checks(settings: Settings) -> Right:
    """Every role looks at the topics that it sees before it starts."""
    why = "checks how topics are kept"
    return Right("topic", f"{settings.prefix}.", ("DescribeConfigs",), why, prefixed=True, sample="runs")


def _gatherer(settings: Settings) -> list[Right]:
    """What ingest needs for triggers by several events."""
    names = topics(settings)
    own = group(settings, "gatherer")
    return [
        Right("topic", names.trigger_events, ("Read", "Write"), "brings events of one key together"),
        Right("group", own, ("Read",), "the consumer group of the gatherer, which keeps windows and batches"),
        Right(
            "topic",
            triggers_changelog(settings),
            ("Read", "Write", "DescribeConfigs"),
            "the table of windows and batches",
        ),
        Right("transactional-id", f"{own}-", ("Write",), "keeps a former owner out", prefixed=True, sample="0"),
    ]


def _client(settings: Settings, uses: Uses) -> list[Right]:
    names = topics(settings)
    return [
        Right("topic", names.run_requests, ("Read", "Write"), "starts and forks runs"),
        Right("topic", names.graphs, ("Read",), "forks runs, overrides nodes"),
        Right("topic", names.run_events, ("Write",), "signals, cancels, retries, overrides"),
        Right("topic", names.run_results, ("Read",), "follows runs"),
        Right("topic", names.runs, ("Read",), "lists runs"),
        *(Right("topic", source, ("Write",), "publishes events") for source in uses.sources),
    ]


def _agent(settings: Settings) -> list[Right]:
    names = topics(settings)
    return [
        Right("topic", names.bus, ("Read", "Write"), "messages"),
        Right("group", f"{names.bus}.", ("Read",), "groups of subscribers", prefixed=True, sample="workers.jobs"),
        Right("topic", names.dead_letters, ("Read", "Write"), "what its handlers cannot take, `dead_letters()`"),
    ]


def _operator(settings: Settings, uses: Uses) -> list[Right]:
    names = topics(settings)
    probe = f"{settings.prefix}.doctor-"
    return [
        *_client(settings, uses),
        Right(
            "topic",
            f"{settings.prefix}.",
            ("Create", "Describe", "DescribeConfigs"),
            "`topics`, `doctor`",
            prefixed=True,
            sample="runs",
        ),
        Right(
            "topic",
            changelog_topic(settings),
            ("Create", "Read", "DescribeConfigs"),
            "`topics`, `runs show`, `runs stuck`, `blobs sweep`",
        ),
        Right("topic", triggers_changelog(settings), ("Create", "Describe", "DescribeConfigs"), "`topics`"),
        *(
            Right("topic", source, ("Create", "Read", "DescribeConfigs"), "`topics`, `backfill`")
            for source in uses.sources
        ),
        Right("topic", names.graphs, ("Read",), "`graph list`, `runs stuck`"),
        Right("topic", names.dead_letters, ("Read", "Write"), "`dead-letters`"),
        *(Right("topic", name, ("Write",), "`dead-letters replay`") for name in _refusable(names, uses)),
        Right(
            "topic",
            names.node_ready(""),
            ("Write",),
            "`dead-letters replay`",
            prefixed=True,
            sample="default",
        ),
        Right(
            "group", f"{settings.prefix}-", ("Describe",), "`doctor` sees who is there", prefixed=True, sample="worker"
        ),
        Right("topic", probe, ("Write", "Delete"), "`doctor` tries fencing", prefixed=True, sample="0"),
        Right("transactional-id", probe, ("Write",), "`doctor` tries fencing", prefixed=True, sample="0"),
    ]


def _refusable(names: Topics, uses: Uses) -> list[str]:
    """The engine's own topics whose records may be dead letters, beside those that clients write to and the queues."""
    found = [names.node_done, names.bus, names.workflow_requests]
    found += [names.runs] if uses.follows_runs else []
    return [*found, names.trigger_events] if uses.gathers else found


def _merged(rights: Sequence[Right]) -> list[Right]:
    """One right for each resource."""
    found: dict[tuple[str, str], Right] = {}
    for right in rights:
        place = (right.resource, right.name)
        known = found.get(place)
        if known is None:
            found[place] = right
        else:
            operations = tuple(dict.fromkeys((*known.operations, *right.operations)))
            found[place] = replace(known, operations=operations, why=f"{known.why}; {right.why}")
    return list(found.values())


def commands(rights: Sequence[Right], user: str, broker: str) -> list[str]:
    """The `kafka-acls` commands that give a user these rights, as a shell takes them."""
    return [
        shlex.join(
            [
                *("kafka-acls.sh", "--bootstrap-server", broker, "--command-config", "admin.properties", "--add"),
                *("--allow-principal", f"User:{user}"),
                *(word for each in right.operations for word in ("--operation", each)),
                *(f"--{right.resource}", right.name),
                *(("--resource-pattern-type", "prefixed") if right.prefixed else ()),
            ]
        )
        for right in rights
    ]
