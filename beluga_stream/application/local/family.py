"""One run with all its children and pages: everything about them but how handlers run and where statuses are told.

Synchronous and deterministic: a shell hands in events and the time, and does the effects in their order. The local
shell drives it with tasks, the Temporal shell from a workflow.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from ...domain.commands import (
    AskSlot,
    BroadcastCancel,
    CancelChild,
    Command,
    DispatchNode,
    NotifyParent,
    RetryChild,
    ReturnSlot,
    SignalChild,
    StartChild,
)
from ...domain.definition import NodeKind
from ...domain.draft import Decision
from ...domain.events import CancelRequested, Event, NodeSucceeded, OfAttempt, RunRequested, TimerFired
from ...domain.frozen import replace
from ...domain.ids import GraphHash, NodeKey, RunId, attempt_key, node_of
from ...domain.payload import Payload
from ...domain.plan import Plan
from ...domain.reducer import overflow, reduce
from ...domain.state import NodeStatus, RunState, Timer, timers
from ...ports.spans import NO_SPANS, Spans
from ..coordinator.carried import Carrying
from ..coordinator.children import child_finished, retry_child, signal_child, start_child
from ..coordinator.rendering import node_ready
from ..messages import NodeReady
from .local_limits import LocalLimits, with_keys

AttemptKey: TypeAlias = tuple[RunId, str]
"""An attempt of one of the runs."""


def attempt_of(what: NodeReady | OfAttempt) -> AttemptKey:
    """The attempt that this is about."""
    return what.run, attempt_key(what.node, what.attempt)


class Stop(NamedTuple):
    """Stop these attempts of a run; without any all of it."""

    run: RunId
    attempts: tuple[str, ...]

    def means(self, attempt: AttemptKey) -> bool:
        """Whether this one is to be stopped."""
        return attempt[0] == self.run and (not self.attempts or attempt[1] in self.attempts)


class Shown(NamedTuple):
    """What others are to be told: a status, or of the root how it ended."""

    state: RunState
    command: Command


class TooLong(NamedTuple):
    """This run has ended with an output that is too long to be handed on: put it away, then call `shorten`."""

    run: RunId
    output: Payload


Effect: TypeAlias = NodeReady | Stop | Shown | TooLong
"""What a shell does: run a handler, stop some, tell, put away."""


class Family:
    """The states of the run `root` and of all that it starts. `plans` are those of its graph and every subgraph.

    `is_long` says which outputs of children are put away first; by default none. `spans` are those of the runs.
    """

    def __init__(
        self,
        root: RunId,
        plans: Mapping[GraphHash, Plan],
        states: Iterable[RunState] = (),
        *,
        is_long: Callable[[RunState, Payload], bool] | None = None,
        spans: Spans = NO_SPANS,
    ) -> None:
        self._is_long = is_long
        self._carrying = Carrying(spans)
        self._root = root
        self._plans = plans
        self._limits = LocalLimits()
        self._timers: list[tuple[int, int, Timer]] = []
        self._numbers = itertools.count()
        self.states: dict[RunId, RunState] = {}
        for state in states:
            self.states[state.run] = state
            self._watch(timers(state))

    @property
    def root(self) -> RunState | None:
        """The run itself, once it has been requested."""
        return self.states.get(self._root)

    @property
    def ended(self) -> bool:
        """Whether the run itself is over."""
        root = self.root
        return root is not None and root.ended

    def next_due_ms(self) -> int | None:
        """When `fire` is due; None while nothing waits for a time."""
        slot = self._limits.next_due_ms()
        if not self._timers:
            return slot
        return self._timers[0][0] if slot is None else min(slot, self._timers[0][0])

    def fire(self, now_ms: int) -> list[Effect]:
        """What the time that has passed leads to."""
        effects: list[Effect] = []
        for granted in self._limits.due(now_ms):
            effects.extend(self.apply(granted, now_ms))
        while self._timers and self._timers[0][0] <= now_ms:
            timer = heapq.heappop(self._timers)[2]
            fired = TimerFired(
                run=timer.run,
                key=str(timer.run),
                at_ms=now_ms,
                node=timer.node,
                attempt=timer.attempt,
                due_ms=timer.due_ms,
            )
            effects.extend(self.apply(fired, now_ms))
        return effects

    def apply(self, event: Event, now_ms: int) -> list[Effect]:
        """Reduce it, and all that it leads to among these runs. The effects come in the order of their decisions."""
        effects: list[Effect] = []
        todo = [event]
        while todo:
            event = todo.pop(0)
            state = self.states.get(event.run)
            known = event if isinstance(event, RunRequested) else state
            plan = None if known is None or known.definition is None else self._plans[known.definition]
            if isinstance(event, RunRequested) and plan is not None:
                event = with_keys(plan, event)
            decision = reduce(plan, state, event)
            if decision is None:
                continue
            self._decided(plan, decision, now_ms, todo, effects)
            if isinstance(event, NodeSucceeded) and plan is not None and _is_pass(plan, decision.state, event.node):
                self._forget(event.run, event.node)
        return effects

    def give_up(self, run: RunId, why: str, now_ms: int) -> list[Effect]:
        """Something of this run has outgrown its bound: it fails, and keeps no values."""
        state = self.states[run]
        assert state.definition is not None, "a run that goes on has a definition"
        plan = self._plans[state.definition]
        effects: list[Effect] = []
        todo: list[Event] = []
        self._decided(plan, overflow(plan, state, why, now_ms), now_ms, todo, effects)
        for event in todo:
            effects.extend(self.apply(event, now_ms))
        return effects

    def shorten(self, run: RunId, output: Payload, now_ms: int) -> list[Effect]:
        """The output of a child that has ended is put away: its parent is told, if it has not gone on without it."""
        if run not in self.states:
            return []
        state = self.states[run] = replace(self.states[run], output=output)
        assert state.parent is not None, "only children are handed on"
        return self.apply(child_finished(state, state.parent, now_ms), now_ms)

    def _decided(
        self, plan: Plan | None, decision: Decision, now_ms: int, todo: list[Event], effects: list[Effect]
    ) -> None:
        self.states[decision.state.run] = decision.state
        self._watch(decision.timers)
        for command in decision.commands:
            self._do(plan, decision.state, command, now_ms, todo, effects)

    def _forget(self, parent: RunId, node: NodeKey) -> None:
        """Nobody wants the runs of this pass any more, nor those that they started: a loop has new ones without end.

        A run comes after the one that started it.
        """
        gone: set[RunId] = set()
        for run, state in self.states.items():
            by = state.parent
            if by is not None and ((by.run, by.node) == (parent, node) or by.run in gone):
                gone.add(run)
        for run in gone:
            del self.states[run]
        self._timers = [watched for watched in self._timers if watched[2].run not in gone]
        heapq.heapify(self._timers)

    def _watch(self, deadlines: Iterable[Timer]) -> None:
        for timer in deadlines:
            heapq.heappush(self._timers, (timer.due_ms, next(self._numbers), timer))

    def _do(
        self,
        plan: Plan | None,
        state: RunState,
        command: Command,
        now_ms: int,
        todo: list[Event],
        effects: list[Effect],
    ) -> None:
        match command:
            case DispatchNode() if plan is not None:
                effects.append(node_ready(plan, state, command, now_ms, self._carrying.of(state)))
            case StartChild() if plan is not None:
                todo.append(start_child(plan, state, command, now_ms, self._carrying.of(state).trace))
            case SignalChild():
                todo.append(signal_child(state, command, now_ms))
            case CancelChild(_, child):
                todo.append(CancelRequested(run=child, key=str(child), at_ms=now_ms))
            case RetryChild():
                todo.append(retry_child(state, command, now_ms))
            case AskSlot() | ReturnSlot() if plan is not None:
                todo.extend(self._limits.told(plan, state, command, now_ms))
            case NotifyParent() if state.parent is not None and state.run != self._root:
                if state.output is not None and self._is_long is not None and self._is_long(state, state.output):
                    effects.append(TooLong(state.run, state.output))
                    return
                todo.append(child_finished(state, state.parent, now_ms))
            case BroadcastCancel(_, attempts):
                effects.append(Stop(state.run, attempts))
            case _:
                effects.append(Shown(state, command))


def _is_pass(plan: Plan, state: RunState, key: NodeKey) -> bool:
    """Whether this is a pass over a graph that is done with: `until` was asked."""
    declared = plan.nodes[node_of(key)]
    if declared.kind is not NodeKind.LOOP or declared.child is None:
        return False
    node = state.nodes.get(key)
    return node is not None and node.status is NodeStatus.SUCCEEDED
