"""A batch: what the events of one partition lead to, before any of it is written."""

from ...domain.draft import Decision
from ...domain.ids import RunId
from ...domain.plan import Plan
from ...ports.log import Outgoing
from ...ports.spans import Ended
from .partition import RunPartition
from .rendering import Step


class Batch:
    """Decisions by run, and answers to what makes no run."""

    def __init__(self, owned: RunPartition, now_ms: int) -> None:
        self.owned = owned
        self.now_ms = now_ms
        self.decided: dict[RunId, tuple[Plan | None, list[Step]]] = {}
        self.answers: list[Outgoing] = []
        self.ended: list[Ended] = []

    def decide(self, plan: Plan | None, decision: Decision) -> None:
        if decision.commands:
            state = decision.state
            self.decided.setdefault(state.run, (plan, []))[1].append(Step(state, decision.commands))
