"""Programs with durable graphs in them: random ones, and some whose waits are at every depth."""

import random
from typing import Any

from msgspec.structs import replace

from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.ids import GraphHash, NodeKey, NodeName
from beluga_stream.domain.plan import Plan
from beluga_stream.ports.handlers import Handler, Parameter, Program
from tests.simulation.programs import ANY, random_program
from tests.unit.graphs import edges, node, plan


def with_durables(program: Program, rnd: random.Random, *, root: bool) -> Program:
    """The program with some of its subgraphs durable; with `root` it is durable itself."""
    children: dict[GraphHash, Program] = {}
    renamed: dict[GraphHash, GraphHash] = {}
    for found, child in program.children.items():
        changed = with_durables(child, rnd, root=rnd.random() < 0.7)
        renamed[found] = changed.definition.hash
        children[changed.definition.hash] = changed
    nodes = tuple(
        each if each.child is None else replace(each, child=renamed[each.child]) for each in program.definition.nodes
    )
    definition = replace(program.definition, nodes=nodes, durable=root)
    if root:
        definition = replace(definition, name=f"{definition.name}-durable")
    named = {found: child.definition.name for found, child in children.items()}
    definition = replace(
        definition,
        nodes=tuple(
            each if each.child is None else replace(each, child_name=named[each.child]) for each in definition.nodes
        ),
    )
    return Program(definition, program.handlers, ANY, ANY, children)


def random_durable(seed: int, size: int) -> Program:
    """A random program that is durable, or has durable subgraphs where it has subgraphs."""
    rnd = random.Random(f"{seed}/durable")
    return with_durables(random_program(seed, size), rnd, root=rnd.random() < 0.5)


def waiting(name: str, *, durable: bool, signal: str = "go", waits: int = 1) -> Program:
    """`begin`, then so many waits for the signal in a row, then `end`."""
    names = [f"wait{number}" for number in range(waits)]
    made = plan(
        [node("begin"), *(node(each, NodeKind.WAIT, signal=signal) for each in names), node("end")],
        edges(" > ".join(["input > begin", *names, "end"])),
        ["end"],
        name,
    )
    definition = replace(made.definition, durable=durable, timeout_ms=86_400_000)
    return Program(definition, {_n("begin"): _told("begin"), _n("end"): _told("end")}, ANY, ANY, {})


def around(
    child: Program, name: str, *, kind: NodeKind = NodeKind.GRAPH, durable: bool = False, items: int = 3
) -> Program:
    """A graph whose node `sub` is this one, for each of so many items if it is a map, between two tasks."""
    definition = child.definition
    options: dict[str, Any] = {"child": definition.hash, "child_name": definition.name}
    made = plan(
        [node("before"), node("sub", kind, **options), node("after")],
        edges("input > before > sub > after"),
        ["after"],
        name,
    )
    handlers = {
        _n("before"): _told("before", items=items if kind is NodeKind.MAP else None),
        _n("after"): _told("after"),
    }
    made_definition = replace(made.definition, durable=durable, timeout_ms=86_400_000)
    return Program(made_definition, handlers, ANY, ANY, {definition.hash: child})


def in_a_row(first: Program, second: Program, name: str) -> Program:
    """Two graphs, one after the other."""
    a, b = first.definition, second.definition
    made = plan(
        [
            node("one", NodeKind.GRAPH, child=a.hash, child_name=a.name),
            node("two", NodeKind.GRAPH, child=b.hash, child_name=b.name),
        ],
        edges("input > one > two"),
        ["two"],
        name,
    )
    return Program(replace(made.definition, timeout_ms=86_400_000), {}, ANY, ANY, {a.hash: first, b.hash: second})


def plan_of(program: Program) -> Plan:
    """Its plan, which knows its subgraphs."""
    plans: dict[GraphHash, Plan] = {}

    def learn(found: Program) -> Plan:
        made = plans[found.definition.hash] = Plan(found.definition, plans)
        for child in found.children.values():
            learn(child)
        return made

    return learn(program)


def _told(name: str, *, items: int | None = None) -> Handler:
    async def told(value: Any) -> Any:
        return [name, value] if items is None else [[name, number] for number in range(items)]

    return Handler(told, (Parameter("value", ANY),), ANY)


def _n(name: str) -> NodeName:
    return NodeName(NodeKey(name))
