"""Decoded states: what is not durable stays, the rest gives way and is read again."""

import asyncio

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.adapters.memory.tables import Changelog, MemoryPartitionTable
from beluga_stream.application import codec
from beluga_stream.application.codec import Kept
from beluga_stream.application.coordinator.states import States
from beluga_stream.domain.frozen import replace
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.state import RunState, RunStatus


def state(run: str, status: RunStatus = RunStatus.RUNNING) -> RunState:
    return RunState(run=RunId(run), key=run, graph="g", status=status, digest="d", trigger="t", started_ms=1)


async def table_of(*states: RunState) -> MemoryPartitionTable:
    table = MemoryPartitionTable(Changelog(), MemoryLog())
    await table.commit([(str(each.run), codec.kept.encode(Kept(each))) for each in states])
    return table


def test_the_least_recently_used_of_those_at_rest_gives_way() -> None:
    a, b, c = state("a"), state("b"), state("c")
    states = States(asyncio.run(table_of(a, b, c)), most_bytes=2_000)
    for each in (a, b, c):
        states.put(each)
        states.rest(each.run, 900)
    assert [states.at_hand(RunId(run)) for run in "abc"] == [None, b, c]
    assert states.get(RunId("a")) == a
    assert [states.at_hand(RunId(run)) for run in "abc"] == [a, b, c]  # read again it is smaller than was said
    assert states.get(RunId("d")) is None


def test_what_is_not_durable_stays() -> None:
    states = States(asyncio.run(table_of()), most_bytes=0)
    runs = [RunId(str(number)) for number in range(10)]
    for run in runs:
        states.put(state(run))
    assert all(states.at_hand(run) is not None for run in runs)


def test_a_state_from_the_table_says_so_once() -> None:
    kept = state("a")
    states = States(asyncio.run(table_of(kept)))
    states.put(state("b"))
    states.get(RunId("a"))
    assert [states.was_reread(RunId("a")) for _ in range(2)] == [True, False]
    assert not states.was_reread(RunId("b"))


def test_a_run_that_has_ended_is_not_kept() -> None:
    ended = state("a", RunStatus.SUCCEEDED)
    states = States(asyncio.run(table_of(ended)))
    states.put(ended)
    states.rest(ended.run, 10)
    assert states.at_hand(ended.run) is None
    assert states.get(ended.run) == ended
    assert states.at_hand(ended.run) is None


def test_a_change_takes_the_place_of_the_state_where_it_is() -> None:
    a, b = state("a"), state("b")
    states = States(asyncio.run(table_of()))
    states.put(a)
    states.put(b)
    states.rest(b.run, 10)
    for each in (a, b, state("c")):
        states.change(replace(each, counter=7))
    assert [each and each.counter for each in map(states.at_hand, map(RunId, "abc"))] == [7, 7, None]
