"""Handlers that misbehave on a live engine: a clear failure of their run, and good runs beside it finish."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from beluga_stream import Chunk, Client
from beluga_stream.errors import RunFailed
from tests.engine import Engine
from tests.integration.bad_input import bad_engine, beside_a_good_run

_MEGABYTES_5 = 5_000_000


@pytest.fixture(scope="module")
def engine(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder: Path = tmp_path_factory.mktemp("engine")
    with bad_engine(broker, folder) as engine:
        yield engine


async def _failure(client: Client, graph: str) -> RunFailed:
    async with beside_a_good_run(client):
        run = await client.start(graph, 1)
        with pytest.raises(RunFailed) as failed:
            await run.result(timeout=30)
    return failed.value


@pytest.mark.parametrize(
    ("graph", "reason", "told"),
    [
        ("raises", "execution_failed", "raises raised ValueError: it is Monday (bad_agents/graphs.py, line"),
        ("raises_much", "execution_failed", "x… (3000000 characters)"),
        ("raises_unreadable", "execution_failed", "raised Awkward: (its text cannot be had)"),
        ("raises_unspeakable", "execution_failed", "half a pair: ?"),
        ("raises_base", "execution_failed", "raised Stop: no Exception"),
        ("raises_exit", "execution_failed", "it called sys.exit(3)"),
        ("raises_stop_iteration", "execution_failed", "the handler raised StopIteration"),
        ("mistyped", "invalid_input", "it returned what its type forbids"),
        ("unserialisable", "invalid_input", "it returned what cannot become JSON: Unable to serialize"),
        ("half_a_pair", "invalid_input", "cannot become JSON"),
        ("endless_list", "invalid_input", "it returned what cannot become JSON: Circular reference"),
        ("too_large_a_number", "invalid_input", "cannot become JSON: Integer exceeds 64-bit range"),
    ],
)
async def test_what_a_handler_raises_or_returns_fails_its_run_alone(
    client: Client, graph: str, reason: str, told: str
) -> None:
    failure = await _failure(client, graph)
    assert failure.reason == reason
    assert told in str(failure)
    assert f"run {failure.ids['run']} failed: {graph}" in str(failure)
    assert len(str(failure)) < 3_000


@pytest.mark.parametrize("graph", ["sleeps", "blocks", "blocks_in_a_stream", "refuses_to_stop", "blocks_in_a_process"])
async def test_a_handler_that_never_ends_is_ended_by_its_timeout(client: Client, graph: str) -> None:
    failure = await _failure(client, graph)
    assert failure.reason == "timeout"
    assert f"{graph}: it did not end within 0.5 s" in str(failure)


@pytest.mark.parametrize("graph", ["has_no_timeout", "blocks_without_timeout"])
async def test_a_handler_without_a_timeout_is_ended_by_its_run_s(client: Client, graph: str) -> None:
    failure = await _failure(client, graph)
    assert failure.reason == "timeout"
    assert "the run did not end within 2 s" in str(failure)


async def test_more_stuck_threads_than_there_are_threads_hold_up_nobody(engine: Engine, client: Client) -> None:
    async with beside_a_good_run(client):
        runs = [await client.start("blocks", number) for number in range(3)]
        for run in runs:
            with pytest.raises(RunFailed, match=r"did not end within 0\.5 s"):
                await run.result(timeout=30)
    assert len(engine.said("thread_lost")) >= 3


async def test_a_handler_in_a_process_runs_there_and_knows_its_run(engine: Engine, client: Client) -> None:
    run = await client.start("in_a_process", 21)
    pid, node, doubled = await run.result(timeout=30)
    assert (node, doubled) == ("in_a_process", 42)
    assert pid not in (engine.pid, os.getpid())


async def test_a_process_that_dies_is_a_failure_that_another_attempt_mends(client: Client) -> None:
    failure = await _failure(client, "dies")
    assert failure.reason == "execution_failed"
    assert "its process ended in the midst of the call: it was killed" in str(failure)
    assert await (await client.start("dies_once", 7)).result(timeout=30) == 7


async def test_five_megabytes_go_through_as_input_output_and_chunk(client: Client) -> None:
    async with beside_a_good_run(client):
        taken = await client.start("measure", "x" * _MEGABYTES_5)
        given = await client.start("five_megabytes", _MEGABYTES_5)
        streamed = await client.start("five_megabyte_chunk", _MEGABYTES_5)
        assert await taken.result(timeout=30) == _MEGABYTES_5
        assert len(await given.result(timeout=30)) == _MEGABYTES_5
        assert [len(chunk) for chunk in await streamed.result(timeout=30)] == [_MEGABYTES_5, 3]
        chunks = [event async for event in streamed.stream() if isinstance(event, Chunk)]
        assert [len(chunk.value) for chunk in chunks] == [_MEGABYTES_5, 3]


async def test_a_value_that_nests_deeper_than_a_record_may_goes_through(client: Client) -> None:
    value = await (await client.start("nested", 190)).result(timeout=30)
    for _ in range(190):
        (value,) = value
    assert value == []


async def test_a_run_that_keeps_too_much_fails_and_its_worker_lives_on(client: Client) -> None:
    async with beside_a_good_run(client):
        run = await client.start("hoard", 1)
        with pytest.raises(RunFailed, match="the run's state has grown to") as failed:
            await run.result(timeout=30)
        assert failed.value.reason == "resource_exhausted"


async def test_a_line_of_long_values_keeps_only_the_last(client: Client) -> None:
    run = await client.start("line", 1)
    assert await run.result(timeout=30) == "1" * 60_000
