"""What must hold of every state of a run, and of every decision: told apart from the reducer, by other means."""

from collections import Counter

from beluga_stream.domain.commands import (
    DispatchNode,
    PublishNode,
    PublishRun,
    RetryChild,
    ReturnSlot,
    StartChild,
)
from beluga_stream.domain.definition import Edge, EdgeMode, Join, Node, NodeKind
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    Event,
    SlotGranted,
)
from beluga_stream.domain.ids import (
    INPUT,
    NodeKey,
    is_feed,
    is_undo,
    node_of,
)
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.state import NODE_ENDED, NodeState, NodeStatus, RunState, RunStatus
from beluga_stream.domain.transitions import TABLE

AT_WORK = frozenset({NodeStatus.READY, NodeStatus.RUNNING, NodeStatus.BACKOFF, NodeStatus.PARKED})


def answer(state: RunState, event: Event, given: Decision) -> Decision:
    """What is no news is answered with nothing; but who has no use for a slot gives it back."""
    if isinstance(event, SlotGranted) and given.commands:
        return Decision(state, (ReturnSlot(event.limit, event.node, event.number),))
    return Decision(state)


def check_counters(before: RunState | None, decision: Decision) -> None:
    shown = [command.counter for command in decision.commands if isinstance(command, PublishNode | PublishRun)]
    last = 0 if before is None else before.counter
    assert shown == list(range(last + 1, last + 1 + len(shown))), "statuses are not numbered in a line"
    assert decision.state.counter == last + len(shown)


def check_slots(of: Plan, state: RunState) -> None:
    """Who is at work has the slots of its limits; who has ended has none."""
    for key, found in state.nodes.items():
        limits = of.nodes[node_of(key)].limits
        if found.status is NodeStatus.LIMITED:
            assert found.slot == found.attempt
            assert found.limit is not None
        else:
            assert found.limit is None
        if found.status in AT_WORK and not (is_undo(key) or is_feed(key) or found.fallback):
            assert (found.slot > 0) is bool(limits)
        if found.status in NODE_ENDED:
            assert found.slot == 0
    limited = state.status is RunStatus.LIMITED
    assert limited is (state.limit is not None)
    assert (state.slot > 0) is (bool(of.definition.limits) and state.page is None and not state.ended)


def check_dispatches(of: Plan, before: RunState | None, decision: Decision) -> None:
    state = decision.state
    for command in decision.commands:
        if not isinstance(command, DispatchNode | StartChild | RetryChild):
            continue
        undo = is_undo(command.node)
        assert state.status is (RunStatus.COMPENSATING if undo else RunStatus.RUNNING)
        if isinstance(command, DispatchNode):
            assert state.nodes[command.node].status is NodeStatus.READY
            assert state.nodes[command.node].attempt == command.attempt
        if before is not None and command.node in before.nodes:
            assert before.nodes[command.node].status is not NodeStatus.SUCCEEDED, "a done node runs again"
        if not undo and state.page is None:
            declared = of.nodes[node_of(command.node)]
            assert allows(of, state, declared), f"{command.node} is dispatched before its inputs"


def check_moves(before: RunState | None, event: Event, state: RunState) -> None:
    key = getattr(event, "node", None)
    if before is None or key is None or key not in before.nodes or before.nodes[key] == state.nodes.get(key):
        return
    transition = TABLE.get((before.nodes[key].status, type(event)))  # type: ignore[arg-type]
    assert transition is not None
    after = state.nodes[key].status
    # The run may end in the same event, and stop what it just moved.
    assert after in transition.leads_to or (after is NodeStatus.CANCELLED and state.status != before.status)


