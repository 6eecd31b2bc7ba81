"""A definition made ready for the reducer: neighbours by node and an order. networkx stays inside.

Built once for each definition; the reducer only looks things up in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from typing import NamedTuple

import networkx

from ..errors import InvalidGraph
from .cover import WORKFLOW, is_cover
from .definition import Definition, Edge, EdgeMode, Join, Node, NodeKind, OnFailure
from .ids import INPUT, NOT_IN_NAMES, GraphHash, NodeKey, NodeName, is_page, node_of
from .limit import Limit
from .misspelt import advice
from .shape import shape_of


class Way(NamedTuple):
    """An edge with what a resolution asks of its target.

    `sources` counts the edges into the target, `need` is how many taken ones are enough (0: all must be
    resolved), and `counts` is whether this one, taken, is a reason to begin.
    """

    edge: Edge
    sources: int
    need: int
    counts: bool


@dataclass(frozen=True)
class Plan:
    """Lookups over one definition. Raises `InvalidGraph` for cycles and unknown or unreachable nodes."""

    definition: Definition
    children: Mapping[GraphHash, "Plan"] = field(default_factory=dict, compare=False, repr=False)
    """Those of the graphs that its nodes start are among them, as soon as they are known."""

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

    def shape(self, name: NodeName) -> str:
        """What the node asks of its function."""
        return shape_of(self.nodes[name], self.incoming[name], self.outgoing[name])

    @cached_property
    def joined(self) -> Mapping[NodeName, tuple[NodeName, ...]]:
        """Of each node in which outputs come together, whose they are."""
        found: dict[NodeName, tuple[NodeName, ...]] = {}
        for name, edges in self.incoming.items():
            sources = [edge.source for edge in edges if edge.source != INPUT and edge.mode is not EdgeMode.STREAM]
            if len(set(sources)) > 1:
                found[name] = tuple(dict.fromkeys(sources))
        return found

    @cached_property
    def into(self) -> Mapping[NodeName, tuple[Way, ...]]:
        """The edges into each node."""
        found: dict[NodeName, tuple[Way, ...]] = {}
        for name, edges in self.incoming.items():
            node = self.nodes[name]
            need = {Join.ALL: 0, Join.FIRST: 1, Join.N_OF: node.count}[node.join]
            only_order = all(edge.mode is EdgeMode.ORDER for edge in edges)
            found[name] = tuple(
                Way(edge, len(edges), need, only_order or edge.mode is not EdgeMode.ORDER) for edge in edges
            )
        return found

    @cached_property
    def ways(self) -> Mapping[NodeName, tuple[Way, ...]]:
        """The edges out of each node, and of the input."""
        found: dict[NodeName, list[Way]] = {name: [] for name in (*self.nodes, INPUT)}
        for name in self.nodes:
            for way in self.into[name]:
                found[way.edge.source].append(way)
        return {name: tuple(ways) for name, ways in found.items()}

    @cached_property
    def readers(self) -> Mapping[NodeName, tuple[Way, ...]]:
        """For each streaming node, the edges whose targets read its chunks while they come."""
        return {
            node.name: live
            for node in self.definition.nodes
            if node.kind is NodeKind.STREAM and (live := tuple(filter(self._is_live, self.ways[node.name])))
        }

    def _is_live(self, way: Way) -> bool:
        target = self.nodes[way.edge.target]
        return (
            way.edge.mode is EdgeMode.STREAM
            and way.edge.branch is None
            and way.need == 0
            and target.kind in (NodeKind.TASK, NodeKind.STREAM, NodeKind.MAP)
        )

    @cached_property
    def width(self) -> int:
        """How often a record of a run may hold one value of its state, at most.

        A node is given it by each of its edges, and its compensation what it gave itself, too. A status that tells of
        the run's end with its last node holds the output twice.
        """
        return 1 + max((len(edges) for edges in self.incoming.values()), default=1)

    @cached_property
    def choosers(self) -> frozenset[NodeName]:
        """The nodes whose workers say which branches are taken."""
        return frozenset(edge.source for edge in self.definition.edges if edge.branch is not None)

    @cached_property
    def finish(self) -> frozenset[NodeName]:
        return frozenset(self.definition.finish)

    @cached_property
    def keyed(self) -> tuple[Limit, ...]:
        """The limits that go by a value in the run's input."""
        of_nodes = (limit for node in self.definition.nodes for limit in node.limits)
        return tuple(limit for limit in (*self.definition.limits, *of_nodes) if limit.key is not None)

    @cached_property
    def undoable(self) -> tuple[NodeName, ...]:
        """The nodes that have a compensation."""
        return tuple(name for name in self.order if self.nodes[name].has_compensation)

    @cached_property
    def waits(self) -> Mapping[str, tuple[NodeName, ...]]:
        """For each signal, the nodes that wait for it; one signal wakes one of them."""
        found: dict[str, tuple[NodeName, ...]] = {}
        for name in self.order:
            signal = self.nodes[name].signal
            if signal is not None:
                found[signal] = (*found.get(signal, ()), name)
        return found

    def child(self, name: NodeName) -> "Plan | None":
        """The plan of the graph that a node starts; None when it starts none, or one that is not known here."""
        found = self.nodes[name].child
        return None if found is None else self.children.get(found)

    def starts_durable(self, key: NodeKey) -> bool:
        """Whether the run that an execution starts is durable: a workflow, and no run of the coordinator.

        A page of a map is none: it is a part of its run, whatever its items start.
        """
        child = None if is_page(key) else self.child(node_of(key))
        return child is not None and child.definition.durable

    @property
    def needs_workflows(self) -> bool:
        """Whether a run of it may start a durable one, at any depth."""
        below = [child for name in self.starters if (child := self.child(name)) is not None]
        return any(child.definition.durable or child.needs_workflows for child in below)

    @cached_property
    def starters(self) -> tuple[NodeName, ...]:
        """The nodes that start runs of other graphs."""
        return tuple(node.name for node in self.definition.nodes if node.child is not None)

    def takes(self, signal: str) -> float:
        """How many of these signals the waits of one run may take, with those in its subgraphs; inf: nobody can say."""
        most: float = len(self.waits.get(signal, ()))
        for name in self.starters:
            child = self.child(name)
            below = 0.0 if child is None else child.takes(signal)
            passes = self.nodes[name].max_passes if self.nodes[name].kind is NodeKind.LOOP else 1
            most += inf if below and self.nodes[name].kind is NodeKind.MAP else below * passes
        return most

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
        return tuple(name for name in networkx.lexicographical_topological_sort(self._digraph) if name != INPUT)

    @cached_property
    def upstream(self) -> Mapping[NodeName, tuple[NodeName, ...]]:
        """For each `first` and `n_of` join, all that lies before it, nearest first."""
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

    def before(self, name: NodeName) -> frozenset[NodeName]:
        """All that a node comes after, however far."""
        return frozenset(networkx.ancestors(self._digraph, name)) - {INPUT}

    def after(self, name: NodeName) -> frozenset[NodeName]:
        """All that comes after a node, however far."""
        return frozenset(networkx.descendants(self._digraph, name))

    @cached_property
    def _digraph(self) -> "networkx.DiGraph[NodeName]":
        graph: networkx.DiGraph[NodeName] = networkx.DiGraph()
        graph.add_node(INPUT)
        graph.add_nodes_from(sorted(self.nodes))
        graph.add_edges_from((edge.source, edge.target) for edge in self.definition.edges)
        return graph

    def _check(self) -> None:
        self._check_names()
        self._check_shape()
        for node in self.definition.nodes:
            problem = self._problem(node)
            if problem is not None:
                raise self._invalid(f"node {node.name!r}: {problem}", node.name)

    def _check_names(self) -> None:
        if len(self.nodes) != len(self.definition.nodes):
            names = [node.name for node in self.definition.nodes]
            twice = next(name for name in names if names.count(name) > 1)
            raise self._invalid(f"{twice!r} is declared twice: give one of them another name=", twice)
        for name in self.nodes:
            if name == WORKFLOW and not is_cover(self.definition):
                raise self._invalid(
                    f"a node is named {name!r}, which stands for durable graphs: name it otherwise", name
                )
            if not name or name == INPUT or any(letter in name for letter in NOT_IN_NAMES):
                raise self._invalid(
                    f"a node is named {name!r}: give it another name, "
                    f"since {INPUT!r} is taken and the letters {NOT_IN_NAMES} make keys",
                    name,
                )
        if not self.definition.finish:
            raise self._invalid("it has no finish: call set_finish_point()")
        for edge in self.definition.edges:
            for end, is_known in (
                (edge.source, edge.source in self.nodes or edge.source == INPUT),
                (edge.target, edge.target in self.nodes),
            ):
                if not is_known:
                    raise self._invalid(
                        f"the edge {edge.source!r} -> {edge.target!r} names {end!r}, "
                        f"which is no node: {advice(end, self.nodes, 'add it or mend the name')}",
                        end,
                    )
        for name in self.definition.finish:
            if name not in self.nodes:
                told = advice(name, self.nodes, "add it or mend the name")
                raise self._invalid(f"the finish point {name!r} is no node: {told}", name)

    def _check_shape(self) -> None:
        if not networkx.is_directed_acyclic_graph(self._digraph):
            cycle = [source for source, _ in networkx.find_cycle(self._digraph)]
            told = f"it has a cycle that is not declared: {' -> '.join(cycle)}: use add_loop() for it"
            raise self._invalid(told, cycle[0])
        reached = networkx.descendants(self._digraph, INPUT)
        for name in self.nodes:
            if name not in reached:
                raise self._invalid(
                    f"node {name!r} is not reachable from the input: add an edge into it, or make it an entry point",
                    name,
                )

    def _problem(self, node: Node) -> str | None:
        """What is wrong with the node by itself, and the fix."""
        data = sum(edge.mode is not EdgeMode.ORDER for edge in self.incoming[node.name])
        match node.kind:
            case NodeKind.MAP if data == 0:
                return "a map needs a list to go over: give it an edge that carries one"
            case NodeKind.MAP if node.max_parallel < 1:
                return f"max_parallel is {node.max_parallel}: at least 1 item must be able to run"
            case NodeKind.LOOP if node.max_passes < 1:
                return f"max_passes is {node.max_passes}: at least 1 pass must be able to run"
            case NodeKind.GRAPH if node.child is None:
                return "it stands for another graph and names none: set its child"
            case NodeKind.WAIT if node.signal is None:
                return "it waits for no signal: name one"
            case _:
                pass
        if node.join is Join.N_OF and not 1 <= node.count <= data:
            return f"it waits for {node.count} of {data} sources: take a count between 1 and {data}"
        return None

    def _invalid(self, problem: str, node: str | None = None) -> InvalidGraph:
        graph = self.definition.name
        return InvalidGraph(f"graph {graph!r}: {problem}", graph=graph, node=node)
