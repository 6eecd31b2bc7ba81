"""Signals that came before their run: kept in the table until the run comes, or for too long.

Requests and signals travel on different topics, and requests are held back when there is too much to do. So a
signal may well be read before the run that it is for.
"""

from collections.abc import Callable, Iterator, Sequence

from ...domain.events import SignalReceived
from ...domain.frozen import replace
from ...domain.ids import RunId
from ...domain.plan import Plan
from ...domain.state import RunState
from ...errors import NotFound
from ...ports.log import Outgoing, Record
from .. import codec
from ..clients.signalling import check_received
from ..deadletters import dead_letter
from ..payloads import Payloads
from ..requests import check_handed
from ..topics import Topics

PREFIX = "~early/"
"""Begins the keys of their rows; a run's id never does."""

MOST = 10_000
"""Most signals that wait in one partition."""


class EarlySignals:
    """The early signals of one partition. `rows` are the changes that the table has not yet got."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self._of_run: dict[RunId, dict[str, SignalReceived]] = {}
        self._since: dict[tuple[RunId, str], int] = {}
        """When each that waits came, in their order. No two have the same time: the table tells their order by it."""

    @property
    def runs(self) -> Sequence[RunId]:
        """Those that signals wait for."""
        return tuple(self._of_run)

    def held(self) -> Iterator[tuple[str, bytes | None]]:
        """The changes that add rows."""
        return ((key, value) for key, value in self.rows.items() if value is not None)

    def gone(self) -> Iterator[tuple[str, bytes | None]]:
        """The changes that delete rows."""
        return ((key, value) for key, value in self.rows.items() if value is None)

    def recover(self, value: bytes) -> None:
        """Take in a row of the table; `recovered` ends it."""
        self._remember(codec.incoming.decode(value))

    def recovered(self, has_come: Callable[[RunId], bool]) -> None:
        """All rows are taken in, in whatever order they lay there.

        A run that has come has got its signals; the table did not hear of the second.
        """
        waiting = [signal for of_run in self._of_run.values() for signal in of_run.values()]
        self._of_run.clear()
        self._since.clear()
        for signal in sorted(waiting, key=lambda each: each.at_ms):
            self._remember(signal)
        for run in self.runs:
            if has_come(run):
                self.take(run)

    def takes(self, signal: SignalReceived, state: RunState | None, plan: Plan | None) -> bool:
        """Whether it waits for its run to come. One that was handed on to a child that was refused waits for nothing.

        Raises `InvalidInput` as `check_handed` and `check_received` do.
        """
        if state is None:
            return signal.parent is not None or self.hold(signal)
        check_handed(state, signal)
        if plan is not None:
            check_received(plan, signal)
        return False

    def hold(self, signal: SignalReceived) -> bool:
        """Keep a signal, unless it comes again. False when there are too many of them."""
        if (signal.run, signal.id) in self._since:
            return True
        if len(self._since) >= MOST:
            return False
        latest = next(reversed(self._since.values()), None)
        if latest is not None and signal.at_ms <= latest:
            signal = replace(signal, at_ms=latest + 1)
        self._remember(signal)
        self.rows[_key(signal.run, signal.id)] = codec.incoming.encode(signal)
        return True

    def take(self, run: RunId) -> list[SignalReceived]:
        """The signals that came before this run, in their order; they are kept no longer."""
        signals = self._of_run.pop(run, {})
        for name in signals:
            del self._since[run, name]
            self.rows[_key(run, name)] = None
        return list(signals.values())

    def overdue(self, before_ms: int) -> list[SignalReceived]:
        """Take those whose run should have come by now."""
        gone: list[SignalReceived] = []
        while self._since and (first := next(iter(self._since.items())))[1] < before_ms:
            (run, name), _ = first
            del self._since[run, name]
            of_run = self._of_run[run]
            gone.append(of_run.pop(name))
            self.rows[_key(run, name)] = None
            if not of_run:
                del self._of_run[run]
        return gone

    def _remember(self, signal: SignalReceived) -> None:
        self._of_run.setdefault(signal.run, {})[signal.id] = signal
        self._since[signal.run, signal.id] = signal.at_ms


async def letter(signal: SignalReceived, partition: int, topics: Topics, payloads: Payloads) -> Outgoing:
    """The dead letter for a signal whose run never came."""
    error = NotFound(f"no run {signal.run} came for a signal {signal.signal!r}", run=signal.run)
    record = Record(topics.run_events, partition, -1, signal.key.encode(), codec.incoming.encode(signal))
    return await dead_letter(topics.dead_letters, record, error, payloads)


def _key(run: RunId, signal: str) -> str:
    return f"{PREFIX}{run}/{signal}"
