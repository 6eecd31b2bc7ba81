"""Names of things. A run id is a hash of what started it: the same event is the same run everywhere."""

import hashlib
from functools import lru_cache
from typing import NewType

RunId = NewType("RunId", str)
"""32 hex digits; a page of a large map appends `.node[start:stop]` to its parent's, a durable graph's run `.node`."""

GraphHash = NewType("GraphHash", str)
"""The hash of a definition: 16 hex digits."""

NodeKey = NewType("NodeKey", str)
"""One execution place in a run: `name`, `name[3]` (map item), `name[0:64]` (page), `name[0:64]#1` (page of a stream),
`name~64` (reads the chunks from the 64th on), `name#2` (loop pass), `name~undo` (compensation)."""

NodeName = NewType("NodeName", NodeKey)
"""A node as the graph declares it: the key of the node itself."""

Incarnation = NewType("Incarnation", str)
"""Random; one for each time a handler really begins. A redelivered attempt has two."""

LimitId = NewType("LimitId", str)
"""A limit for one value of its key: `~limit/` and 32 hex digits. No run's id begins so."""

GatheringId = NewType("GatheringId", str)
"""Events that start one run together: a window of a join for one key, or a batch's key. 32 hex digits."""

INPUT = NodeName(NodeKey("input"))
"""The graph's input, as the source of edges."""


def digest(*parts: str) -> str:
    """A short, stable hash of the parts; their borders count."""
    joined = "\x1f".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=16).hexdigest()


API = "api"
"""The trigger of runs that clients start."""


def run_id(graph: str, trigger: str, identity: str) -> RunId:
    """The id of the run that this identity starts. When it starts is no part of it.

    `identity` is the idempotency key, else CloudEvents source and id, else the event's place and its record's time.
    """
    return RunId(digest("run", graph, trigger, identity))


def gathering_id(graph: str, trigger: str, of: str, window: str = "") -> GatheringId:
    """The id of a trigger's gathering for one value of its key, and in a join for one window."""
    return GatheringId(digest("gathering", graph, trigger, of, window))


def child_run_id(parent: RunId, node: NodeKey) -> RunId:
    """The id of the run that a subgraph node starts."""
    return RunId(digest("child", parent, node))


def near_run_id(parent: RunId, node: NodeKey) -> RunId:
    """The id of a page of a large map, or of the run of a durable graph; they live on their parent's partition."""
    return RunId(f"{parent}.{node}")


def key_of(run: RunId) -> str:
    """The record key of all messages of a run: those that live on their parent's partition have its key."""
    return run.partition(".")[0]


def item_key(node: NodeName, index: int) -> NodeKey:
    return NodeKey(f"{node}[{index}]")


def page_key(node: NodeName, start: int, stop: int) -> NodeKey:
    return NodeKey(f"{node}[{start}:{stop}]")


def stream_page_key(node: NodeName, start: int, stop: int, begun: int) -> NodeKey:
    """A page of a map over a stream. `begun` is the map's attempt that went over it: another stream has other pages."""
    return NodeKey(f"{node}[{start}:{stop}]#{begun}")


def feed_key(node: NodeName, start: int) -> NodeKey:
    """What reads a stream for a map, from this chunk on."""
    return NodeKey(f"{node}~{start}")


def pass_key(node: NodeName, number: int) -> NodeKey:
    return NodeKey(f"{node}#{number}")


def undo_key(node: NodeName) -> NodeKey:
    return NodeKey(f"{node}~undo")


def attempt_key(node: NodeKey, attempt: int) -> str:
    """One attempt of what a run executes, as cancels name it."""
    return f"{node}/{attempt}"


NOT_IN_NAMES = "[]:#~/"
"""Letters that keys, pages and attempts are made with, and names may not hold."""


@lru_cache(1_024)
def node_of(key: NodeKey) -> NodeName:
    """The declared node that a key belongs to. Remembered: a step asks four times, mostly of the same few."""
    for mark in "[#~":
        name, found, _ = key.partition(mark)
        if found:
            return NodeName(NodeKey(name))
    return NodeName(key)


def is_page(key: NodeKey) -> bool:
    """Whether the key is that of a page of a large map."""
    return ":" in key


def is_feed(key: NodeKey) -> bool:
    """Whether the key is that of a reading of a stream for a map."""
    return "~" in key and not is_undo(key)


def is_undo(key: NodeKey) -> bool:
    """Whether the key is that of a compensation."""
    return key.endswith("~undo")


def index_of(key: NodeKey) -> int:
    """The index of a map item's key, the number of a loop pass, or the first chunk that is read for a map."""
    if is_feed(key):
        return int(key[key.rindex("~") + 1 :])
    return int(key[key.rindex("[") + 1 : -1] if key.endswith("]") else key[key.rindex("#") + 1 :])


def bounds_of(key: NodeKey) -> tuple[int, int]:
    """The first item of a page, and that after its last."""
    start, _, stop = key[key.rindex("[") + 1 : key.rindex("]")].partition(":")
    return int(start), int(stop)
