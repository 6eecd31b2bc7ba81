"""Graphs for the eye: a tree on the terminal, a flowchart in Mermaid; from the deployment here or on the broker."""

from collections.abc import Iterable
from typing import Any

from rich.text import Text
from rich.tree import Tree

from ..adapters.kafka.reader import KafkaReader
from ..application.catalog import Catalog
from ..bootstrap import deployment
from ..bootstrap.connection import kafka, topics
from ..bootstrap.topic_files import load_topics
from ..domain.definition import Definition, Edge, EdgeMode, Join, Node, NodeKind
from ..domain.ids import INPUT, NodeName
from ..domain.misspelt import instead
from ..domain.plan import Plan
from ..errors import NotFound
from ..ports.handlers import Trigger
from .aside import aside
from .screen import OK, WARN, console, counted, duration, print_json, table
from .values import settings_with

_SHAPES = {
    NodeKind.STREAM: ("([", "])"),
    NodeKind.MAP: ("[[", "]]"),
    NodeKind.SELECT: ("{", "}"),
    NodeKind.WAIT: ("{{", "}}"),
    NodeKind.SLEEP: ("{{", "}}"),
    NodeKind.GRAPH: ("[/", "/]"),
}


async def list_graphs(*, agents: str | None, broker: str | None, as_json: bool) -> None:
    """Every graph by name, with its hash and what starts it."""
    plans, triggers = await _plans(agents, broker)
    if as_json:
        print_json([_summary(plan, triggers) for plan in plans])
        return
    shown = table("graph", "hash", ">nodes", "started by")
    for plan in plans:
        told = _summary(plan, triggers)
        shown.add_row(told["graph"], told["hash"], str(len(told["nodes"])), ", ".join(told["triggers"]))
    console.print(shown)


async def show_graph(name: str, *, mermaid: bool, agents: str | None, broker: str | None, as_json: bool) -> None:
    """One graph as a tree, as Mermaid, or as JSON."""
    plans, triggers = await _plans(agents, broker)
    plan = next((plan for plan in plans if plan.definition.name == name), None)
    if plan is None:
        known = [plan.definition.name for plan in plans]
        raise NotFound(f"there is no graph {name!r}: {instead(name, known)}", graph=name)
    if as_json:
        print_json(_summary(plan, triggers) | {"mermaid": mermaid_of(plan)})
    elif mermaid:
        console.print(mermaid_of(plan), soft_wrap=True)
    else:
        started = ", ".join(_summary(plan, triggers)["triggers"])
        console.print(tree_of(plan))
        console.print(f"started by {started or 'clients only'}", style="dim")


async def validate(*, agents: str | None, topics_folder: str | None, as_json: bool) -> None:
    """Load everything that is deployed, as a worker does. Raises `InvalidDeployment` naming file and line."""
    settings = settings_with(agents=agents, topics=topics_folder)
    loaded = await aside(deployment.load_of, settings)
    declared = {spec.name for spec in load_topics(settings)}
    listened = {topic for trigger in loaded.triggers for topic in trigger.sources}
    undeclared = sorted(listened - declared)
    cut = [(each, node) for _, work in sorted(loaded.works.items()) for each, node in _cut(work.compile().definition)]
    if as_json:
        cut_short = [f"{definition.name}/{node.name}" for definition, node in cut]
        told = {"graphs": sorted(loaded.works), "topics": sorted(declared), "undeclared": undeclared}
        print_json(told | {"cut_short": cut_short})
        return
    for name, work in sorted(loaded.works.items()):
        console.print(OK, name, Text(f" {counted(len(work.compile().definition.nodes), 'node')}", style="dim"))
    for definition, node in cut:
        console.print(
            WARN,
            f"{node.name} of {definition.name} may take {duration(node.timeout_ms)}, and a run of that graph fails "
            f"after {duration(definition.timeout_ms)}: give Graph({definition.name!r}, timeout=...)",
        )
    for name in undeclared:
        console.print(WARN, f"topic {name} starts a graph and is not declared in {settings.topics}")
    if not loaded.works:
        console.print(WARN, f"{settings.agents} has no graphs: each is a variable at the top of one of its files")


