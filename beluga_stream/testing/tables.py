"""What the tables, and the memories of their owners, may hold: while runs go on, and when all have ended."""

import asyncio
from collections.abc import Iterator, Mapping

from ..adapters.memory.tables import Changelog
from ..application import codec
from ..application.coordinator import limits
from ..application.coordinator.coordinator import Coordinator
from ..application.coordinator.partition import RunPartition
from ..domain.state import NodeStatus, RunState, RunStatus, timers
from .members import Member, Members

_STATE_MOST_BYTES = 900_000
_MARKER_MOST_BYTES = 80 * 1024
"""A run that is over keeps its output: 64 KiB at most, or the name of a blob."""

_LOOK_SECONDS = 10.0
_UNDER_WAY_SECONDS = 45.0
"""A deadline that has passed is in nobody's list until its event is written and read."""


class Watch:
    """Looks at the owners now and then. `broken` says what runs wait for that nobody watches: it would never come."""

    def __init__(self, coordinators: Members) -> None:
        self._coordinators = coordinators
        self._since: dict[str, float] = {}
        self.broken: list[str] = []

    async def look(self) -> None:
        """Look, for ever."""
        while not self.broken:
            await asyncio.sleep(_LOOK_SECONDS)
            now = asyncio.get_running_loop().time()
            unwatched: dict[str, float] = {}
            for member in self._coordinators.members:
                for number, owned in _owned(member).items():
                    self.broken.extend(_leases(owned))
                    if not member.process.frozen:
                        for text in _deadlines(owned):
                            seen = f"{member.process.name}, partition {number}: {text}"
                            unwatched[seen] = self._since.get(seen, now)
            self._since = unwatched
            self.broken.extend(seen for seen, since in unwatched.items() if now - since > _UNDER_WAY_SECONDS)


def _leases(owned: RunPartition) -> Iterator[str]:
    running = {
        (state.run, key)
        for state in _going_on(owned)
        for key, node in state.nodes.items()
        if node.status is NodeStatus.RUNNING
    }
    for run, key in running ^ owned.leases.held.keys():
        yield f"{run}/{key}: " + ("nobody watches its lease" if (run, key) in running else "a lease that nobody holds")


def _deadlines(owned: RunPartition) -> Iterator[str]:
    known = set(owned.timers)
    for state in _going_on(owned):
        for timer in timers(state):
            if timer not in known:
                yield f"nobody watches the deadline {timer.due_ms} of {timer.run}/{timer.node}/{timer.attempt}"


def left_over(changelogs: Mapping[int, Changelog], coordinators: Members, workers: Members) -> Iterator[str]:
    """What is still there when all runs have ended, and should not be."""
    for changelog in changelogs.values():
        for key, value in changelog.rows.items():
            if not key.startswith("~"):
                yield from _row(key, value)
            elif key.startswith(limits.PREFIX):
                yield f"a slot is held, waited for or kept in mind: {key} {value!r}"
    for member in coordinators.members:
        for owned in _owned(member).values():
            if owned.early.runs:
                yield f"signals wait for runs that never came: {owned.early.runs}"
            yield from _in_mind(owned)
    for member in workers.members:
        running = getattr(member.role, "running", {})
        if running:
            yield f"{member.process.name} still runs {list(running)}"


def _in_mind(owned: RunPartition) -> Iterator[str]:
    if owned.leases.held:
        yield f"leases without runs: {owned.leases.held}"
    if owned.timers:
        yield f"deadlines without runs: {list(owned.timers)}"
    if owned.limits.all:
        yield f"{len(owned.limits.all)} limits are kept in mind"
    if owned.runs or owned.of_graph.total():
        yield f"{len(owned.runs)} runs count as active and none is"


def _row(key: str, value: bytes) -> Iterator[str]:
    """A finished run leaves its result, a failed one what a retry needs, and none what grows without bound."""
    state = codec.kept.decode(value).state
    if not state.ended:
        yield f"{key} goes on in the table: {state.status}"
    may_go_on = state.status is RunStatus.FAILED
    if not may_go_on and (state.input is not None or state.signals):
        yield f"{key} has ended and keeps its input"
    if len(value) > (_STATE_MOST_BYTES if may_go_on or state.nodes else _MARKER_MOST_BYTES):
        yield f"{key} has ended and keeps {len(value)} bytes"


def _going_on(owned: RunPartition) -> Iterator[RunState]:
    """The runs that go on, looked at so that the owner does not notice: a state that it rereads behaves otherwise."""
    for run in owned.runs:
        state = owned._states.at_hand(run)  # noqa: SLF001 - see above
        yield codec.kept.decode(owned.table.get(run)).state if state is None else state


def _owned(member: Member) -> Mapping[int, RunPartition]:
    return member.role.owned if isinstance(member.role, Coordinator) else {}
