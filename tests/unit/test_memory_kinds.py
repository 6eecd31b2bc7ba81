"""What each kind of memory keeps and recalls."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from beluga_stream import (
    INJECTED,
    BufferMemory,
    Graph,
    History,
    InProcessStore,
    KeyValueMemory,
    SummaryMemory,
    TokenBufferMemory,
    Turn,
    VectorMemory,
    WindowMemory,
    chain,
)
from beluga_stream.api.buffer_memory import approximate_tokens
from beluga_stream.api.memory import StoredMemory
from beluga_stream.errors import InvalidConfig, InvalidInput, RunFailed
from tests.unit.remembering import Ask, impatient, recalls, talked, texts


@pytest.mark.parametrize(
    ("memory", "recalled"),
    [
        (BufferMemory(), ["a", "bb", "ccc"]),
        (WindowMemory(2), ["bb", "ccc"]),
        (TokenBufferMemory(9, count=lambda text: len(text.replace("\n", ""))), ["ccc"]),
        (TokenBufferMemory(12, count=lambda text: len(text.replace("\n", ""))), ["bb", "ccc"]),
        (TokenBufferMemory(6, count=lambda text: len(text.replace("\n", ""))), []),
        (TokenBufferMemory(), ["a", "bb", "ccc"]),
    ],
)
async def test_what_each_kind_recalls(memory: StoredMemory[Any], recalled: list[str]) -> None:
    await talked(memory, "a", "bb", "ccc")
    assert await texts(memory) == recalled
    assert memory.memory_variables == ("history",)
    loaded = await memory.load_memory_variables({"input": "?"})
    assert [one["content"] for one in loaded["history"]] == [
        content for text in recalled for content in (text, f"{text}!")
    ]
    await memory.clear()
    assert await texts(memory) == []


async def test_a_budget_of_tokens_reads_no_more_turns_than_it_needs() -> None:
    class Counted(InProcessStore):
        loads = 0

        async def load(self, conversation: str, /, *, last: int | None = None, before: int | None = None) -> Any:
            self.loads += 1
            return await super().load(conversation, last=last, before=before)

    store = Counted()
    memory = TokenBufferMemory(100, count=lambda text: 1, store=store)
    await talked(memory, *map(str, range(500)))
    assert await texts(memory) == [str(number) for number in range(400, 500)]
    assert store.loads == 4


def test_tokens_are_estimated_by_letters() -> None:
    assert [approximate_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


@pytest.mark.parametrize("sync", [False, True])
async def test_a_summary_stands_for_older_turns(sync: bool) -> None:  # noqa: FBT001 - a parameter of the test
    asked: list[tuple[str, list[str]]] = []

    def summarise(summary: str, turns: Sequence[Turn]) -> str:
        asked.append((summary, [turn.input for turn in turns]))
        return f"{summary}{''.join(turn.input for turn in turns)}"

    async def summarised(summary: str, turns: Sequence[Turn]) -> str:
        return summarise(summary, turns)

    memory = SummaryMemory(summarise if sync else summarised, budget=4, count=lambda text: 1)
    await talked(memory, "a", "b", "c", "d")
    assert (await memory.recall({})).summary == ""
    await talked(memory, "e")
    found = await memory.recall({})
    assert (found.summary, [turn.input for turn in found.turns]) == ("abc", ["d", "e"])
    assert found.messages[0] == {"role": "system", "content": "abc"}
    assert await memory.recall({}) == found, "it is not summed up again"
    await talked(memory, "f", "g", "h")
    assert (await memory.recall({})).summary == "abcdef"
    assert asked == [("", ["a", "b", "c"]), ("abc", ["d", "e", "f"])]


async def test_a_summary_that_cannot_be_made_fails_the_run_before_it_begins() -> None:
    async def summarise(summary: str, turns: Sequence[Turn]) -> str:
        raise ConnectionError("the model is away")

    memory = SummaryMemory(summarise, budget=1, count=lambda text: 1)
    await talked(memory, "a", "b")
    graph = Graph[Ask, list[str]]("g", memory=memory)
    graph.set_finish_point(graph.add_node(recalls, graph.input))
    with pytest.raises(RunFailed, match="memory_load raised ConnectionError: the model is away"):
        await impatient(graph).invoke(Ask(session="x", text="c"))
    assert len(await memory.opened.load("default")) == 2


async def test_facts_are_what_the_user_takes_out_of_turns() -> None:
    def extract(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        name, _, value = inputs["text"].partition("=")
        return {name: value or None}

    async def told(given: dict[str, Any]) -> dict[str, Any]:
        return dict(given["facts"])

    memory = KeyValueMemory(extract)
    talk = chain(told, memory=memory)
    given = [{"text": text} for text in ("name=Anna", "town=Bonn", "town=Mainz", "name", "x=y")]
    assert [await talk.invoke(one) for one in given] == [
        {},
        {"name": "Anna"},
        {"name": "Anna", "town": "Bonn"},
        {"name": "Anna", "town": "Mainz"},
        {"town": "Mainz"},
    ]
    await memory.clear()
    assert (await memory.recall({})).facts == {}


@pytest.mark.parametrize("bad", [7, {"beluga:x": 1}, {"x": object()}])
async def test_facts_that_are_none_are_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput, match="extract gave"):
        await KeyValueMemory(lambda inputs, outputs: bad).save_context({"a": 1}, {})


def _embed(text: str) -> list[float]:
    return [float(text.count(letter)) for letter in "xyz"]


async def test_the_turns_most_like_the_input_are_recalled() -> None:
    async def embed(text: str) -> list[float]:
        return _embed(text)

    async def asked(text: str, history: History = INJECTED) -> None:
        seen.append([turn.input for turn in history.turns])

    for memory in (VectorMemory(_embed, k=2), VectorMemory(embed, k=2)):
        seen: list[list[str]] = []
        talk = chain(asked, memory=memory)
        for text in ("xx", "yy", "xxz", "xy", "y"):
            await talk.invoke(text)
        assert seen == [[], ["xx"], ["xx", "yy"], ["xx", "yy"], ["yy", "xy"]]


async def test_an_embedding_of_another_size_is_refused_and_not_tried_again() -> None:
    sizes = iter([3, 3, 2])

    def embed(text: str) -> list[float]:
        return [1.0] * next(sizes)

    async def echo(text: str, history: History = INJECTED) -> str:
        return text

    talk = chain(echo, memory=VectorMemory(embed))
    assert await talk.invoke("a") == "a"
    with pytest.raises(
        RunFailed, match="memory_load: embed gave 2 numbers, and what conversation 'default' keeps has 3"
    ):
        await talk.invoke("b")
    with pytest.raises(InvalidInput, match="embed gave 1 numbers, and dimensions=2"):
        await VectorMemory(lambda text: [1.0], dimensions=2).recall({"input": "x"})
    wrong: Any = lambda text: "no vector"  # noqa: E731 - what a user may give
    with pytest.raises(InvalidInput, match="embed gave a str"):
        await VectorMemory(wrong).recall({"input": "x"})


@pytest.mark.parametrize(
    "make",
    [
        lambda: WindowMemory(0),
        lambda: TokenBufferMemory(0),
        lambda: TokenBufferMemory(budget=-1),
        lambda: SummaryMemory(lambda summary, turns: "", budget=0),
        lambda: SummaryMemory("no function"),
        lambda: KeyValueMemory(None),
        lambda: VectorMemory(None),
        lambda: VectorMemory(_embed, k=0),
        lambda: VectorMemory(_embed, dimensions=0),
        lambda: BufferMemory(memory_key=""),
        lambda: BufferMemory(output_key=7),
    ],
)
def test_what_no_memory_can_be_is_refused(make: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"Memory\("):
        make()


async def test_what_is_saved_is_picked_by_keys() -> None:
    memory = BufferMemory(input_key="text", output_key="answer")
    await memory.save_context({"text": "a", "other": 1}, {"answer": {"deep": True}, "sources": []})
    (turn,) = (await memory.recall({})).turns
    assert (turn.input, turn.output) == ("a", {"deep": True})
    assert (await memory.recall({})).messages[1] == {"role": "assistant", "content": '{"deep": true}'}
    with pytest.raises(InvalidInput, match="input_key='text': the input to remember has no such key; it has 'x'"):
        await memory.save_context({"x": 1}, {"answer": 1})
    whole = BufferMemory()
    await whole.save_context({"a": 1, "b": 2, "history": ["loaded"]}, {"output": "x"})
    assert (await whole.recall({})).turns[0].input == {"a": 1, "b": 2}
    with pytest.raises(InvalidInput, match="cannot become JSON"):
        await whole.save_context({"a": object()}, {})