def check_superfluous(of: Plan, before: RunState | None, state: RunState) -> None:
    """When a join has begun with enough, nothing runs on that only it had waited for."""

    def status(found: RunState | None, key: NodeKey) -> NodeStatus:
        return found.nodes[key].status if found is not None and key in found.nodes else NodeStatus.PENDING

    for join in of.upstream:
        idle = (NodeStatus.PENDING, NodeStatus.SKIPPED, NodeStatus.CANCELLED)
        if status(before, join) is not NodeStatus.PENDING or status(state, join) in idle:
            continue
        for source in of.upstream[join]:
            if status(state, source) not in NODE_ENDED and source not in of.finish:
                assert any(
                    status(state, target) is NodeStatus.PENDING
                    or (of.nodes[target].join is Join.ALL and status(state, target) not in NODE_ENDED)
                    for target in of.targets[source]
                ), f"{source} runs on, though {join} has begun"


def check_counts(of: Plan, state: RunState) -> None:
    names = [state.page.node] if state.page is not None else list(of.nodes)
    found = [state.nodes.get(each) for each in names]
    assert state.active == sum(each is None or each.status not in NODE_ENDED for each in found)
    parallel = Counter(
        node_of(key)
        for key, each in state.nodes.items()
        if key not in of.nodes
        and not is_feed(key)
        and (each.status in AT_WORK or each.status in (NodeStatus.WAITING, NodeStatus.LIMITED))
    )
    going = state.status is RunStatus.RUNNING
    for declared in of.definition.nodes:
        whole = state.nodes.get(declared.name)
        if declared.kind is NodeKind.MAP and whole is not None and going:
            assert parallel[declared.name] <= declared.max_parallel
            if whole.status is NodeStatus.WAITING:
                assert parallel[declared.name] == whole.open
                assert whole.open > 0 or is_fed(state, declared)
        if whole is not None and whole.status is NodeStatus.PENDING and going:
            ways = resolved(of, state, declared)
            assert whole.open == len(of.incoming[declared.name]) - len(ways), f"{declared.name} miscounts"
            assert whole.total == sum(counting for _, counting in ways)


def is_fed(state: RunState, declared: Node) -> bool:
    """Whether chunks of a stream are awaited for a page of the map."""
    return any(
        is_feed(key) and node_of(key) == declared.name and each.status in AT_WORK for key, each in state.nodes.items()
    )


def resolved(of: Plan, state: RunState, declared: Node) -> list[tuple[Edge, bool]]:
    """The edges into a node whose sources have ended, and whether each is a reason to begin: told anew."""
    only_order = all(wire.mode is EdgeMode.ORDER for wire in of.incoming[declared.name])
    found: list[tuple[Edge, bool]] = []
    for wire in of.incoming[declared.name]:
        source = state.nodes.get(wire.source)
        if wire.source == INPUT:
            taken = True
        elif source is None or source.status not in NODE_ENDED:
            if not is_read_live(of, source, wire):
                continue
            taken = True
        elif source.status is NodeStatus.SUCCEEDED:
            taken = wire.branch is None or wire.branch in source.branches
        else:
            taken = wire.mode is EdgeMode.OUTCOME
        found.append((wire, taken and (only_order or wire.mode is not EdgeMode.ORDER)))
    return found


def is_read_live(of: Plan, source: NodeState | None, wire: Edge) -> bool:
    """Whether the edge reads a stream that has begun and not ended."""
    if source is None or source.stream is None or wire.mode is not EdgeMode.STREAM:
        return False
    target = of.nodes[wire.target]
    reading = (NodeKind.TASK, NodeKind.STREAM, NodeKind.MAP)
    live = of.nodes[wire.source].kind is NodeKind.STREAM and target.kind in reading
    return live and target.join is Join.ALL


def allows(of: Plan, state: RunState, declared: Node) -> bool:
    """Whether its edges let the node run."""
    ways = resolved(of, state, declared)
    taken = sum(counting for _, counting in ways)
    if declared.join is Join.FIRST:
        return taken >= 1
    if declared.join is Join.N_OF:
        return taken >= declared.count
    return len(ways) == len(of.incoming[declared.name]) and taken > 0
