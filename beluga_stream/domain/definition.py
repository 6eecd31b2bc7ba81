"""A graph as data: what is pinned to a run, published to `beluga.graphs` and drawn. No handler is in it."""

import hashlib
import json as plain_json
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

from msgspec import field, json

from .frozen import Frozen
from .ids import INPUT, GraphHash, NodeName
from .limit import Limit
from .payload import Json
from .retry import RetryPolicy

DEFINITION_VERSION = 1
_HASHES_MOST = 1_024

LONGEST_TIMEOUT_MS = 24 * 3600 * 1000
"""Of one attempt."""

MAX_CRASHES = 3
"""How often in a row a node's process may die with it, unless it says otherwise."""


class NodeKind(StrEnum):
    """How a node comes to its output."""

    TASK = "task"  # a handler returns it
    STREAM = "stream"  # a handler yields it, chunk by chunk
    MAP = "map"  # one execution for each item of a list
    LOOP = "loop"  # a handler again and again, its output as its next input
    GRAPH = "graph"  # a run of another graph
    SELECT = "select"  # the outputs of some of its sources; no handler
    WAIT = "wait"  # a signal's value
    SLEEP = "sleep"  # nothing, later


class Join(StrEnum):
    """Which of its incoming edges a node waits for."""

    ALL = "all"  # every one resolved, at least one taken
    FIRST = "first"  # the first that is taken; the rest are cancelled
    N_OF = "n_of"  # the first n that are taken; the rest are cancelled


class EdgeMode(StrEnum):
    """What an edge hands over."""

    VALUE = "value"
    STREAM = "stream"  # the chunks, as an async iterator
    OUTCOME = "outcome"  # status with output or error: taken even by a failure
    ORDER = "order"  # nothing: only "after"


class OnFailure(StrEnum):
    """What happens when a node has failed for good."""

    FAIL = "fail"  # the run fails
    CONTINUE = "continue"  # its edges are dead, the rest goes on


class Edge(Frozen):
    """From one node's output to another's parameter.

    `branch` numbers a condition of the source: its worker reports which branches were taken,
    and an edge whose branch is not among them is dead.
    """

    source: NodeName
    target: NodeName
    into: str | None = None
    mode: EdgeMode = EdgeMode.VALUE
    branch: int | None = None


class Node(Frozen):
    """One declared node. Times in milliseconds; None means without limit."""

    name: NodeName
    kind: NodeKind = NodeKind.TASK
    parameters: tuple[str, ...] = ()
    join: Join = Join.ALL
    count: int = 1  # of n_of
    queue: str = "default"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout_ms: int | None = None
    on_failure: OnFailure = OnFailure.FAIL
    has_fallback: bool = False
    has_compensation: bool = False
    resume: bool = False  # of stream
    max_parallel: int = 64  # of map
    max_passes: int = 1  # of loop
    child: GraphHash | None = None  # of graph, and of map and loop over a graph
    child_name: str | None = None
    signal: str | None = None  # of wait
    remind_ms: int | None = None  # of wait
    exhaustive: bool = False  # one of its branches is always taken
    max_crashes: int = MAX_CRASHES  # of its process; 0: without limit
    limits: tuple[Limit, ...] = ()  # of what has a handler: each execution needs a slot of all


class Definition(Frozen):
    """A built graph. `input_schema` and `output_schema` are JSON schemas.

    `takes` has those of what edges hand to each node's parameters, of a map's first one that of an item, and of a wait
    that of its signal, by the signal's name. It says nothing that the code does not, and takes no part in the hash.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    finish: tuple[NodeName, ...]
    timeout_ms: int = 600_000
    durable: bool = False
    kind: str = "graph"  # or "chain": by which name metrics and spans call it
    input_schema: Json = None
    output_schema: Json = None
    limits: tuple[Limit, ...] = ()  # each run needs a slot of all
    version: int = DEFINITION_VERSION
    takes: Mapping[NodeName, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def hash(self) -> GraphHash:
        """The same for equal graphs, in whatever order or form they were written.

        Only the sources of a select node have an order that means something: that of its output. What has its
        default takes no part, so that a member which later versions add changes no hash.
        """
        return _hash_of(json.encode(self))

    @property
    def undoes(self) -> bool:
        """Whether a run of it that fails has something to undo."""
        return any(node.has_compensation for node in self.nodes)

    def entry(self) -> tuple[NodeName, ...]:
        """The nodes that the graph's input feeds."""
        return tuple(dict.fromkeys(edge.target for edge in self.edges if edge.source == INPUT))


@lru_cache(maxsize=_HASHES_MOST)
def _hash_of(definition: bytes) -> GraphHash:
    """See `Definition.hash`, which is asked for again and again: working it out costs many times what encoding does."""
    data = json.decode(definition)
    data.pop("takes", None)
    selects = {node["name"] for node in data["nodes"] if node.get("kind") == NodeKind.SELECT}
    place: dict[NodeName, int] = {}
    for edge in data["edges"]:
        if edge["target"] in selects:
            edge["place"] = place[edge["target"]] = place.get(edge["target"], 0) + 1
    data["nodes"] = sorted(data["nodes"], key=lambda node: str(node["name"]))
    data["edges"] = sorted(data["edges"], key=lambda edge: plain_json.dumps(edge, sort_keys=True))
    data["finish"] = sorted(data["finish"])
    text = plain_json.dumps(data, sort_keys=True, separators=(",", ":"))
    return GraphHash(hashlib.sha256(text.encode()).hexdigest()[:16])
