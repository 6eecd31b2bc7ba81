"""Calls of workflows that cannot be done as they are asked for: what does not fit, is too large or takes long."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from beluga_stream import Graph, Orchestrator, Retry, Signal, temporal_worker
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import (
    CodeMissing,
    ExecutionFailed,
    InvalidInput,
    InvalidState,
    NotFound,
    NotSerializable,
    RunFailed,
    TemporalUnavailable,
    TimedOut,
)
from tests.temporal import works
from tests.temporal.works import Greeting, Parcel, Renewing, Untrue
from tests.temporal_server import TemporalServer

ABOVE = "x" * 2_100_000
"""More than Temporal keeps of a value, and less than a call may have."""


@pytest.fixture
async def orch(settings: Settings) -> AsyncIterator[Orchestrator]:
    """An orchestrator, and a worker of this process."""
    async with serving(settings) as made:
        yield made


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Orchestrator]:
    """An orchestrator with these settings, and a worker of this process."""
    worker = temporal_worker(
        works.asking,
        workflows=[Greeting, Parcel, Renewing, Untrue],
        activities=[works.greet],
        settings=settings,
        log="memory",
    )
    async with Orchestrator(settings) as made, worker:
        yield made


async def test_an_update_goes_on_when_nobody_waits_any_more_and_is_done_once(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(1)
    for _ in range(2):
        with pytest.raises(TimedOut, match="it goes on"):
            await parcel.update(run, "keep", "a", timeout=0.2, id="once")
    assert await parcel.query(run, "given") == []
    asked = asyncio.create_task(parcel.update(run, "keep", "a", id="once"))
    await parcel.signal(run, "answer")
    assert await asked == 1
    assert await parcel.update(run, "keep", "a", id="once") == 1
    assert await parcel.get_result(run, timeout=30) == "x"


async def test_who_waits_for_an_update_may_leave(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(1)
    asked = asyncio.create_task(parcel.update(run, "keep", "a"))
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await parcel.terminate(run)


@pytest.mark.slow
async def test_an_answer_may_take_longer_than_a_call(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(1)
    asked = asyncio.create_task(parcel.update(run, "keep", "a"))
    await asyncio.wait({asked}, timeout=11)
    assert not asked.done()
    await parcel.signal(run, "answer")
    assert await asked == 1


async def test_an_update_that_is_too_large_is_refused_and_harms_nothing(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(1)
    for text in (ABOVE, 2 * ABOVE):
        with pytest.raises(InvalidInput, match="too many"):
            await parcel.update(run, "twice", text)
        with pytest.raises(InvalidInput, match=r"exceeds limit|larger than max"):
            await parcel.signal(run, "put", text)
    assert await parcel.update(run, "twice", "ab") == "abab"
    await parcel.signal(run, "put", "small")
    assert await parcel.get_result(run, timeout=30) == "x"


async def test_an_input_that_is_too_large_is_refused_whatever_its_size(orch: Orchestrator) -> None:
    greeting = orch.create_workflow(Greeting)
    for text in (ABOVE, 2 * ABOVE):
        with pytest.raises(InvalidInput) as refused:
            await greeting.execute(text)
        assert not refused.value.retryable


async def test_a_class_whose_result_is_too_large_stands_still_and_says_so(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(len(ABOVE))
    await parcel.signal(run, "put", "small")
    with pytest.raises(CodeMissing, match=r"too large for Temporal.*makes it smaller"):
        await parcel.get_result(run, timeout=30)
    await parcel.terminate(run)


async def test_an_answer_that_is_too_large_is_told_to_who_asked_for_it(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(1)
    with pytest.raises(CodeMissing, match="too large for Temporal"):
        await parcel.update(run, "twice", "x" * 1_500_000)
    await parcel.terminate(run)


async def test_none_is_a_value(orch: Orchestrator) -> None:
    parcel = orch.create_workflow(Parcel)
    run = await parcel.execute(1)
    with pytest.raises(InvalidInput, match=r"'put'.*missing a required argument: 'text'"):
        await parcel.signal(run, "put")
    with pytest.raises(InvalidInput, match="too many positional arguments"):
        await parcel.signal(run, "answer", 1)
    await parcel.signal(run, "put", None)
    assert await parcel.get_result(run, timeout=30) == "x"
    assert await parcel.query(run, "given") == [None]


async def test_a_signal_that_no_wait_of_the_graph_takes_is_refused(orch: Orchestrator) -> None:
    asking = orch.create_workflow(works.asking)
    run = await asking.execute(3)
    for refused in ("approval", Signal("approval", str)):
        with pytest.raises(InvalidInput, match="'approval'"):
            await asking.signal(run, refused, "never")
    await asking.signal(run, "approval", value=True)
    assert await asking.get_result(run, timeout=30) == "3 True"


async def test_what_is_unknown_is_told_where_errors_are_sealed(settings: Settings) -> None:
    key = base64.b64encode(bytes(32)).decode()
    keys = Settings.load(encryption_keys=f"k:{key}").encryption_keys
    async with serving(settings.model_copy(update={"encryption_keys": keys})) as orch:
        greeting, asking = orch.create_workflow(Greeting), orch.create_workflow(works.asking)
        run, asked = await greeting.execute("ann"), await asking.execute(3)
        for unknown in (greeting.query(run, "nothing"), asking.query(asked, "nothing")):
            with pytest.raises(NotFound, match="nothing"):
                await unknown
        with pytest.raises(NotFound, match="nothing"):
            await asking.update(asked, "nothing")
        with pytest.raises(ExecutionFailed, match=r"this query is broken|encrypted"):
            await greeting.query(run, "breaks")
        assert await greeting.query(run, "names") == ["ann"]
        await asyncio.gather(greeting.terminate(run), asking.terminate(asked))


async def test_what_cannot_become_json_is_refused(orch: Orchestrator) -> None:
    thing: Any = object()
    greeting = orch.create_workflow(Greeting)
    run = await greeting.execute("ann")
    for refused in (
        greeting.execute(thing),
        orch.create_workflow(Greeting, metadata={"a": thing}).execute("ann"),
        orch.create_workflow(works.asking, metadata={"a": thing}).execute(3),
        greeting.signal(run, "unheard", thing),
        greeting.query(run, "names", thing),
        greeting.update(run, "add", thing),
    ):
        with pytest.raises(NotSerializable, match="cannot become JSON"):
            await refused
    await greeting.terminate(run)


async def test_a_result_of_another_type_than_is_expected_is_told(orch: Orchestrator) -> None:
    untrue = orch.create_workflow(Untrue)
    with pytest.raises(InvalidState, match="Untrue declares"):
        await untrue.get_result(await untrue.execute(3), timeout=30)
    asking, parcel = orch.create_workflow(works.asking), orch.create_workflow(Parcel)
    of_graph, of_class = await asking.execute(3), await parcel.execute(1)
    await asking.signal(of_graph, works.approval, value=True)
    await parcel.signal(of_class, "put", "a")
    with pytest.raises(InvalidState, match="another workflow"):
        await asking.get_result(of_class.workflow_id, timeout=30)
    with pytest.raises(InvalidState, match="another workflow"):
        await parcel.get_result(of_graph.workflow_id, timeout=30)
    with pytest.raises(InvalidState, match="another workflow"):
        await orch.create_workflow(works.survivor).get_result(of_graph.workflow_id, timeout=30)


async def test_an_id_that_is_no_text_is_refused_by_every_call(orch: Orchestrator) -> None:
    asking = orch.create_workflow(works.asking)
    with pytest.raises(InvalidInput, match="half a letter"):
        await asking.execute(1, id="order-\ud800")
    with pytest.raises(InvalidInput, match="half a letter"):
        await asking.describe("order-\ud800")


async def test_an_empty_id_is_none_that_can_be_executed_again(orch: Orchestrator) -> None:
    asking = orch.create_workflow(works.asking)
    with pytest.raises(InvalidInput, match="is no id for a workflow: who has none"):
        await asking.execute(1, id="")
    with pytest.raises(InvalidInput, match="is no id for a workflow"):
        await asking.describe("")


async def test_it_has_begun_with_its_first_execution(orch: Orchestrator) -> None:
    renewing = orch.create_workflow(Renewing)
    run = await renewing.execute(1)
    first = await renewing.describe(run)
    async with asyncio.timeout(30):
        while (later := await renewing.describe(run)).run_id == first.run_id:  # noqa: ASYNC110 - it tells no event
            await asyncio.sleep(0.05)
    assert later.started == first.started
    await renewing.terminate(run)


@pytest.mark.parametrize("chosen", ["/orders/7", "a//b", "../up", "z\0", "x" * 900])
async def test_an_id_is_whatever_its_user_likes(settings: Settings, chosen: str) -> None:
    async def text(number: int) -> str:
        return "y" * 60_000

    async def broken(number: int, texts: list[str]) -> int:
        raise ValueError("never")

    graph = Graph[int, int]("durable-named", durable=True)
    texts = [graph.add_node(text, graph.input, name=f"text{number}") for number in range(5)]
    graph.set_finish_point(graph.add_node(broken, graph.input, graph.n_of(5, *texts), retry=Retry(1)))
    async with Orchestrator(settings) as orch, temporal_worker(graph, settings=settings, log="memory"):
        made = orch.create_workflow(graph)
        run = await made.execute(1, id=f"{chosen}{secrets.token_hex(4)}")
        with pytest.raises(RunFailed, match="never"):
            await made.get_result(run, timeout=30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TemporalServer]:
    made = TemporalServer(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.mark.slow
async def test_a_server_that_hangs_is_told_by_every_call_soon(server: TemporalServer, tmp_path: Path) -> None:
    settings = Settings.load(temporal_address=server.address, blobs=str(tmp_path), shutdown_grace_seconds=0.5)
    async with Orchestrator(settings) as orch:
        asking = orch.create_workflow(works.asking)
        run = await asking.execute(3)
        assert (await asking.describe(run)).state == "running"
        server.freeze()
        try:
            async with asyncio.timeout(15):
                for told in asyncio.as_completed(
                    [
                        asking.query(run),
                        asking.update(run, "nothing"),
                        asking.get_result(run),
                        asking.check(),
                        orch.check(),
                    ]
                ):
                    with pytest.raises(TemporalUnavailable):
                        await told
        finally:
            server.thaw()
