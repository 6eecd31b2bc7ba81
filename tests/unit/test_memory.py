"""Chains and graphs that remember."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from beluga_stream import (
    INJECTED,
    BufferMemory,
    Graph,
    History,
    InProcessStore,
    Orchestrator,
    Retry,
    WindowMemory,
    chain,
    node,
    resource,
)
from beluga_stream.application.clients.results import Chunk, RunChanged
from beluga_stream.cli.drawing import mermaid_of
from beluga_stream.domain.plan import Plan
from beluga_stream.errors import InvalidGraph, InvalidInput, InvalidState, RunFailed
from tests.unit.remembering import Ask, contents, recalls, session, texts


async def test_a_chain_recalls_its_conversation_and_no_other() -> None:
    memory = BufferMemory(input_key="text")
    talk = chain(recalls, memory=memory, conversation=session)
    assert talk.memory is memory
    assert await talk.invoke(Ask(session="anna", text="one")) == ["one"]
    assert await talk.invoke(Ask(session="ben", text="hello")) == ["hello"]
    assert await talk.invoke(Ask(session="anna", text="two")) == ["one", "two"]
    assert await texts(memory, "anna") == ["one", "two"]


async def test_its_nodes_are_drawn_and_part_of_its_definition() -> None:
    definition = chain(recalls, memory=BufferMemory(), conversation=session).compile().definition
    assert [str(each.name) for each in definition.nodes] == ["memory_load", "recalls", "memory_save"]
    assert "memory_load" in mermaid_of(Plan(definition))
    again = chain(recalls, memory=WindowMemory(3), conversation=lambda ask: "other").compile().definition
    assert again.hash == definition.hash, "what remembers is code, and not part of the definition"
    assert chain(recalls, memory=BufferMemory()).compile().definition.finish == ("recalls",)


async def test_a_mapping_gets_what_is_remembered_and_direct_input_wins() -> None:
    talk = chain(contents, memory=WindowMemory(1))
    assert await talk.invoke({"q": "a"}) == []
    assert await talk.invoke({"q": "b"}) == ["a", "[]"]
    assert await talk.invoke({"q": "c", "history": [{"role": "user", "content": "mine"}]}) == ["mine"]
    assert await talk.invoke({"q": "d"}) == ["c", '["mine"]'], "what was loaded, or given for it, is not saved"

    async def other(given: dict[str, Any]) -> int:
        return len(given["talk"])

    assert await chain(other, memory=BufferMemory(memory_key="talk")).invoke({"q": "a"}) == 0


async def test_the_graph_form_remembers_too_and_saves_several_finishes_by_name() -> None:
    memory = BufferMemory(input_key="text")
    graph = Graph[Ask, dict[str, Any]]("both", memory=memory, conversation=session)
    first = graph.add_node(recalls, graph.input, name="first")
    graph.set_finish_point(first, graph.add_node(_length, first))
    assert await graph.invoke(Ask(session="s", text="a")) == {"first": ["a"], "_length": 1}
    assert await graph.invoke(Ask(session="s", text="b")) == {"first": ["a", "b"], "_length": 2}
    assert [turn.output for turn in (await memory.of("s").recall({})).turns][1] == {"first": ["a", "b"], "_length": 2}


async def _length(lines: list[str]) -> int:
    return len(lines)


async def test_a_graph_built_from_data_remembers_as_well() -> None:
    async with Orchestrator() as orch:
        graph = orch.create_graph("plain", memory=BufferMemory(input_key="text"), conversation=lambda ask: ask.session)
        graph.add_node("recalls", recalls)
        graph.set_entry_point("recalls").set_finish_point("recalls")
        assert await graph.invoke(Ask(session="s", text="a")) == ["a"]
        assert await graph.invoke(Ask(session="s", text="b")) == ["a", "b"]
        assert isinstance(graph.memory, BufferMemory)


async def test_input_and_output_keys_work_with_memory() -> None:
    async def answer(given: dict[str, Any]) -> dict[str, Any]:
        return {"answer": len(given["history"])} if given["q"] else {}

    memory = BufferMemory()
    async with Orchestrator() as orch:
        talk = orch.create_chain(
            answer, memory=memory, input_keys=("q", "history"), output_keys=("answer",), retries=0, name="keys"
        )
        assert await talk.invoke({"q": "a"}) == {"answer": 0}, "what memory gives need not be given"
        assert await talk.invoke({"q": "b"}) == {"answer": 2}
        with pytest.raises(InvalidInput, match="the input lacks 'q'"):
            await talk.invoke({"p": 1})
        with pytest.raises(RunFailed, match="answer: it returned what its type forbids: the result lacks 'answer'"):
            await talk.invoke({"q": ""})
    assert await texts(memory) == ["a", "b"], "a failed run saves nothing"


async def test_a_stream_is_saved_when_it_has_ended() -> None:
    async def words(text: str, history: History = INJECTED) -> AsyncIterator[str]:
        for word in [*(turn.output for turn in history.turns), *text.split()]:
            yield f"{word} "

    memory = BufferMemory()
    async with Orchestrator() as orch:
        talk = orch.create_chain(words, memory=memory, name="words")
        events = [event async for event in talk.stream("to be")]
        assert [event.value for event in events if isinstance(event, Chunk)] == ["to ", "be "]
        assert isinstance(events[-1], RunChanged)
        assert await talk.invoke("or not") == ["to be  ", "or ", "not "]
    assert [turn.output for turn in (await memory.recall({})).turns] == ["to be ", "to be  or not "]


async def test_a_run_that_fails_late_saves_nothing() -> None:
    memory = BufferMemory()

    @node(retry=Retry(1))
    async def breaks(lines: list[str]) -> None:
        raise ValueError("no")

    graph = Graph[Ask, list[str]]("late", memory=memory)
    found = graph.add_node(recalls, graph.input)
    graph.add_node(breaks, found)
    graph.set_finish_point(found)
    with pytest.raises(RunFailed, match="breaks"):
        await graph.invoke(Ask(session="s", text="a"))
    assert await texts(memory) == []


async def test_a_chain_with_memory_is_a_step_of_others() -> None:
    inner = chain(recalls, memory=BufferMemory(input_key="text"), conversation=session, name="inner")
    outer = Graph[Ask, int]("outer")
    outer.set_finish_point(outer.add_node(_length, outer.add_node(inner, outer.input)))
    assert [await outer.invoke(Ask(session="s", text="a")) for _ in range(3)] == [1, 2, 3]


async def test_runs_of_one_conversation_at_once_are_all_saved() -> None:
    memory = BufferMemory(input_key="text")
    talk = chain(recalls, memory=memory, conversation=session)
    await talk.batch([Ask(session="s", text=str(number)) for number in range(8)])
    assert sorted(await texts(memory, "s")) == [str(number) for number in range(8)]


async def test_conditions_on_the_input_ask_what_is_loaded() -> None:
    async def again(given: dict[str, Any]) -> str:
        return "again"

    async def new(given: dict[str, Any]) -> str:
        return "new"

    graph = Graph[dict[str, Any], str]("branches", memory=BufferMemory())
    known = graph.input.when(lambda given: bool(given["history"]))
    graph.set_finish_point(graph.first(graph.add_node(again, known), graph.add_node(new, graph.input.otherwise())))
    assert [await graph.invoke({"q": 1}) for _ in range(2)] == ["new", "again"]


async def test_a_store_of_a_resource_is_opened_by_the_engine() -> None:
    class Own(InProcessStore):
        is_open = False

    kept = Own()

    @resource
    async def store() -> AsyncIterator[Own]:
        kept.is_open = True
        yield kept
        kept.is_open = False

    memory = BufferMemory(store=Own, input_key="text")
    talk = chain(recalls, memory=memory, conversation=session)
    assert await talk.invoke(Ask(session="s", text="a")) == ["a"]
    assert await talk.invoke(Ask(session="s", text="b")) == ["a", "b"]
    assert not kept.is_open
    with pytest.raises(InvalidState, match="is the @resource of Own"):
        await memory.recall({})
    assert await texts(memory.of("s", store=kept), "s") == ["a", "b"]

    class Undeclared(InProcessStore): ...

    with pytest.raises(InvalidGraph, match="the class Undeclared, which no @resource gives"):
        chain(recalls, memory=BufferMemory(store=Undeclared)).compile()
