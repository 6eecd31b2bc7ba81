"""Signals that came before their run: kept in the table until the run comes, or for too long.

Requests and signals travel on different topics, and requests are held back when there is too much to do. So a
signal may well be read before the run that it is for.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ..domain.events import SignalReceived
from ..domain.ids import RunId
from ..domain.plan import Plan
from ..domain.state import RunState
from ..errors import NotFound
from ..ports.log import Outgoing, Record
from . import codec
from .deadletters import dead_letter
from .payloads import Payloads
from .signalling import check_received
from .starting import check_handed
from .topics import Topics

PREFIX = "~early/"
"""Begins the keys of their rows; a run's id never does."""

MOST = 10_000
"""Most signals that wait in one partition."""


class EarlySignals:
    """The early signals of one partition. `rows` are the changes that the table has not yet got."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes | None] = {}
        self._of_run: dict[RunId, dict[str, SignalReceived]] = {}
        self._order: deque[tuple[int, RunId, str]] = deque()

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

    def forget(self, runs: Iterable[RunId]) -> None:
        """These runs have come and have got their signals; the table did not hear of the second."""
        for run in runs:
            self.take(run)

    def recover(self, value: bytes) -> None:
        """Take in a row of the table."""
        self._remember(codec.incoming.decode(value))

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
        """Keep a signal. False when there are too many of them."""
        if len(self._order) >= MOST:
            return False
        self._remember(signal)
        self.rows[_key(signal.run, signal.id)] = codec.incoming.encode(signal)
        return True

    def take(self, run: RunId) -> list[SignalReceived]:
        """The signals that came before this run, in their order; they are kept no longer."""
        signals = self._of_run.pop(run, {})
        for name in signals:
            self.rows[_key(run, name)] = None
        return list(signals.values())

    def overdue(self, before_ms: int) -> list[SignalReceived]:
        """Take those whose run should have come by now."""
        gone: list[SignalReceived] = []
        while self._order and self._order[0][0] < before_ms:
            _, run, name = self._order.popleft()
            of_run = self._of_run.get(run, {})
            signal = of_run.pop(name, None)
            if signal is not None:
                self.rows[_key(run, name)] = None
                gone.append(signal)
            if not of_run:
                self._of_run.pop(run, None)
        return gone

    def _remember(self, signal: SignalReceived) -> None:
        of_run = self._of_run.setdefault(signal.run, {})
        if signal.id not in of_run:
            self._order.append((signal.at_ms, signal.run, signal.id))
        of_run[signal.id] = signal


async def letter(signal: SignalReceived, partition: int, topics: Topics, payloads: Payloads) -> Outgoing:
    """The dead letter for a signal whose run never came."""
    error = NotFound(f"no run {signal.run} came for a signal {signal.signal!r}", run=signal.run)
    record = Record(topics.run_events, partition, -1, signal.key.encode(), codec.incoming.encode(signal))
    return await dead_letter(topics.dead_letters, record, error, payloads)


def _key(run: RunId, signal: str) -> str:
    return f"{PREFIX}{run}/{signal}"
