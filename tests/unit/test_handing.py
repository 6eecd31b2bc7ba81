"""Signals cross to the waits of child runs: each to one child, and none to a child that has no wait left for it."""

from typing import Any

import pytest

from beluga_stream import Graph, Signal
from beluga_stream.domain.commands import CancelChild, RetryChild, SignalChild, StartChild
from beluga_stream.domain.definition import NodeKind
from beluga_stream.domain.events import (
    ChildFinished,
    Failure,
    NodeSucceeded,
    RetryRequested,
    RunRequested,
    SignalReceived,
)
from beluga_stream.domain.ids import GraphHash, Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.state import RunState
from beluga_stream.errors import InvalidInput
from tests.unit.graphs import edges, node, plan

RUN = RunId("a" * 32)


def known(*plans: Plan) -> Plan:
    """The first plan, which knows the others."""
    found: dict[GraphHash, Plan] = {}
    for each in plans:
        found[each.hash] = Plan(each.definition, found)
    return found[plans[0].hash]


def waiting(title: str = "inner", *, waits: int = 1, **options: Any) -> Plan:
    names = [f"w{number}" for number in range(waits)]
    return plan(
        [node(each, NodeKind.WAIT, signal="go") for each in names],
        edges(" > ".join(["input", *names])),
        names[-1:],
        title,
        **options,
    )


def starting(*children: Plan, kind: NodeKind = NodeKind.GRAPH) -> Plan:
    """A graph that starts these beside each other."""
    names = [f"c{number}" for number in range(len(children))]
    made = plan(
        [
            node(each, kind, child=child.hash, child_name=child.definition.name)
            for each, child in zip(names, children, strict=True)
        ],
        edges(*(f"input > {each}" for each in names)),
        names,
        "outer",
    )
    return known(made, *children)


class Played:
    """A run and what its last event led to."""

    def __init__(self, of: Plan, value: object = 1) -> None:
        self.plan = of
        self.state: RunState | None = None
        self.commands: list[Any] = []
        request = RunRequested(run=RUN, key=RUN, at_ms=0, graph="g", input=Inline(value), digest="d")
        self.play(request)

    def play(self, event: Any) -> "Played":
        decision = reduce(self.plan, self.state, event)
        assert decision is not None
        self.state, self.commands = decision.state, list(decision.commands)
        return self

    def signal(self, number: int, name: str = "go") -> "Played":
        return self.play(SignalReceived(run=RUN, key=RUN, at_ms=0, signal=name, id=str(number), value=Inline(number)))

    def handed(self) -> list[tuple[str, str]]:
        """Which node's child was handed which signal by the last event."""
        return [(each.node, each.signal.id) for each in self.commands if isinstance(each, SignalChild)]

    def kept(self) -> list[str]:
        assert self.state is not None
        return [signal.id for signal in self.state.signals]

    def child(self, name: str) -> RunId:
        assert self.state is not None
        found = self.state.nodes[NodeKey(name)].child
        assert found is not None
        return found

    def ended(self, name: str, status: Any = "succeeded") -> "Played":
        failure = None if status == "succeeded" else Failure("execution_failed", "broken")
        return self.play(
            ChildFinished(
                run=RUN,
                key=RUN,
                at_ms=0,
                node=NodeKey(name),
                child=self.child(name),
                status=status,
                output=Inline(1),
                failure=failure,
                counter=3,
            )
        )


def test_each_signal_goes_to_the_child_that_was_handed_the_fewest() -> None:
    run = Played(starting(waiting("a", waits=2), waiting("b")))
    assert run.signal(1).handed() == [("c0", "1")]
    assert run.signal(2).handed() == [("c1", "2")]
    assert run.signal(3).handed() == [("c0", "3")]
    assert run.signal(4).handed() == []
    assert run.kept() == ["4"], "nobody has a wait left for it"


def test_a_repeated_signal_is_handed_on_once() -> None:
    run = Played(starting(waiting("a", waits=2)))
    assert run.signal(1).handed() == [("c0", "1")]
    assert run.signal(1).handed() == []
    assert run.kept() == []


def test_the_run_s_own_wait_comes_first() -> None:
    inner = waiting()
    made = plan(
        [node("own", NodeKind.WAIT, signal="go"), node("c0", NodeKind.GRAPH, child=inner.hash, child_name="inner")],
        edges("input > own", "input > c0"),
        ["own", "c0"],
    )
    run = Played(known(made, inner))
    assert run.signal(1).handed() == []
    assert run.signal(2).handed() == [("c0", "2")]


