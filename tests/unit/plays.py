"""A driver that plays a run to its end without any shell.

`Play` stands for everything around the reducer: workers, timers, child runs, clients. What it delivers
next, and how handlers behave, a seeded random source decides; after each event it checks what must
hold of every state (`laws.py`).
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.json import Decoder
from msgspec.structs import replace

from beluga_stream.application.coordinator.arguments import arguments_of
from beluga_stream.application.coordinator.children import override_child, page_of
from beluga_stream.application.coordinator.rendering import slot_wanted
from beluga_stream.domain.commands import (
    AskSlot,
    BroadcastCancel,
    CancelChild,
    Command,
    DispatchNode,
    NotifyParent,
    OverrideChild,
    PublishNode,
    PublishRun,
    RejectRun,
    RetryChild,
    ReturnSlot,
    StartChild,
)
from beluga_stream.domain.definition import EdgeMode, NodeKind
from beluga_stream.domain.draft import Decision
from beluga_stream.domain.events import (
    CancelRequested,
    ChildFinished,
    Event,
    Failure,
    LeaseExpired,
    LimitDue,
    LimitEvent,
    NodeFailed,
    NodeOverridden,
    NodeParked,
    NodeReleased,
    NodeStarted,
    NodeStreaming,
    NodeSucceeded,
    Page,
    Parent,
    RetryRequested,
    RunRequested,
    SignalReceived,
    SlotGranted,
    SlotReturned,
    SlotWanted,
    StreamVoid,
    TimerFired,
)
from beluga_stream.domain.ids import (
    Incarnation,
    LimitId,
    NodeKey,
    NodeName,
    RunId,
    index_of,
    is_feed,
    is_page,
    is_undo,
    node_of,
)
from beluga_stream.domain.payload import Inline, Payload
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.reducer import reduce
from beluga_stream.domain.slots import LimitRow, Slots
from beluga_stream.domain.state import NodeStatus, RunState, RunStatus, Timer, timers
from beluga_stream.domain.waiting import waits
from tests.unit.graphs import CHILDREN, ROOT, SIGNAL
from tests.unit.laws import (
    AT_WORK,
    answer,
    check_counters,
    check_counts,
    check_dispatches,
    check_moves,
    check_slots,
    check_superfluous,
)

STATES = Decoder(RunState)
EVENTS: Decoder[Event] = Decoder(Event)
COMMANDS: Decoder[tuple[Command, ...]] = Decoder(tuple[Command, ...])


@dataclass(frozen=True)
class Behaviour:
    """How handlers and the world behave: each figure is the share of executions that it happens to."""

    fails: float = 0.0
    final: float = 0.3  # of the failures, those not worth another attempt
    starts: float = 0.3
    parks: float = 0.0
    dies: float = 0.0  # after it said that it started
    twice: float = 0.0  # a redelivered attempt, which runs twice
    branches: float = 0.7  # that a condition holds
    loops: float = 0.5  # that `until` does not hold yet
    signals: float = 1.0
    lengths: tuple[int, ...] = (0, 1, 3)
    repeats: float = 0.0  # an earlier event given again, after each event
    hurries: float = 0.05  # that a deadline passes before what is on its way comes


CALM = Behaviour(branches=1.0, loops=0.0, starts=0.0)
ROUGH = Behaviour(fails=0.15, final=0.1, parks=0.05, dies=0.1, twice=0.15, signals=0.8, repeats=0.5)

_EXECUTION = 4
"""Run, node, attempt and incarnation: the channel of what one execution says."""

LIMIT = 400
"""Executions after which the world is calm, so that every run can end."""


@dataclass
class Log:
    """What one run went through."""

    plan: Plan
    events: list[Event] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)


class Play:
    """Plays a plan to its end. `state` is the root's; `runs` has its children and pages too."""

    def __init__(
        self,
        root: Plan,
        seed: int = 0,
        behaviour: Behaviour = CALM,
        value: object = (0, 1, 2),
        page: Page | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.behaviour = behaviour
        self.clock = 1_000
        self.runs: dict[RunId, RunState] = {}
        self.logs: dict[RunId, Log] = {}
        self.channels: dict[object, deque[Event | LimitEvent]] = defaultdict(deque)
        self.limits: dict[LimitId, Slots] = {}
        self.limited: list[LimitEvent] = []
        """What the limits were told, to tell them again."""
        self.timers: list[Timer] = []
        self.executions = 0
        self.offset = 0
        self.dispatched: list[tuple[RunId, NodeKey, int]] = []
        self.begun: set[RunId] = set()
        self.lengths: dict[NodeName, int] = {}
        self.hungry: list[tuple[RunId, NodeSucceeded]] = []
        """What feeds a map has read all of a stream whose writer has not ended: it waits for that."""
        self.on_decision: Callable[[RunState | None, Event, Decision], None] = lambda before, event, after: None
        self.ask(
            RunRequested(
                run=ROOT,
                key=ROOT,
                at_ms=self.clock,
                graph=root.definition.name,
                definition=root.hash,
                input=Inline(list(value) if isinstance(value, tuple) else value),
                digest="d",
                page=page,
            ),
            root,
        )

    @property
    def state(self) -> RunState:
        return self.runs[ROOT]

    @property
    def plan(self) -> Plan:
        return self.logs[ROOT].plan

    def ask(self, event: Event, of: Plan | None = None) -> None:
        """Put an event for a run on its way, after those that are."""
        if of is not None:
            self.logs.setdefault(event.run, Log(of))
        self.channels[event.run].append(event)

    def run(self, steps: int = 100_000) -> RunState:
        """Deliver everything, in a random order; what one channel holds stays in order."""
        for _ in range(steps):
            if not self.step():
                return self.state
        raise AssertionError(f"the run does not end: {self.state}")

    def step(self) -> bool:
        """Deliver one event. False when there is none."""
        self._tell_ends()
        short = [timer for timer in self.timers if timer.node is not None]
        if short and self.random.random() < self.behaviour.hurries:
            self._fire(self.timers.index(min(short, key=lambda timer: timer.due_ms)))
        open_channels = [channel for channel, waiting in self.channels.items() if waiting]
        if open_channels:
            channel = self.random.choice(open_channels)
            event = self.channels[channel].popleft()
            if not self.channels[channel]:
                del self.channels[channel]
            if isinstance(event, LimitEvent):
                self._tell(event)
            else:
                self.deliver(event)
            return True
        due = [(at, slots.id) for slots in self.limits.values() if (at := slots.due_ms) is not None]
        if due:
            at, limit = min(due)
            self.clock = max(self.clock, at)
            self._tell(LimitDue(key=limit, at_ms=self.clock))
            return True
        self.timers = [timer for timer in self.timers if timer in set(timers(self.runs[timer.run]))]
        if not self.timers:
            return False
        self._fire(self.timers.index(min(self.timers, key=lambda timer: timer.due_ms)))
        return True

    def deliver(self, event: Event) -> Decision | None:
        before = self.runs.get(event.run)
        self.clock += 1
        event = replace(event, at_ms=self.clock)
        log = self.logs.get(event.run)
        if log is None:
            return None
        decision = reduce(log.plan, before, event)
        if decision is None:
            return None
        log.events.append(event)
        log.decisions.append(decision)
        self._check(log.plan, before, event, decision)
        self.on_decision(before, event, decision)
        assert all(waiting.on != "nothing" for waiting in waits(log.plan, decision.state)), "it waits for nothing"
        self.runs[event.run] = decision.state
        self.timers += decision.timers
        for command in decision.commands:
            self._obey(log.plan, decision.state, command)
        if self.random.random() < self.behaviour.repeats:
            again = self.random.choice(log.events)
            repeated = reduce(log.plan, decision.state, again)
            assert repeated is not None
            assert repeated.state is decision.state, f"{again} again changes {decision.state}"
            assert repeated == answer(decision.state, again, repeated), (
                f"{again} again is answered with {repeated.commands}"
            )
        return decision

    def _tell(self, event: LimitEvent) -> None:
        """Let a limit have an event, and maybe an earlier one again."""
        again = self.random.random() < self.behaviour.repeats / 4
        self.limited.append(event)
        for one in (event, *([self.random.choice(self.limited)] if again else [])):
            slots = self.limits.get(one.key)
            if slots is None and isinstance(one, SlotWanted):
                slots = self.limits[one.key] = Slots(one.key, LimitRow(one.limit, one.value))
            if slots is None:
                continue
            self.clock += 1
            for row in slots.apply(one, self.clock, 0).granted:
                granted = SlotGranted(
                    run=row.run, key=row.reply, at_ms=self.clock, limit=slots.id, node=row.node, number=row.number
                )
                self.channels[row.run, "slots"].append(granted)
            assert slots.row.limit.at_once is None or len(slots.held) <= slots.row.limit.at_once
            if slots.is_over(self.clock):
                del self.limits[one.key]

    def _fire(self, index: int) -> None:
        timer = self.timers.pop(index)
        self.clock = max(self.clock, timer.due_ms)
        run = self.runs[timer.run]
        self.deliver(
            TimerFired(
                run=timer.run,
                key=run.key,
                at_ms=self.clock,
                node=timer.node,
                attempt=timer.attempt,
                due_ms=timer.due_ms,
            )
        )

    def _obey(self, of: Plan, state: RunState, command: Command) -> None:
        match command:
            case DispatchNode(key, attempt):
                self._work(of, state, key, attempt)
            case StartChild(key, child):
                self._start_child(of, state, key, child)
            case RetryChild() | CancelChild() | OverrideChild():
                self._tell_child(state, command)
            case NotifyParent():
                assert state.parent is not None
                assert state.status is not RunStatus.RUNNING
                self.ask(
                    ChildFinished(
                        run=state.parent.run,
                        key=state.parent.key,
                        at_ms=self.clock,
                        node=state.parent.node,
                        child=state.run,
                        status=state.status.value,  # type: ignore[arg-type]
                        output=state.output,
                        failure=state.failure,
                        counter=state.counter,
                        may_go_on=not state.compensated,
                        began=state.parent.began,
                    )
                )
            case AskSlot():
                self.channels["limit", command.limit].append(slot_wanted(of, state, command, self.clock))
            case ReturnSlot(limit, key_or_none, number):
                returned = SlotReturned(key=limit, at_ms=self.clock, run=state.run, node=key_or_none, number=number)
                self.channels["limit", limit].append(returned)
            case BroadcastCancel(_, attempts):
                self._stop(state.run, attempts)
            case PublishNode(key, status, _, _):
                declared = of.nodes[node_of(key)]
                waits = declared.kind is NodeKind.WAIT and status == NodeStatus.WAITING
                if waits and self.random.random() < self.behaviour.signals:
                    self.signal(state.run, f"{key}/{state.counter}", [1, 2])
            case PublishRun() | RejectRun():
                pass

    def _tell_child(self, state: RunState, command: RetryChild | CancelChild | OverrideChild) -> None:
        match command:
            case RetryChild(_, child, request):
                self.ask(RetryRequested(run=child, key=child, at_ms=self.clock, id=f"{state.run}/{request}"))
            case CancelChild(_, child):
                self.ask(CancelRequested(run=child, key=child, at_ms=self.clock))
            case OverrideChild():
                self.ask(override_child(state, command, self.clock))

    def _stop(self, run: RunId, attempts: tuple[str, ...]) -> None:
        """Some workers hear in time that they should stop, and say nothing more."""
        for channel in [key for key in self.channels if isinstance(key, tuple) and len(key) == _EXECUTION]:
            of, key, attempt, _ = channel
            meant = f"{key}/{attempt}" in attempts if attempts else not is_undo(key)
            if of == run and meant and self.random.random() < 0.5:
                del self.channels[channel]

    def signal(self, run: RunId, sent: str, value: object) -> None:
        at: dict[str, Any] = {"run": run, "key": run, "at_ms": self.clock}
        self.ask(SignalReceived(**at, signal=SIGNAL, id=sent, value=Inline(value)))

    def _start_child(self, of: Plan, state: RunState, key: NodeKey, child: RunId) -> None:
        assert child not in self.begun, f"{child} is begun twice"
        self.begun.add(child)
        page = None
        inner = of
        content = Inline(1)
        if is_page(key):
            given_to = arguments_of(of, state, key)[0]
            page = page_of(state, key, given_to.stream)
            content = Inline(list(range(page.stop))) if key.endswith("]") else given_to.payload
        else:
            given = of.nodes[node_of(key)].child
            assert given is not None
            inner = CHILDREN[given]
        request = RunRequested(
            run=child,
            key=state.key if page else child,
            at_ms=self.clock,
            graph=inner.definition.name,
            definition=inner.hash,
            input=content,
            digest="d",
            parent=Parent(state.run, state.key, key),
            page=page,
        )
        self.ask(request, inner)

    def _work(self, of: Plan, state: RunState, key: NodeKey, attempt: int) -> None:
        assert (state.run, key, attempt) not in self.dispatched, f"{key}/{attempt} is dispatched twice"
        self.dispatched.append((state.run, key, attempt))
        self.executions += 1
        calm = self.executions > LIMIT
        chance = self.random.random
        executions = 2 if not calm and chance() < self.behaviour.twice else 1
        for number in range(executions):
            incarnation = Incarnation(f"{state.run[-4:]}/{key}/{attempt}/{number}")
            told = self._execution(of, state, key, attempt, incarnation, calm=calm)
            self.channels[(state.run, key, attempt, incarnation)].extend(told)

    def _execution(
        self, of: Plan, state: RunState, key: NodeKey, attempt: int, incarnation: Incarnation, *, calm: bool
    ) -> list[Event]:
        declared = of.nodes[node_of(key)]
        chance = self.random.random
        like = CALM if calm else self.behaviour
        told: list[Event] = []
        known: dict[str, Any] = {
            "run": state.run,
            "key": state.key,
            "at_ms": 0,
            "node": key,
            "attempt": attempt,
        }
        if chance() < like.parks:
            return [NodeParked(**known)]
        known["incarnation"] = incarnation
        if declared.kind is NodeKind.STREAM and not is_undo(key):
            self.offset += 1
            before = state.nodes[key].stream if declared.resume else None
            resumed = None if before is None else before.incarnation
            if resumed is not None:
                if not incarnation.endswith("/0"):
                    return []  # it hears that another holds the attempt
                told.append(NodeStarted(**known, worker="w"))
            told.append(NodeStreaming(**known, partition=0, offset=self.offset, resumed=resumed))
        if chance() < like.starts:
            if not any(isinstance(each, NodeStarted) for each in told):
                told.insert(self.random.randint(0, len(told)), NodeStarted(**known, worker="w"))
            if chance() < like.dies:
                return [*told, self.random.choice([LeaseExpired, NodeReleased])(**known)]
        if chance() < like.fails:
            retryable = chance() >= like.final
            reads = any(wire.mode is EdgeMode.STREAM for wire in of.incoming[declared.name])
            if chance() < 0.2 and reads and (is_feed(key) or declared.kind is not NodeKind.MAP):
                return [*told, StreamVoid(**known)]
            return [*told, NodeFailed(**known, failure=Failure("boom", "bang"), retryable=retryable)]
        if is_feed(key):
            return self._fed(of, state, key, told, known)
        branches = {wire.branch for wire in of.outgoing[declared.name] if wire.branch is not None}
        taken = tuple(sorted(number for number in branches if chance() < like.branches))
        done = declared.kind is not NodeKind.LOOP or chance() >= like.loops
        resumed = told[-1].resumed if told and isinstance(told[-1], NodeStreaming) else None
        outcome = NodeSucceeded(**known, output=self._output(of, key), branches=taken, done=done, resumed=resumed)
        return [*told, outcome]

    def _fed(self, of: Plan, state: RunState, key: NodeKey, told: list[Event], known: dict[str, Any]) -> list[Event]:
        """Some of the chunks that are left of the page, or when there are none that they are over."""
        assert state.page is not None
        assert state.page.stream is not None
        start = index_of(key)
        length = self.length(NodeName(state.page.stream.node))
        left = min(state.page.stop, length) - start
        if left > 0:
            read = list(range(start, start + self.random.randint(1, left)))
            return [*told, NodeSucceeded(**known, output=Inline(read), done=False)]
        assert state.parent is not None
        self.hungry.append((state.parent.run, NodeSucceeded(**known, output=Inline([]), done=True)))
        return told

    def _tell_ends(self) -> None:
        """What waits for the end of a stream hears of it; of a writer that does not succeed it never does."""
        for waiting in tuple(self.hungry):
            parent, event = waiting
            page = self.runs[event.run].page
            assert page is not None
            assert page.stream is not None
            if self.runs[parent].nodes[page.stream.node].status is NodeStatus.SUCCEEDED:
                self.hungry.remove(waiting)
                self.channels[event.run, event.node, event.attempt, event.incarnation].append(event)

    def length(self, of: NodeName) -> int:
        """How long the list is that the node gives."""
        return self.lengths.setdefault(of, self.random.choice(self.behaviour.lengths))

    def _output(self, of: Plan, key: NodeKey) -> Payload:
        """A map's item gives its index; what feeds a map a list; everything else its key."""
        declared = of.nodes[node_of(key)]
        if declared.kind is NodeKind.MAP:
            return Inline(index_of(key))
        if any(of.nodes[target].kind is NodeKind.MAP for target in of.targets[declared.name]):
            return Inline(list(range(self.length(declared.name))))
        return Inline(key)

    def _check(self, of: Plan, before: RunState | None, event: Event, decision: Decision) -> None:
        """What must hold of every decision."""
        state = decision.state
        marker = before is not None and before.digest == ""  # cancelled before it began
        later = isinstance(event, RetryRequested | SignalReceived) or (marker and isinstance(event, RunRequested))
        if before is not None and before.status is RunStatus.FAILED and isinstance(event, NodeOverridden):
            assert replace(state, overrides=before.overrides) == before, "an override changes what is none"
            assert all(isinstance(command, OverrideChild) for command in decision.commands)
        elif before is not None and before.ended and not later:
            assert decision == answer(before, event, decision), f"{event} after the end is not ignored"
        if decision == Decision(before if before is not None else state):
            return
        check_counters(before, decision)
        check_dispatches(of, before, decision)
        check_moves(before, event, state)
        check_superfluous(of, before, state)
        if not marker:
            check_counts(of, state)
        check_slots(of, state)
        for timer in decision.timers:
            assert timer in set(timers(state)), f"{timer} is no deadline of the state"
        if state.ended:
            assert not list(timers(state))
            assert not [key for key, found in state.nodes.items() if found.status in AT_WORK]
        assert "nothing" not in [waiting.on for waiting in waits(of, state)]
