"""Memories in this process: each kind, chains and graphs that use them, and what is wrong with them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from beluga_stream import (
    INJECTED,
    BufferMemory,
    Graph,
    History,
    InProcessStore,
    KeyValueMemory,
    Memory,
    Orchestrator,
    Retry,
    SQLiteStore,
    SummaryMemory,
    TokenBufferMemory,
    Turn,
    VectorMemory,
    WindowMemory,
    chain,
    node,
    resource,
)
from beluga_stream.api.buffer_memory import approximate_tokens
from beluga_stream.api.memory import StoredMemory
from beluga_stream.application.results import Chunk, RunChanged
from beluga_stream.cli.drawing import mermaid_of
from beluga_stream.domain.plan import Plan
from beluga_stream.errors import InvalidConfig, InvalidGraph, InvalidInput, InvalidState, RunFailed, StoreUnavailable


class Ask(BaseModel):
    session: str
    text: str


async def recalls(ask: Ask, history: History = INJECTED) -> list[str]:
    """The texts of all turns, this one's last."""
    return [*(turn.input for turn in history.turns), ask.text]


async def contents(given: dict[str, Any]) -> list[str]:
    return [message["content"] for message in given["history"]]


def session(ask: Ask) -> str:
    return ask.session


async def texts(memory: StoredMemory[Any], conversation: str = "default") -> list[Any]:
    return [turn.input for turn in (await memory.of(conversation).recall({"input": "?"})).turns]


async def talked(memory: StoredMemory[Any], *turns: str) -> None:
    for text in turns:
        await memory.save_context({"input": text}, {"output": f"{text}!"})


# ------------------------------------------------------------------------------------------- its kinds
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
        await _impatient(graph).invoke(Ask(session="x", text="c"))
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


# --------------------------------------------------------------------------------- in chains and graphs
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


# ------------------------------------------------------------------------------------------ of others
class Foreign:
    """A memory as other libraries have them: sync."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @property
    def memory_variables(self) -> list[str]:
        return ["lines"]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"lines": list(self.lines)}

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self.lines.append(f"{inputs} {outputs}")

    def clear(self) -> None:
        self.lines.clear()


class ForeignAsync(Foreign):
    """With async methods beside them, as LangChain's have."""

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"lines": [f"async {line}" for line in self.lines]}

    async def asave_context(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self.save_context(inputs, outputs)


async def test_a_memory_of_another_library_adapts() -> None:
    async def given_lines(given: dict[str, Any]) -> int:
        return len(given["lines"])

    async def asked(text: str, history: History = INJECTED) -> list[str]:
        return list(history.variables["lines"])

    memory = Foreign()
    assert isinstance(memory, Memory)
    assert [await chain(given_lines, memory=memory).invoke({"q": 1}) for _ in range(3)] == [0, 1, 2]
    talk = chain(asked, memory=ForeignAsync())
    assert [await talk.invoke("a"), await talk.invoke("b")] == [[], ["async {'input': 'a'} {'output': []}"]]


async def test_a_memory_that_gives_no_mapping_is_refused() -> None:
    class Wrong(Foreign):
        def load_memory_variables(self, inputs: dict[str, Any]) -> Any:
            return "text"

    with pytest.raises(RunFailed, match=r"Wrong\.load_memory_variables gave a str"):
        await chain(contents, memory=Wrong()).invoke({"q": 1})


# ------------------------------------------------------------------------------------------ bad input
def test_what_is_no_memory_is_refused() -> None:
    wrong: Any = "memory"
    with pytest.raises(InvalidConfig, match="memory= is a str: give a BufferMemory"):
        chain(recalls, memory=wrong)
    with pytest.raises(InvalidConfig, match="there is no memory="):
        chain(recalls, conversation=session)
    with pytest.raises(InvalidConfig, match="a Foreign is that of one"):
        chain(recalls, memory=Foreign(), conversation=session)


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


def _impatient(graph: Graph[Any, Any]) -> Graph[Any, Any]:
    """It does not wait between two attempts."""
    graph._blueprint.options = {"retry": Retry(4, first=0, most=0)}
    return graph


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
    _impatient(graph)
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