def test_a_signal_that_comes_early_is_kept_for_the_child() -> None:
    inner = waiting()
    made = plan(
        [node("first"), node("c0", NodeKind.GRAPH, child=inner.hash, child_name="inner")],
        edges("input > first > c0"),
        ["c0"],
    )
    run = Played(known(made, inner)).signal(1).signal(2)
    assert run.kept() == ["1", "2"]
    run.play(
        NodeSucceeded(
            run=RUN,
            key=RUN,
            at_ms=0,
            node=NodeKey("first"),
            attempt=1,
            incarnation=Incarnation("i"),
            output=Inline(1),
        )
    )
    begun = [type(each) for each in run.commands if isinstance(each, StartChild | SignalChild)]
    assert begun == [StartChild, SignalChild], "the child exists before it is signalled"
    assert run.handed() == [("c0", "1")]
    assert run.kept() == ["2"]


def test_a_signal_that_nobody_listens_for_is_kept() -> None:
    run = Played(starting(waiting()))
    assert run.signal(1, "another").handed() == []
    assert run.kept() == ["1"]


def test_a_child_that_goes_on_may_be_handed_signals_again() -> None:
    run = Played(starting(waiting()))
    run.signal(1)
    assert run.signal(2).kept() == ["2"]
    run.ended("c0", "failed")
    run.play(RetryRequested(run=RUN, key=RUN, at_ms=1, id="again"))
    begun = [type(each) for each in run.commands if isinstance(each, RetryChild | SignalChild)]
    assert begun == [RetryChild, SignalChild]
    assert run.handed() == [("c0", "2")]


def test_the_items_of_a_map_share_signals_out() -> None:
    run = Played(starting(waiting(), kind=NodeKind.MAP), [1, 2, 3])
    found = [run.signal(number).handed() for number in range(4)]
    assert found == [[("c0[0]", "0")], [("c0[1]", "1")], [("c0[2]", "2")], []]


def test_the_page_of_a_map_takes_any_number() -> None:
    run = Played(starting(waiting(), kind=NodeKind.MAP), list(range(65)))
    handed = [run.signal(number).handed()[0][0] for number in range(70)]
    assert set(handed) == {"c0[0:64]"}, "one page is under way at a time"


def test_how_many_signals_a_graph_takes() -> None:
    inner = waiting(waits=2)
    middle = known(starting(inner, inner), inner)
    assert middle.takes("go") == 4
    assert middle.takes("another") == 0
    assert starting(inner, kind=NodeKind.MAP).takes("go") == float("inf")


def test_what_is_withdrawn_is_signalled_to_nobody() -> None:
    inner = waiting()
    made = plan(
        [
            node("c0", NodeKind.GRAPH, child=inner.hash, child_name="inner"),
            node("over", NodeKind.MAP),
        ],
        edges("input > c0", "input > over"),
        ["c0", "over"],
    )
    run = Played(known(made, inner), {"no": "list"})
    assert run.state is not None
    assert run.state.status == "failed"
    assert not [each for each in run.commands if isinstance(each, StartChild | SignalChild | CancelChild)]


def test_a_durable_child_lives_on_its_parents_partition() -> None:
    run = Played(starting(waiting(durable=True), waiting("plain")))
    assert run.child("c0") == f"{RUN}.c0"
    assert "." not in run.child("c1")


approval = Signal("approval", int)


async def ask(value: int) -> int:
    return value


async def add(value: int, more: int) -> int:
    return value + more


def graph(name: str, *, durable: bool) -> Graph[int, int]:
    made = Graph[int, int](name, durable=durable)
    asked = made.add_node(ask, made.input)
    made.set_finish_point(made.add_node(add, asked, made.wait(approval, after=asked, timeout=60)))
    return made


@pytest.mark.parametrize("durable", [False, True])
async def test_here_too_a_signal_reaches_the_wait_of_a_subgraph(durable: bool) -> None:  # noqa: FBT001 - a case
    outer = Graph[int, int]("outer")
    outer.set_finish_point(outer.add_node(graph("inner", durable=durable), outer.input, name="sub"))
    assert await outer.invoke(2, signals={approval: 40}) == 42
    with pytest.raises(InvalidInput, match="waits for 'approval'"):
        await outer.invoke(2, signals={Signal("aproval", int): 40})
