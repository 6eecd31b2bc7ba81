"""How runs and nodes come to the slots of their limits: asked for one after another, and then they begin.

A node asks before its first attempt and keeps its slots until it has ended: while it is retried, leased anew or parked,
it still has them. A run asks before it begins and keeps its slots until it has ended, compensations included. They are
given back where a node or run ends, by `Draft`.
"""

from .commands import AskSlot, DispatchNode, ReturnSlot
from .draft import Decision, Draft
from .events import Failure, SlotGranted
from .frozen import replace
from .ids import NodeKey, is_feed, is_undo, node_of
from .limit import limit_ids, limit_of, value_of
from .plan import Plan
from .state import NodeStatus, RunState, RunStatus, Timer


def must_ask(draft: Draft, key: NodeKey) -> bool:
    """Whether the node has limits and no slots yet. Neither a compensation nor a reading for a map needs any."""
    has_limits = bool(draft.plan.nodes[node_of(key)].limits)
    return has_limits and draft.node(key).slot == 0 and not (is_undo(key) or is_feed(key))


def ask(draft: Draft, key: NodeKey, *, tries: int, failure: Failure | None) -> None:
    """Let the node wait for its slots; its attempt begins when it has them."""
    limits = draft.plan.nodes[node_of(key)].limits
    attempt = draft.node(key).attempt + 1
    first = limit_ids(limits, draft.before.keys)[0]
    draft.move(
        key,
        NodeStatus.LIMITED,
        attempt=attempt,
        tries=tries,
        incarnation=None,
        worker=None,
        stream=None,
        failure=failure,
        fallback=False,
        child=None,
        losses=0,
        slot=attempt,
        limit=first,
        due_ms=draft.at_ms + min(limit.wait_ms for limit in limits),
    )
    draft.commands.append(AskSlot(first, key, attempt))


def granted(draft: Draft, key: NodeKey) -> None:
    """The node has the slot that it waits for: it asks for the next, or begins."""
    node = draft.node(key)
    ids = limit_ids(draft.plan.nodes[node_of(key)].limits, draft.before.keys)
    left = ids[ids.index(node.limit) + 1 :] if node.limit is not None else []
    if left:
        draft.keep(key, replace(node, limit=left[0]))
        draft.commands.append(AskSlot(left[0], key, node.slot))
        return
    draft.move(key, NodeStatus.READY, limit=None)
    draft.commands.append(DispatchNode(key, node.attempt))


def ask_for_run(draft: Draft) -> None:
    """Let the run wait for its slots; it begins, or goes on, when it has them. Its timeout begins then, too."""
    draft.announce(RunStatus.LIMITED)
    draft.slot = draft.counter
    draft.limit = limit_ids(draft.plan.definition.limits, draft.before.keys)[0]
    draft.due_ms = draft.at_ms + patience_ms(draft.plan, draft.before)
    draft.timers.append(Timer(draft.due_ms, draft.run, None, 0))
    draft.commands.append(AskSlot(draft.limit, None, draft.slot))


def patience_ms(plan: Plan, state: RunState) -> int:
    """How long the run waits for its slots at most: nobody waits longer for it than it is allowed by who started it."""
    longest = min(limit.wait_ms for limit in plan.definition.limits)
    return longest if state.timeout_ms is None else min(longest, state.timeout_ms)


def granted_to_run(draft: Draft) -> bool:
    """The run has the slot that it waits for. Whether that was the last."""
    ids = limit_ids(draft.plan.definition.limits, draft.before.keys)
    left = ids[ids.index(draft.limit) + 1 :] if draft.limit is not None else []
    draft.limit = left[0] if left else None
    if draft.limit is not None:
        draft.commands.append(AskSlot(draft.limit, None, draft.slot))
    return draft.limit is None


def awaits(state: RunState, event: SlotGranted) -> bool:
    """Whether the run or its node waits for just this slot."""
    if state.ended:
        return False
    if event.node is None:
        return state.status is RunStatus.LIMITED and (state.slot, state.limit) == (event.number, event.limit)
    node = state.nodes.get(event.node)
    return node is not None and (node.slot, node.limit) == (event.number, event.limit)


def unwanted(plan: Plan | None, state: RunState, event: SlotGranted) -> Decision:
    """The answer to a slot that is not waited for: nothing when it is held already, else it goes back."""
    if plan is not None and _holds(plan, state, event):
        return Decision(state)
    return Decision(state, (ReturnSlot(event.limit, event.node, event.number),))


def told(plan: Plan, state: RunState, key: NodeKey | None) -> str:
    """The limit that a run or node waits for, in words."""
    found = state.limit if key is None else state.nodes[key].limit
    limits = plan.definition.limits if key is None else plan.nodes[node_of(key)].limits
    assert found is not None, "who is limited waits for a limit"
    limit = limit_of(limits, state.keys, found)
    value = value_of(limit, state.keys)
    return f"a slot of limit {limit.name!r}" + (f" for {limit.key} {value}" if limit.key is not None else "")


def _holds(plan: Plan, state: RunState, event: SlotGranted) -> bool:
    if state.ended:
        return False
    if event.node is None:
        number, awaited, limits = state.slot, state.limit, plan.definition.limits
    else:
        node = state.nodes.get(event.node)
        if node is None:
            return False
        number, awaited, limits = node.slot, node.limit, plan.nodes[node_of(event.node)].limits
    if number != event.number:
        return False
    ids = limit_ids(limits, state.keys)
    return event.limit in (ids if awaited is None else ids[: ids.index(awaited)])
