"""A signal that came before its run is not lost between the table's two rows: its own, and the run's."""

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application import codec
from beluga_stream.application.codec import Kept
from beluga_stream.application.coordinator.early import MOST, EarlySignals
from beluga_stream.application.coordinator.partition import RunPartition
from beluga_stream.domain.events import RunRequested, SignalReceived
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.domain.reducer import reduce
from beluga_stream.ports.log import Record
from tests.unit.graphs import chain_of

RUN = RunId("a" * 32)
SIGNAL = SignalReceived(run=RUN, key=RUN, at_ms=1, signal="go", id="1", value=Inline(1))
REQUEST = RunRequested(run=RUN, key=RUN, at_ms=2, graph="test", input=Inline(1), digest="d")


async def test_the_run_that_has_got_the_signal_is_written_before_the_signal_is_forgotten() -> None:
    owned = RunPartition(0, MemoryPartitionTable(Changelog(), MemoryLog()))
    owned.early.hold(SIGNAL)
    await owned.table.commit(owned.changes([]))
    owned.seal()
    plan = chain_of(1)
    decision = reduce(plan, None, REQUEST)
    assert decision is not None
    owned.apply(Record("requests", 0, 0, RUN.encode(), b""), plan, None, decision, 2)
    assert owned.early.take(RUN) == [SIGNAL]
    keys = [(key, value is None) for key, value in owned.changes([]) if not key.startswith("~read")]
    assert keys == [(RUN, False), (f"~early/{RUN}/1", True)]


async def test_a_signal_whose_run_is_there_waits_for_it_no_longer() -> None:
    decision = reduce(chain_of(1), None, REQUEST)
    assert decision is not None
    rows = {f"~early/{RUN}/1": codec.incoming.encode(SIGNAL), RUN: codec.kept.encode(Kept(decision.state))}
    owned = RunPartition(0, MemoryPartitionTable(Changelog(rows=rows), MemoryLog()))
    assert [kept async for kept in owned.recover(3)] == []
    assert owned.early.runs == ()
    assert (f"~early/{RUN}/1", None) in owned.changes([])


def test_signals_whose_runs_have_come_take_no_room() -> None:
    """Clients signal at once what they have just started: in a day these are more than may wait at a time."""
    early = EarlySignals()
    for number in range(MOST + 1):
        run = RunId(f"{number:032x}")
        assert early.hold(replace(SIGNAL, run=run, key=run, at_ms=number))
        assert len(early.take(run)) == 1
    assert early.overdue(MOST * 2) == []


def test_no_more_wait_than_may() -> None:
    early = EarlySignals()
    for number in range(MOST):
        assert early.hold(replace(SIGNAL, id=str(number)))
    assert not early.hold(replace(SIGNAL, id="one more"))
    assert early.hold(replace(SIGNAL, id="0")), "it waits already"
    assert len(early.overdue(MOST * 2)) == MOST
    assert early.hold(SIGNAL)


async def test_a_run_gets_its_signals_in_their_order_whatever_order_their_rows_lie_in() -> None:
    owned = RunPartition(0, MemoryPartitionTable(Changelog(), MemoryLog()))
    for name in ("z", "a", "m", "z"):
        owned.early.hold(replace(SIGNAL, id=name))
    rows = {key: value for key, value in sorted(owned.changes([])) if value is not None and key.startswith("~early/")}
    later = RunPartition(0, MemoryPartitionTable(Changelog(rows=rows), MemoryLog()))
    assert [kept async for kept in later.recover(3)] == []
    assert [signal.id for signal in later.early.take(RUN)] == ["z", "a", "m"]
