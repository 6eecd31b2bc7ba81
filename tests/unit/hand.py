"""A run that a test plays by hand: it says what workers, clocks and users do, event by event."""

from typing import Any

from beluga_stream.domain.events import Failure, NodeFailed, NodeSucceeded, RetryRequested, SignalReceived, TimerFired
from beluga_stream.domain.ids import Incarnation, NodeKey, RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.plan import Plan
from beluga_stream.domain.state import NodeState, RunState, timers
from tests.unit.graphs import ROOT, SIGNAL
from tests.unit.plays import Play


class Hand(Play):
    """A play whose workers do nothing by themselves: each test says what happens."""

    def _work(self, of: Plan, state: RunState, key: NodeKey, attempt: int) -> None:
        self.dispatched.append((state.run, key, attempt))

    def at(self, key: str) -> NodeState:
        return self.state.nodes[NodeKey(key)]

    def known(self, key: str, run: RunId = ROOT) -> dict[str, Any]:
        attempt = self.runs[run].nodes[NodeKey(key)].attempt
        return {"run": run, "key": run, "at_ms": 0, "node": NodeKey(key), "attempt": attempt}

    def done(self, key: str, value: object = None, run: RunId = ROOT, **more: Any) -> None:
        known = {**self.known(key, run), "incarnation": Incarnation("i"), **more}
        self.deliver(NodeSucceeded(**known, output=Inline(key if value is None else value)))

    def broken(self, key: str, *, retryable: bool = False, run: RunId = ROOT, retry_after_ms: int = 0) -> None:
        known = {**self.known(key, run), "incarnation": Incarnation("i")}
        failure = Failure("boom", "bang", retry_after_ms=retry_after_ms)
        self.deliver(NodeFailed(**known, failure=failure, retryable=retryable))

    def again(self) -> None:
        self.deliver(RetryRequested(run=ROOT, key=ROOT, at_ms=0))

    def fire(self, key: str | None) -> None:
        """Let the state's deadline for this node pass."""
        due = next(timer for timer in timers(self.state) if timer.node == key)
        self.clock = due.due_ms
        event = TimerFired(run=ROOT, key=ROOT, at_ms=0, node=due.node, attempt=due.attempt, due_ms=due.due_ms)
        self.deliver(event)

    def attempts(self) -> list[str]:
        return [f"{key}/{attempt}" for _, key, attempt in self.dispatched]


def hand(of: Plan, **options: Any) -> Hand:
    play = Hand(of, **options)
    play.step()
    return play


def commands(play: Play, kind: type) -> list[Any]:
    return [
        command for decision in play.logs[ROOT].decisions for command in decision.commands if isinstance(command, kind)
    ]


def signalled(sent: str, value: object = None) -> SignalReceived:
    return SignalReceived(
        run=ROOT, key=ROOT, at_ms=0, signal=SIGNAL, id=sent, value=Inline(sent if value is None else value)
    )