def _cut(definition: Definition) -> list[tuple[Definition, Node]]:
    """The waits and pauses of a graph that its runs do not live to see the end of."""
    return [
        (definition, node)
        for node in definition.nodes
        if node.kind in (NodeKind.WAIT, NodeKind.SLEEP) and (node.timeout_ms or 0) >= definition.timeout_ms
    ]


def tree_of(plan: Plan) -> Tree:
    """Every node once, under the last of those it waits for; the others are named beside it."""
    title = Text.assemble((plan.definition.name, "bold"), (f"  {plan.hash}", "dim"))
    root = Tree(title, guide_style="dim")
    branches: dict[NodeName, Tree] = {INPUT: root}
    depth: dict[NodeName, int] = {INPUT: 0}
    for name in plan.order:
        edges = plan.incoming[name]
        last = max(edges, key=lambda edge: (depth[edge.source], edge.source))
        depth[name] = depth[last.source] + 1
        also = list(dict.fromkeys(edge.source for edge in edges if edge.source != last.source))
        branches[name] = branches[last.source].add(_label(plan, plan.nodes[name], last, also))
    return root


def mermaid_of(plan: Plan) -> str:
    """The graph as a Mermaid flowchart."""
    ids = {INPUT: "input_", **{name: f"n{number}" for number, name in enumerate(plan.order)}}
    lines = ["flowchart TD", "    input_((input))"]
    for name in plan.order:
        opened, closed = _SHAPES.get(plan.nodes[name].kind, ("[", "]"))
        lines.append(f'    {ids[name]}{opened}"{name}"{closed}')
    for edge in plan.definition.edges:
        label = _edge(edge)
        arrow = "-.->" if edge.mode in (EdgeMode.ORDER, EdgeMode.STREAM) else "-->"
        lines.append(f"    {ids[edge.source]} {arrow}{f'|{label}|' if label else ''} {ids[edge.target]}")
    lines += [f"    {ids[name]} --> output_((output))" for name in plan.definition.finish]
    return "\n".join(lines)


def _label(plan: Plan, node: Node, edge: Edge, also: Iterable[str]) -> Text:
    label = Text.assemble(node.name)
    if node.kind is not NodeKind.TASK:
        label.append(f" {node.kind}", "cyan")
    if node.join is not Join.ALL:
        label.append(f" {node.join}", "magenta")
    if told := _edge(edge):
        label.append(f"  ({told})", "dim")
    if others := ", ".join(also):
        label.append(f"  + {others}", "dim")
    if node.name in plan.finish:
        label.append("  ◼ result", "green")
    return label


def _edge(edge: Edge) -> str:
    told = [] if edge.mode is EdgeMode.VALUE else [str(edge.mode)]
    return " ".join([*told, *([] if edge.branch is None else [f"case {edge.branch}"])])


async def _plans(agents: str | None, broker: str | None) -> tuple[list[Plan], list[Trigger]]:
    """What is deployed here, or with a broker what was published there."""
    settings = settings_with(agents=agents, broker=broker)
    if broker is None:
        loaded = await aside(deployment.load_of, settings)
        found = [Plan(work.compile().definition) for work in loaded.works.values()]
        return sorted(found, key=_name), list(loaded.triggers)
    async with KafkaReader(kafka(settings)) as reader:
        catalog = Catalog(reader, topics(settings))
        await catalog.refresh()
        return sorted(catalog.plans(), key=_name), []


def _name(plan: Plan) -> str:
    return plan.definition.name


def _summary(plan: Plan, triggers: Iterable[Trigger]) -> dict[str, Any]:
    return {
        "graph": plan.definition.name,
        "hash": plan.hash,
        "nodes": [{"name": node.name, "kind": node.kind} for node in plan.definition.nodes],
        "edges": [{"source": edge.source, "target": edge.target} for edge in plan.definition.edges],
        "triggers": [trigger.name for trigger in triggers if trigger.graph == plan.definition.name],
    }
