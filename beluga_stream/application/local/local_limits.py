"""Limits in the local shell: those of one invocation, with its child runs and maps."""

from collections.abc import Sequence

from ...domain.commands import AskSlot, ReturnSlot
from ...domain.events import LimitDue, LimitEvent, RunRequested, SlotGranted, SlotReturned
from ...domain.frozen import replace
from ...domain.limit import keys_of
from ...domain.payload import Gathered, Inline, Json, Payload
from ...domain.plan import Plan
from ...domain.state import RunState
from ..coordinator.limits import Limits
from ..coordinator.rendering import slot_wanted


class LocalLimits:
    """See the module. What is given out is returned at once."""

    def __init__(self) -> None:
        self._limits = Limits()

    def told(self, plan: Plan, state: RunState, command: AskSlot | ReturnSlot, now_ms: int) -> Sequence[SlotGranted]:
        """A run of the invocation asks for a slot, or gives one back."""
        if isinstance(command, AskSlot):
            return self._apply(slot_wanted(plan, state, command, now_ms), now_ms)
        return self._apply(
            SlotReturned(key=command.limit, at_ms=now_ms, run=state.run, node=command.node, number=command.number),
            now_ms,
        )

    def next_due_ms(self) -> int | None:
        """When `due` gives more."""
        return self._limits.next_due_ms()

    def due(self, now_ms: int) -> list[SlotGranted]:
        """What time allows to be given out."""
        found: list[SlotGranted] = []
        for limit in self._limits.take_due(now_ms):
            found.extend(self._apply(LimitDue(key=limit, at_ms=now_ms), now_ms))
        return found

    def _apply(self, event: LimitEvent, now_ms: int) -> Sequence[SlotGranted]:
        granted = self._limits.apply(event, 0, now_ms)
        self._limits.rows.clear()  # nothing is kept
        return granted


def with_keys(plan: Plan, event: RunRequested) -> RunRequested:
    """A request that tells by which values of its input its limits go; a page is told by its parent."""
    if event.page is not None or not plan.keyed:
        return event
    return replace(event, keys=keys_of(plan.keyed, _value(event.input)))


def _value(payload: Payload) -> Json:
    """A local payload's value as far as a path may lead: lists are no part of it."""
    match payload:
        case Inline(value):
            return value
        case Gathered(items, names) if names is not None:
            return {name: _value(item) for name, item in zip(names, items, strict=True)}
        case _:
            return None
