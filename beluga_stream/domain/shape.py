"""What a node asks of its function: two nodes of one shape can be done by the same code.

A run keeps the definition that it began with, and code is whatever is deployed. So the definition that is deployed may
be a later one, in which other nodes have come and gone; a node that asks the same in both is done by what is deployed.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .definition import Edge, EdgeMode, Node, NodeKind

_LETTERS = 16
_KEPT = 4_096


def shape_of(node: Node, incoming: Sequence[Edge], outgoing: Sequence[Edge]) -> str:
    """A hash of the node's kind and parameters, how edges feed these, and where its conditions lead.

    Conditions are known by their numbers, which another edge may change: only the same ones to the same targets are
    sure to be asked by the same functions. How often, how long and where the node is run has no part in it.
    """
    fed = sorted({(edge.into, edge.mode) for edge in incoming if edge.into and edge.mode is not EdgeMode.ORDER})
    asked = sorted(
        (edge.branch, edge.target, edge.into or "", edge.mode) for edge in outgoing if edge.branch is not None
    )
    # A loop over a graph asks its function only whether a pass was the last.
    is_asked = node.kind is NodeKind.LOOP and node.child is not None
    kind = f"{node.kind} over a graph" if is_asked else node.kind
    return _hash_of(kind, node.parameters, node.resume, tuple(fed), tuple(asked))


@lru_cache(maxsize=_KEPT)
def _hash_of(*asked: Any) -> str:
    """Nodes of many runs ask the same, and working it out costs many times what looking it up does."""
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:_LETTERS]
