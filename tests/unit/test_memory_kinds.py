"""What each kind of memory keeps and recalls."""

import asyncio
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


@pytest.mark.parametrize("bad", [None, 5, ["a"], b"a"])
async def test_a_summary_that_is_no_text_is_told_and_harms_no_conversation(bad: Any) -> None:
    answers = iter([bad, "ab"])
    memory = SummaryMemory(lambda summary, turns: next(answers), budget=1, count=lambda text: 1)
    await talked(memory, "a", "b")
    with pytest.raises(InvalidInput, match=f"summarise gave a {type(bad).__name__}: it must give the next summary"):
        await memory.recall({})
    assert await memory.opened.get("default") == {}
    assert (await memory.recall({})).summary == "ab"


@pytest.mark.parametrize("kept", [b'{"text":null,"until":1}', b'{"text":"x"}', b"[]", b"no JSON"])
async def test_a_summary_that_is_none_is_made_anew(kept: bytes) -> None:
    memory = SummaryMemory(lambda summary, turns: f"{summary}{len(turns)}", budget=1, count=lambda text: 1)
    await talked(memory, "a", "b")
    await memory.opened.put("default", "beluga:summary:1", {"beluga:summary": kept})
    assert (await memory.recall({})).summary == "2"
    assert (await memory.recall({})).summary == "2"


@pytest.mark.parametrize("slow_is_first", [True, False])
async def test_summaries_that_are_made_at_once_do_not_undo_each_other(
    slow_is_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    begun, go, made = asyncio.Event(), asyncio.Event(), list[int]()

    async def summarise(summary: str, turns: Sequence[Turn]) -> str:
        made.append(len(made))
        if made == [0]:
            begun.set()
            await go.wait()
        return summary + "".join(turn.input for turn in turns)

    memory = SummaryMemory(summarise, budget=4, count=lambda text: 1)
    await talked(memory, *"abcde")
    slow = asyncio.create_task(memory.recall({}))
    await begun.wait()
    await talked(memory, *"fgh")
    if slow_is_first:
        go.set()
        await slow
        assert (await memory.recall({})).summary == "abcdef"
    else:
        assert (await memory.recall({})).summary == "abcdef"
        go.set()
        assert (await slow).summary == "abc"
    assert [turn.input for turn in (await memory.recall({})).turns] == ["g", "h"]
    assert (await memory.recall({})).summary == "abcdef"
    assert made == [0, 1], "what was summed up is not summed up again"


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


@pytest.mark.parametrize("bad", [7, {"beluga:x": 1}, {"x": object()}, {1: "x"}])
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
        lambda: WindowMemory("3"),
        lambda: WindowMemory(2.5),
        lambda: WindowMemory(True),  # noqa: FBT003 - what a user may give
        lambda: TokenBufferMemory(budget="10"),
        lambda: SummaryMemory(lambda summary, turns: "", budget="10"),
        lambda: VectorMemory(_embed, k="3"),
        lambda: BufferMemory(memory_key=""),
        lambda: BufferMemory(output_key=7),
    ],
)
def test_what_no_memory_can_be_is_refused(make: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"Memory\("):
        make()


@pytest.mark.parametrize(
    "memory", [BufferMemory(), KeyValueMemory(lambda inputs, outputs: {}), VectorMemory(lambda text: [1.0])]
)
async def test_what_is_no_mapping_is_not_saved(memory: StoredMemory[Any]) -> None:
    text: Any = "a text"
    with pytest.raises(InvalidInput, match="the input to remember is a str"):
        await memory.save_context(text, {"output": "x"})
    with pytest.raises(InvalidInput, match="the output to remember is a str: give a mapping"):
        await memory.save_context({"input": "x"}, text)


@pytest.mark.parametrize("number", [10**400, 1e300, -1e39, float("nan")], ids=["huge", "large", "negative", "NaN"])
async def test_numbers_that_no_store_holds_are_refused(number: float) -> None:
    with pytest.raises(InvalidInput, match=r"within 3\.4e38: mend the embed function"):
        await VectorMemory(lambda text: [number]).save_context({"input": "x"}, {"output": "x"})


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
