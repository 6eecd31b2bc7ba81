"""The newest runs as a list that follows its topic."""

from collections.abc import AsyncIterator

import pytest

from beluga_stream.adapters.memory.log import MemoryLog
from beluga_stream.application import codec
from beluga_stream.application.clients.runlist import Place, RunList
from beluga_stream.application.messages import Summary
from beluga_stream.domain.ids import RunId
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import LogUnavailable
from beluga_stream.ports.log import Outgoing, TopicSpec

TOPIC = "runs"


class Bench:
    """A topic of summaries and a list of at most four runs of it."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.create([TopicSpec(TOPIC, 2)])
        self.list = RunList(self.log, TOPIC, most=4)

    async def says(self, run: str, status: str = "running", *, at: int, partition: int = 0) -> None:
        summary = Summary(
            run=RunId(run), graph="g", status=status, trigger="api", started_ms=at, output=Inline("x" * 1_000)
        )
        value = codec.summaries.encode(summary)
        await self.log.append([Outgoing(TOPIC, run.encode(), value, partition=partition)])

    async def runs(self, after: Place | None = None, limit: int = 10, status: str | None = None) -> list[str]:
        found, _ = await self.list.page(after, limit, lambda summary: status in (None, summary.status))
        return [f"{summary.run} {summary.status}" for summary in found]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.list.close()


async def test_each_run_is_listed_once_as_it_stands_by_its_start(bench: Bench) -> None:
    assert await bench.runs() == []
    await bench.says("b", at=2)
    await bench.says("a", at=1, partition=1)
    assert await bench.runs() == ["a running", "b running"], "what is durable is listed"
    await bench.says("b", "succeeded", at=2)
    assert await bench.runs() == ["a running", "b succeeded"]
    assert await bench.runs(status="succeeded") == ["b succeeded"]
    found, _ = await bench.list.page(None, 1, lambda _: True)
    assert found[0].output is None, "lists show no outputs, and keep none"


async def test_pages_follow_one_another_also_when_a_run_of_them_has_changed(bench: Bench) -> None:
    for number in range(4):
        await bench.says(f"r{number}", at=number // 2)
    found, more = await bench.list.page(None, 2, lambda _: True)
    assert ([each.run for each in found], more) == (["r0", "r1"], Place(0, "r1"))
    await bench.says("r1", "failed", at=0)
    found, more = await bench.list.page(more, 2, lambda _: True)
    assert ([each.run for each in found], more) == (["r2", "r3"], None)


async def test_the_newest_runs_come_first_where_that_is_asked_for(bench: Bench) -> None:
    for number in range(3):
        await bench.says(f"r{number}", at=number // 2)
    found, more = await bench.list.page(None, 2, lambda _: True, newest=True)
    assert ([each.run for each in found], more) == (["r2", "r1"], Place(0, "r1"))
    await bench.says("r3", at=9)
    found, more = await bench.list.page(more, 2, lambda _: True, newest=True)
    assert ([each.run for each in found], more) == (["r0"], None)


async def test_the_oldest_runs_go_first_and_come_back_by_no_news(bench: Bench) -> None:
    for number in range(6):
        await bench.says(f"r{number}", at=number)
    await bench.says("r0", "succeeded", at=0)
    assert await bench.runs() == [f"r{number} running" for number in range(2, 6)]
    await bench.log.append([Outgoing(TOPIC, b"r4", None, partition=0)])
    assert await bench.runs() == ["r2 running", "r3 running", "r5 running"], "a run that was removed is gone"


async def test_a_list_whose_reading_broke_off_goes_on_where_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.says("a", at=1)
    assert await bench.runs() == ["a running"]
    await bench.list.close()
    with monkeypatch.context() as patched:
        patched.setattr(bench.log, "read", _fails)
        await bench.says("b", at=2)
        with pytest.raises(LogUnavailable):
            await bench.runs()
    assert await bench.runs() == ["a running", "b running"]


async def _fails(*_: object, **__: object) -> AsyncIterator[object]:
    raise LogUnavailable("away")
    yield
