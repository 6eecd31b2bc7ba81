"""The states of a partition's runs, decoded: those that are not durable, and the last used of the others.

The table holds every run as bytes. A decoded state is several times as large, and most runs that go on only wait.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ...domain.ids import RunId
from ...domain.state import RunState
from ...ports.log import PartitionTable
from .. import codec

RESTING_BYTES = 4 * 1024 * 1024
"""Most encoded bytes of the states of a partition that are kept decoded though they are durable."""


class States:
    """See the module. Of runs that have ended it keeps none, once their end is durable."""

    def __init__(self, table: PartitionTable, most_bytes: int = RESTING_BYTES) -> None:
        self._table = table
        self._most = most_bytes
        self._in_flight: dict[RunId, RunState] = {}
        self._resting: OrderedDict[RunId, tuple[RunState, int]] = OrderedDict()
        self._bytes = 0
        self._reread: set[RunId] = set()
        self._sources: dict[RunId, Mapping[str, int]] = {}
        """Of those that are here: which records have changed them last, as `Kept` has it."""

    def get(self, run: RunId) -> RunState | None:
        """The state as it is now; read from the table if need be. None: there is no such run."""
        state = self._in_flight.get(run)
        if state is not None:
            return state
        kept = self._resting.get(run)
        if kept is not None:
            self._resting.move_to_end(run)
            return kept[0]
        value = self._table.get(run)
        if value is None:
            return None
        read = codec.kept.decode(value)
        state = read.state
        if not state.ended:
            self._reread.add(run)
            self._sources[run] = read.source
            self._rest(state, len(value))
        return state

    def source(self, run: RunId) -> Mapping[str, int]:
        """For each topic, the offset of the last record that has changed the run."""
        known = self._sources.get(run)
        if known is None:
            value = self._table.get(run)
            known = {} if value is None else codec.kept.decode(value).source
        return known

    def peek(self, run: RunId) -> RunState | None:
        """Like `get`, and changes nothing about what is kept."""
        state = self.at_hand(run)
        value = self._table.get(run) if state is None else None
        return state if value is None else codec.kept.decode(value).state

    def at_hand(self, run: RunId) -> RunState | None:
        """The state, if it need not be read from the table."""
        state = self._in_flight.get(run)
        if state is None and run in self._resting:
            state = self._resting[run][0]
        return state

    def put(self, state: RunState, source: Mapping[str, int] | None = None) -> None:
        """A decision that is not durable yet. `source`: what `source` tells from now on."""
        self._wake(state.run)
        self._in_flight[state.run] = state
        if source is not None:
            self._sources[state.run] = source

    def rest(self, run: RunId, size: int) -> None:
        """The state is in the table now, in so many bytes: it may give way to others."""
        state = self._in_flight.pop(run, None)
        if state is not None and not state.ended:
            self._rest(state, size)
        else:
            self._reread.discard(run)
            self._sources.pop(run, None)

    def change(self, state: RunState) -> None:
        """Replace a state by one that says the same with less."""
        if state.run in self._in_flight:
            self._in_flight[state.run] = state
        elif state.run in self._resting:
            self._resting[state.run] = (state, self._resting[state.run][1])

    def was_reread(self, run: RunId) -> bool:
        """Whether it has come from the table since this was last asked: with what had been taken out of it here."""
        if run in self._reread:
            self._reread.remove(run)
            return True
        return False

    def _wake(self, run: RunId) -> None:
        kept = self._resting.pop(run, None)
        if kept is not None:
            self._bytes -= kept[1]

    def _rest(self, state: RunState, size: int) -> None:
        self._wake(state.run)
        self._resting[state.run] = (state, size)
        self._bytes += size
        while self._bytes > self._most and len(self._resting) > 1:
            run, (_, gone) = self._resting.popitem(last=False)
            self._bytes -= gone
            self._reread.discard(run)
            self._sources.pop(run, None)


def too_large(changes: Sequence[tuple[str, bytes | None]], limit_bytes: int) -> list[tuple[RunId, int]]:
    """The runs whose values are longer than a record may be, with their lengths."""
    return [
        (RunId(key), len(value))
        for key, value in changes
        if value is not None and not key.startswith("~") and len(value) > limit_bytes
    ]
