"""What is wrong with a memory is told where it is given, and what fails in it fails the run."""

from pathlib import Path
from typing import Any

import pytest

from beluga_stream import (
    INJECTED,
    BufferMemory,
    Graph,
    History,
    InProcessStore,
    SQLiteStore,
    SummaryMemory,
    TokenBufferMemory,
    chain,
)
from beluga_stream.errors import InvalidConfig, InvalidGraph, RunFailed, StoreUnavailable
from tests.unit.remembering import Ask, Foreign, contents, impatient, recalls, session, texts


def test_what_is_no_memory_is_refused() -> None:
    wrong: Any = "memory"
    with pytest.raises(InvalidConfig, match="memory= is a str: give a BufferMemory"):
        chain(recalls, memory=wrong)
    with pytest.raises(InvalidConfig, match="there is no memory="):
        chain(recalls, conversation=session)
    with pytest.raises(InvalidConfig, match="a Foreign is that of one"):
        chain(recalls, memory=Foreign(), conversation=session)


@pytest.mark.parametrize("path", ["memory.db", Path("memory.db")])
def test_a_path_is_no_store(path: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"BufferMemory\(store=.* is a path, .* give SQLiteStore\('memory\.db'\)"):
        BufferMemory(store=path)


async def counted(text: str) -> int:
    return len(text)


@pytest.mark.parametrize("count", [7, counted])
@pytest.mark.parametrize(
    "make", [TokenBufferMemory, lambda **given: SummaryMemory(lambda summary, turns: summary, **given)]
)
def test_who_counts_tokens_gives_a_number(make: Any, count: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"Memory\(count=.*: give a plain function that tells the tokens"):
        make(count=count)


def test_a_memory_that_nobody_reads_is_refused() -> None:
    async def plain(text: str) -> str:
        return text

    async def narrow(given: dict[str, int]) -> int:
        return 1

    for step in (plain, narrow):
        with pytest.raises(InvalidGraph, match="has a memory that nobody reads"):
            chain(step, memory=BufferMemory()).compile()


def test_a_history_without_a_memory_is_refused() -> None:
    with pytest.raises(InvalidGraph, match="'history' of node 'recalls' is a History, and the graph has no memory"):
        chain(recalls).compile()
    inner = chain(recalls, name="inner")
    with pytest.raises(InvalidGraph, match="the graph has no memory"):
        chain(inner, memory=BufferMemory()).compile()


def test_where_no_history_can_be_fed_it_is_refused() -> None:
    graph = Graph[list[Ask], Any]("map", memory=BufferMemory())
    graph.set_finish_point(graph.add_map(recalls, graph.input))
    with pytest.raises(InvalidGraph, match="node 'recalls' is a map, whose handler is fed one value"):
        graph.compile()


def test_the_names_of_its_nodes_are_reserved() -> None:
    async def memory_load(ask: Ask, history: History = INJECTED) -> int:
        return 1

    with pytest.raises(InvalidGraph, match="'memory_load' is the name of a node of its memory"):
        chain(memory_load, memory=BufferMemory()).compile()


def test_what_remembers_in_its_process_is_not_deployed(tmp_path: Any) -> None:
    inner = chain(recalls, memory=BufferMemory(), conversation=session, name="inner")
    outer = Graph[Ask, list[str]]("outer")
    outer.set_finish_point(outer.add_node(inner, outer.input))
    for work in (inner, outer):
        with pytest.raises(InvalidGraph, match="graph 'inner' remembers in its process alone"):
            work.deploy()
    chain(recalls, memory=BufferMemory(store=SQLiteStore(tmp_path / "x.db"))).deploy()
    chain(contents, memory=Foreign()).deploy()


@pytest.mark.parametrize(
    ("conversation", "told"),
    [
        (lambda ask: ask.nothing, "raised AttributeError: .*nothing"),
        (lambda ask: "", "gave ''"),
        (lambda ask: 7, "gave 7"),
        (lambda ask: "x" * 600, "600 letters"),
    ],
)
async def test_a_conversation_that_cannot_be_told_fails_at_once(conversation: Any, told: str) -> None:
    talk = chain(recalls, memory=BufferMemory(), conversation=conversation)
    with pytest.raises(RunFailed, match=told) as failed:
        await talk.invoke(Ask(session="s", text="a"))
    assert (failed.value.ids["attempt"], failed.value.reason) == ("1", "invalid_input")


async def test_an_input_that_is_no_mapping_is_refused_where_types_said_nothing() -> None:
    async def anything(given):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - what a user may write
        return 1

    with pytest.raises(RunFailed, match="the input is a int, which has no place for a memory"):
        await chain(anything, memory=BufferMemory()).invoke(7)


class _Away(InProcessStore):
    """A store that does not answer so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    async def append(self, conversation: str, turn: str, value: bytes, /) -> bool:
        if self.left > 0:
            self.left -= 1
            raise StoreUnavailable("the store _Away() does not answer", store="_Away()")
        return await super().append(conversation, turn, value)


@pytest.mark.parametrize("times", [3, 4])
async def test_a_store_that_is_away_is_tried_again_and_then_fails_the_run(times: int) -> None:
    memory = BufferMemory(store=_Away(times), input_key="text")
    graph = Graph[Ask, list[str]]("away", memory=memory)
    graph.set_finish_point(graph.add_node(recalls, graph.input))
    impatient(graph)
    if times < 4:
        assert await graph.invoke(Ask(session="s", text="a")) == ["a"]
        assert await texts(memory) == ["a"]
    else:
        with pytest.raises(RunFailed, match=r"memory_save: the store _Away\(\) does not answer") as failed:
            await graph.invoke(Ask(session="s", text="a"))
        assert (failed.value.reason, failed.value.retryable) == ("dependency_failed", True)
        assert await texts(memory) == []


async def test_a_turn_that_is_too_large_fails_and_is_not_tried_again() -> None:
    talk = chain(recalls, memory=BufferMemory())
    with pytest.raises(
        RunFailed, match=r"memory_save: the turn has .* bytes, and at most 1,048,576 are kept"
    ) as failed:
        await talk.invoke(Ask(session="s", text="x" * 2_000_000))
    assert failed.value.ids["attempt"] == "1"
