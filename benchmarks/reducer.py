"""What one event costs in the reducer, on small and large graphs. Run it on an idle machine.

python benchmarks/reducer.py
"""

import gc
import sys
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from beluga_stream.domain.commands import DispatchNode
from beluga_stream.domain.definition import Definition, Edge, Node
from beluga_stream.domain.events import Event, NodeSucceeded, RunRequested
from beluga_stream.domain.ids import INPUT, Incarnation, NodeKey, NodeName, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce

RUN = RunId("r" * 32)
ROUNDS = 7


def name(text: str) -> NodeName:
    return NodeName(NodeKey(text))


def plan_of(pairs: list[tuple[str, str]]) -> Plan:
    """The graph of these edges; its last target is its finish."""
    names = list(dict.fromkeys(target for _, target in pairs))
    nodes = tuple(Node(name(text)) for text in names)
    edges = tuple(Edge(name(source), name(target)) for source, target in pairs)
    return Plan(Definition("benchmark", nodes, edges, (name(names[-1]),)))


def chain(size: int) -> Plan:
    """Each node after the one before."""
    names = [INPUT, *(f"n{number}" for number in range(size))]
    return plan_of(list(pairwise(names)))


def fan(size: int) -> Plan:
    """One node, then all others but the last beside one another, then the last that joins them."""
    middle = [f"m{number}" for number in range(size - 2)]
    out = [("first", text) for text in middle]
    return plan_of([(INPUT, "first"), *out, *((text, "last") for text in middle)])


def layers(size: int) -> Plan:
    """Ten beside one another in each layer, each fed by three of the layer before."""
    pairs: list[tuple[str, str]] = []
    for number in range(size - 1):
        layer, place = divmod(number, 10)
        if layer == 0:
            pairs.append((INPUT, f"n{number}"))
        else:
            pairs += [(f"n{(layer - 1) * 10 + (place + step) % 10}", f"n{number}") for step in range(3)]
    last = range(max(0, (size - 1) // 10 * 10 - 10), size - 1)
    return plan_of([*pairs, *((f"n{number}", "last") for number in last)])


def play(plan: Plan) -> list[Event]:
    """All events of a run in which every node succeeds."""
    first = RunRequested(
        run=RUN, key=RUN, at_ms=1, graph="benchmark", definition=plan.hash, input=Inline(1), digest="d"
    )
    events: list[Event] = [first]
    state = None
    for event in events:
        decision = reduce(plan, state, event)
        assert decision is not None
        state = decision.state
        for command in decision.commands:
            if isinstance(command, DispatchNode):
                events.append(
                    NodeSucceeded(
                        run=RUN,
                        key=RUN,
                        at_ms=len(events),
                        node=command.node,
                        attempt=command.attempt,
                        incarnation=Incarnation("i"),
                        output=Inline(1),
                    )
                )
    assert state is not None
    assert state.ended
    return events


def microseconds(plan: Plan) -> float:
    """The best round's cost of one event."""
    events = play(plan)
    repeat = max(1, 2_000 // len(events))
    best = float("inf")
    gc.disable()
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(repeat):
            state = None
            for event in events:
                decision = reduce(plan, state, event)
                assert decision is not None
                state = decision.state
        best = min(best, (time.perf_counter() - began) / repeat / len(events))
    gc.enable()
    return best * 1e6


def main() -> None:
    print("| graph | 10 nodes | 1000 nodes |   microseconds an event")
    print("|---|---|---|")
    for shape in (chain, fan, layers):
        small, large = microseconds(shape(10)), microseconds(shape(1000))
        print(f"| {shape.__name__} | {small:.1f} | {large:.1f} |")


if __name__ == "__main__":
    main()
