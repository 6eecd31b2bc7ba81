"""Durable graphs in event-driven runs: each is the child of a run of the coordinator's: every run has one owner.

A durable graph that is started on its own is covered: its run is one of a graph of the same name with a single node,
which stands for the durable graph. So it is admitted, listed, signalled and cancelled as every run is.
"""

from .definition import Definition, Edge, Node, NodeKind
from .ids import INPUT, NodeKey, NodeName

WORKFLOW = NodeName(NodeKey("@workflow"))
"""The node of a cover. What the durable graph shows appears in its run's stream as if it were the run's own."""


def cover(durable: Definition) -> Definition:
    """The graph that is run when somebody starts this durable one.

    It is made anew wherever the durable definition is known, and published nowhere. Runs are pinned to its hash, so
    that what it is made of must not change.
    """
    node = Node(WORKFLOW, NodeKind.GRAPH, parameters=("input",), child=durable.hash, child_name=durable.name)
    return Definition(
        name=durable.name,
        nodes=(node,),
        edges=(Edge(INPUT, WORKFLOW, "input"),),
        finish=(WORKFLOW,),
        timeout_ms=durable.timeout_ms,
        input_schema=durable.input_schema,
        output_schema=durable.output_schema,
        limits=durable.limits,
    )


def is_cover(definition: Definition) -> bool:
    """Whether runs of this definition stand for those of a durable graph."""
    return len(definition.nodes) == 1 and definition.nodes[0].name == WORKFLOW
