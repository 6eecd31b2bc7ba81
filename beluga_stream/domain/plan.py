"""A definition made ready for the reducer: neighbours by node and an order. networkx stays inside.

Built once for each definition; the reducer only looks things up in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import networkx

from ..errors import InvalidGraph
from .definition import Definition, Edge, EdgeMode, Join, Node, OnFailure
from .ids import INPUT, GraphHash, NodeName


@dataclass(frozen=True)
class Plan:
    """Lookups over one definition. Raises `InvalidGraph` for cycles and unknown or unreachable nodes."""

    definition: Definition

    def __post_init__(self) -> None:
        self._check()

    @cached_property
    def hash(self) -> GraphHash:
        return self.definition.hash

    @cached_property
    def nodes(self) -> Mapping[NodeName, Node]:
        return {node.name: node for node in self.definition.nodes}

    @cached_property
    def incoming(self) -> Mapping[NodeName, tuple[Edge, ...]]:
        found: dict[NodeName, list[Edge]] = {name: [] for name in self.nodes}
        for edge in self.definition.edges:
            found[edge.target].append(edge)
        return {name: tuple(edges) for name, edges in found.items()}

    @cached_property
    def outgoing(self) -> Mapping[NodeName, tuple[Edge, ...]]:
        found: dict[NodeName, list[Edge]] = {name: [] for name in (*self.nodes, INPUT)}
        for edge in self.definition.edges:
            found[edge.source].append(edge)
        return {name: tuple(edges) for name, edges in found.items()}

    @cached_property
    def targets(self) -> Mapping[NodeName, tuple[NodeName, ...]]:
        """The nodes directly after each node (and after the input), each once."""
        found: dict[NodeName, dict[NodeName, None]] = {name: {} for name in (*self.nodes, INPUT)}
        for edge in self.definition.edges:
            found[edge.source][edge.target] = None
        return {name: tuple(after) for name, after in found.items()}

    @cached_property
    def forgiving(self) -> frozenset[NodeName]:
        """The nodes whose failure does not fail the run: told so, or somebody takes their outcome."""
        return frozenset(
            node.name
            for node in self.definition.nodes
            if node.on_failure is OnFailure.CONTINUE
            or any(edge.mode is EdgeMode.OUTCOME for edge in self.outgoing[node.name])
        )

    @cached_property
    def order(self) -> tuple[NodeName, ...]:
        """Every node after all its sources; ties by name, so that each process orders alike."""
        return tuple(
            name for name in networkx.lexicographical_topological_sort(self._digraph) if name != INPUT
        )

    @cached_property
    def upstream(self) -> Mapping[NodeName, tuple[NodeName, ...]]:
        """For each select node, all that lies before it, nearest first: what it may make superfluous."""
        rank = {name: index for index, name in enumerate(self.order)}
        return {
            node.name: tuple(
                sorted(
                    (name for name in networkx.ancestors(self._digraph, node.name) if name != INPUT),
                    key=rank.__getitem__,
                    reverse=True,
                )
            )
            for node in self.definition.nodes
            if node.join is not Join.ALL
        }

    @cached_property
    def _digraph(self) -> "networkx.DiGraph[NodeName]":
        graph: networkx.DiGraph[NodeName] = networkx.DiGraph()
        graph.add_node(INPUT)
        graph.add_nodes_from(sorted(self.nodes))
        graph.add_edges_from((edge.source, edge.target) for edge in self.definition.edges)
        return graph

    def _check(self) -> None:
        graph = self.definition.name
        if len(self.nodes) != len(self.definition.nodes):
            names = [node.name for node in self.definition.nodes]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InvalidGraph(f"graph {graph!r} declares {twice[0]!r} twice: give one of them another name=")
        if not self.definition.finish:
            raise InvalidGraph(f"graph {graph!r} has no finish: call set_finish_point()", graph=graph)
        for edge in self.definition.edges:
            for end in (edge.source, edge.target):
                if end not in self.nodes and end != INPUT:
                    raise InvalidGraph(
                        f"graph {graph!r}: the edge {edge.source!r} -> {edge.target!r} names {end!r}, "
                        f"which is no node: add it or mend the name",
                        graph=graph,
                        node=end,
                    )
        for name in self.definition.finish:
            if name not in self.nodes:
                raise InvalidGraph(
                    f"graph {graph!r}: the finish point {name!r} is no node: add it or mend the name",
                    graph=graph,
                    node=name,
                )
        if not networkx.is_directed_acyclic_graph(self._digraph):
            cycle = " -> ".join(source for source, _ in networkx.find_cycle(self._digraph))
            raise InvalidGraph(
                f"graph {graph!r} has a cycle that is not declared: {cycle}: use add_loop() for it",
                graph=graph,
                node=cycle.split(" -> ", maxsplit=1)[0],
            )
        reached = networkx.descendants(self._digraph, INPUT)
        for name in self.nodes:
            if name not in reached:
                raise InvalidGraph(
                    f"graph {graph!r}: node {name!r} is not reachable from the input: "
                    f"add an edge into it, or make it an entry point",
                    graph=graph,
                    node=name,
                )
