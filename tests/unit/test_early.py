"""A signal that came before its run is not lost between the table's two rows: its own, and the run's."""

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application import codec
from beluga_stream.application.codec import Kept
from beluga_stream.application.partition import RunPartition
from beluga_stream.domain.events import RunRequested, SignalReceived
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
