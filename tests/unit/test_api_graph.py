"""What graphs compile to, and that it runs."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, Literal
from unittest.mock import AsyncMock, Mock

import pytest
from pydantic import BaseModel

from beluga_stream import (
    INJECTED,
    START,
    Chunk,
    Graph,
    Outcome,
    Retry,
    RunChanged,
    Signal,
    Stream,
    chain,
    context,
    node,
    resource,
)
from beluga_stream.domain.definition import EdgeMode, Join, NodeKind, OnFailure
from beluga_stream.errors import InvalidConfig, InvalidGraph, InvalidInput, RunFailed
from beluga_stream.ports.handlers import Program


class Doc(BaseModel):
    text: str


class Short(BaseModel):
    kind: Literal["short"] = "short"
    text: str


class Long(BaseModel):
    kind: Literal["long"] = "long"
    text: str


async def split(doc: Doc) -> list[str]:
    return doc.text.split()


def count(words: list[str]) -> int:
    return len(words)


def both(words: list[str], number: int) -> str:
    return f"{number}:{'-'.join(words)}"


def upper(word: str) -> str:
    return word.upper()


async def spell(words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield word


def spell_in_thread(words: list[str]) -> Iterator[str]:
    yield from words


async def read(words: Stream[str]) -> list[str]:
    return [word.upper() async for word in words]


def is_long(words: list[str]) -> bool:
    return len(words) > 3


def triage(doc: Doc) -> Short | Long:
    return Short(text=doc.text) if len(doc.text) < 9 else Long(text=doc.text)


def of_short(doc: Short) -> str:
    return f"short {doc.text}"


def of_long(doc: Long) -> str:
    return f"long {doc.text}"


def nodes_of(program: Program) -> dict[str, Any]:
    return {str(one.name): one for one in program.definition.nodes}


def edges_of(program: Program) -> set[tuple[str, str, str | None]]:
    return {(str(edge.source), str(edge.target), edge.into) for edge in program.definition.edges}


def test_both_forms_give_the_same_definition() -> None:
    typed = Graph[Doc, str]("one")
    words = typed.add_node(split, typed.input)
    number = typed.add_node(count, words.when(is_long))
    few = typed.add_node(count, words.otherwise(), name="few", retry=Retry(2))
    typed.set_finish_point(typed.add_node(both, words, typed.first(number, few, name="number")))

    named = Graph[Doc, str]("one")
    named.add_node("both", both)
    named.set_finish_point("both")
    named.add_node("few", count, retry=Retry(2))
    named.add_node("split", split)
    ref = named.add_node("count", count)
    named.first(ref, named._builder.blueprint and few_of(named), name="number")
    named.add_edge("number", "both").add_edge("split", "both", into="words")
    split_ref = ref_of(named, "split")
    named.add_edge(split_ref.otherwise(), "few").add_edge("split", "count", when=is_long)
    named.set_entry_point("split")

    assert typed.compile().definition.hash == named.compile().definition.hash
    assert asyncio.run(typed.invoke(Doc(text="a b"))) == asyncio.run(named.invoke(Doc(text="a b"))) == "2:a-b"


def ref_of(graph: Graph[Any, Any], name: str) -> Any:
    from beluga_stream.api.ref import Origin, Ref  # noqa: PLC0415 - what add_node returned, by name

    return Ref[Any](Origin(graph._blueprint, name))


def few_of(graph: Graph[Any, Any]) -> Any:
    return ref_of(graph, "few")


def test_a_sole_parameter_takes_the_edge_and_several_go_by_the_sources_name() -> None:
    graph = Graph[Doc, str]("names")
    graph.add_node("words", split)
    graph.add_node("number", count)
    graph.add_node("both", both)
    graph.set_entry_point("words")
    graph.add_edge("words", "number").add_edge("words", "both").add_edge("number", "both")
    graph.set_finish_point("both")
    assert edges_of(graph.compile()) == {
        ("input", "words", "doc"),
        ("words", "number", "words"),
        ("words", "both", "words"),
        ("number", "both", "number"),
    }


async def test_the_input_may_feed_one_parameter_of_several() -> None:
    graph = Graph[int, str]("start")
    graph.add_node("words", lambda number: ["a"] * number)
    graph.add_node("both", both)
    graph.add_edge(START, "words").add_edge("words", "both").add_edge(START, "both", into="number")
    graph.set_finish_point("both")
    assert await graph.invoke(2) == "2:a-a"


def test_options_of_add_node_win_over_those_of_the_decorator() -> None:
    @node(retry=Retry(7), timeout=timedelta(seconds=9), queue="gpu", name="decorated", max_crashes=0)
    def work(doc: Doc) -> str:
        return doc.text

    graph = Graph[Doc, str]("options")
    graph.add_node(work, graph.input)
    graph.set_finish_point(
        graph.add_node(
            work, graph.input, name="own", retry=Retry(2, on=(OSError,)), on_failure="continue", max_crashes=5
        )
    )
    graph.set_finish_point("decorated")
    graph._declared_kinds = lambda: (Doc, None)  # type: ignore[method-assign]
    program = graph.compile()
    decorated, own = nodes_of(program)["decorated"], nodes_of(program)["own"]
    assert (decorated.retry.attempts, decorated.timeout_ms, decorated.queue) == (7, 9_000, "gpu")
    assert (own.retry.attempts, own.retry.on, own.timeout_ms, own.queue) == (
        2,
        ("builtins.OSError",),
        9_000,
        "gpu",
    )
    assert own.on_failure is OnFailure.CONTINUE
    assert (decorated.max_crashes, own.max_crashes) == (0, 5)
    assert program.handlers[own.name].retry_on == (OSError,)


async def test_cases_route_by_the_type_that_was_returned() -> None:
    desk = Graph[Doc, str]("desk")
    kind = desk.add_node(triage, desk.input)
    desk.set_finish_point(
        desk.first(desk.add_node(of_short, kind.case(Short)), desk.add_node(of_long, kind.case(Long)))
    )
    assert nodes_of(desk.compile())["triage"].exhaustive
    assert await desk.invoke(Doc(text="a")) == "short a"
    assert await desk.invoke(Doc(text="a b c d e f")) == "long a b c d e f"


async def test_conditions_where_no_handler_runs_get_a_gate() -> None:
    graph = Graph[list[str], list[str] | int]("gates")
    long = graph.add_map(upper, graph.input.when(is_long))
    few = graph.add_node(count, graph.input.otherwise())
    shouted = graph.add_node(count, long.when(is_long), name="shouted")
    graph.set_finish_point(graph.first(shouted, few))
    with pytest.raises(InvalidGraph, match=r"may not be reached, when .* no condition of 'upper_gate' holds"):
        graph.compile()
    graph = Graph[list[str], list[str] | int]("gates")
    long = graph.add_map(upper, graph.input.when(is_long))
    few = graph.add_node(count, graph.input.otherwise())
    graph.set_finish_point(graph.first(long, few))
    assert nodes_of(graph.compile())["input_gate"].kind is NodeKind.TASK
    assert ("input", "input_gate", "value") in edges_of(graph.compile())
    assert await graph.invoke(["a"]) == 1
    assert await graph.invoke(["a", "b", "c", "d"]) == ["A", "B", "C", "D"]


@pytest.mark.parametrize("spelled", [spell, spell_in_thread])
async def test_a_stream_is_read_live_or_collected(spelled: Any) -> None:
    graph = Graph[Doc, str]("streams")
    words = graph.add_node(spelled, graph.add_node(split, graph.input), name="spell")
    shouted = graph.add_node(read, words.stream)
    graph.set_finish_point(graph.add_node(both, shouted, graph.add_node(count, words)))
    modes = {edge.mode for edge in graph.compile().definition.edges if edge.source == "spell"}
    assert modes == {EdgeMode.STREAM, EdgeMode.VALUE}
    assert await graph.invoke(Doc(text="a b")) == "2:A-B"
    events = [event async for event in graph.stream(Doc(text="a b"))]
    assert [event.value for event in events if isinstance(event, Chunk)] == ["a", "b"]
    assert isinstance(events[-1], RunChanged)
    assert events[-1].status == "succeeded"


async def test_names_draw_a_stream_where_the_parameter_is_one() -> None:
    graph = Graph[list[str], list[str]]("streams")
    graph.add_node("spell", spell)
    graph.add_node("read", read)
    graph.set_entry_point("spell").add_edge("spell", "read").set_finish_point("read")
    assert await graph.invoke(["a"]) == ["A"]


async def test_loops_selections_and_sleep() -> None:
    def longer(text: str) -> str:
        return text + "!"

    graph = Graph[str, list[str]]("loops")
    looped = graph.add_loop(longer, graph.input, until=lambda text: text.endswith("!!!"), max_passes=5)
    pause = graph.sleep(timedelta(milliseconds=5), after=looped)
    late = graph.add_node(upper, looped, after=pause)
    graph.set_finish_point(graph.n_of(2, looped, late))
    assert nodes_of(graph.compile())["longer"].max_passes == 5
    assert nodes_of(graph.compile())["2_of_longer_upper"].join is Join.N_OF
    assert await graph.invoke("a") == ["a!!!", "A!!!"]


async def test_outcomes_keep_a_failure_from_failing_the_run() -> None:
    @node(retry=Retry(1))
    def breaks(word: str) -> str:
        raise ValueError(word)

    def tell(outcomes: list[Outcome[str]]) -> list[str]:
        return [outcome.status for outcome in outcomes]

    graph = Graph[str, list[str]]("outcomes")
    done = graph.all_done(graph.add_node(breaks, graph.input), graph.add_node(upper, graph.input))
    graph.set_finish_point(graph.add_node(tell, done))
    assert await graph.invoke("a") == ["failed", "succeeded"]


async def test_a_graph_and_a_chain_are_nodes_and_items() -> None:
    inner = Graph[str, str]("inner")
    inner.set_finish_point(inner.add_node(upper, inner.input))
    outer = Graph[Doc, int]("outer")
    words = outer.add_node(split, outer.input)
    shouted = outer.add_map(inner, words, name="shouts")
    twice = outer.add_map(chain(upper, upper, name="twice"), shouted)
    outer.set_finish_point(outer.add_node(chain(count, name="counted"), twice))
    before = outer.compile()
    assert {child.definition.name for child in before.children.values()} == {"inner", "twice", "counted"}
    assert await outer.invoke(Doc(text="a b c")) == 3
    inner.add_node(upper, inner.input, name="more")
    assert outer.compile().definition.hash != before.definition.hash


async def test_waits_are_answered_by_signals() -> None:
    approval = Signal("approval", Doc)
    graph = Graph[str, str]("waits")
    asked = graph.add_node(upper, graph.input)
    decision = graph.wait(approval, after=asked, timeout=timedelta(days=2), remind=60)
    graph.set_finish_point(graph.add_node(lambda doc: doc.text, decision, name="tell", after=asked))
    graph2 = Graph[str, Doc]("waits")
    graph2.set_finish_point(graph2.wait(approval, timeout=5))
    assert nodes_of(graph2.compile())["approval"].timeout_ms == 5_000
    assert await graph2.invoke("a", signals={approval: Doc(text="yes")}) == Doc(text="yes")
    with pytest.raises(InvalidInput, match="signal 'approval'"):
        await graph2.invoke("a", signals={approval: 7})
    with pytest.raises(InvalidInput, match="does not wait for signal 'aproval': it waits for 'approval'"):
        await graph2.invoke("a", signals={Signal("aproval", Doc): Doc(text="yes")})
    with pytest.raises(InvalidInput, match="signals: 'approval' is no Signal"):
        await graph2.invoke("a", signals={"approval": Doc(text="yes")})  # type: ignore[dict-item]  # the point


async def test_fakes_stand_in_for_handlers_in_subgraphs_too() -> None:
    inner = Graph[str, str]("inner")
    inner.set_finish_point(inner.add_node(upper, inner.input))
    graph = Graph[Doc, list[str]]("faked")
    graph.set_finish_point(graph.add_map(inner, graph.add_node(split, graph.input)))

    def fake_split(whatever: Doc) -> list[str]:
        return ["x"]

    async def fake_upper(text: str) -> str:
        return text * 2

    assert await graph.invoke(Doc(text=""), fakes={split: fake_split, upper: fake_upper}) == ["xx"]
    with pytest.raises(InvalidInput, match="calls count"):
        await graph.invoke(Doc(text=""), fakes={count: count})
    with pytest.raises(InvalidGraph, match="must take 1"):
        await graph.invoke(Doc(text=""), fakes={split: lambda: ["x"]})
    with pytest.raises(InvalidGraph, match="must be a plain function"):
        await graph.invoke(Doc(text=""), fakes={split: spell})


async def test_fallback_and_compensation() -> None:
    undone: list[str] = []

    @node(retry=Retry(1))
    def pays(order: str) -> str:
        raise ConnectionError

    def invoices(for_whom: str) -> str:
        return f"invoice {for_whom}"

    def refunds(order: str, receipt: str) -> None:
        undone.append(f"{order}/{receipt}")

    @node(retry=Retry(1))
    def ships(receipt: str) -> str:
        raise OSError("no ship")

    graph = Graph[str, str]("saga")
    paid = graph.add_node(pays, graph.input, fallback=invoices, compensate=refunds)
    graph.set_finish_point(graph.add_node(ships, paid))
    with pytest.raises(RunFailed, match="no ship"):
        await graph.invoke("a")
    assert undone == ["a/invoice a"]


async def test_mocks_are_fakes_like_others() -> None:
    graph = Graph[Doc, list[str]]("mocked")
    graph.set_finish_point(graph.add_map(upper, graph.add_node(split, graph.input)))
    splits, uppers = AsyncMock(return_value=["a", "b"]), Mock(side_effect=str.upper)
    assert await graph.invoke(Doc(text="given"), fakes={split: splits, upper: uppers}) == ["A", "B"]
    splits.assert_awaited_once_with(Doc(text="given"))
    assert uppers.call_count == 2


class Pool:
    def __init__(self) -> None:
        self.opened = True


@resource
async def pool() -> AsyncIterator[Pool]:
    one = Pool()
    yield one
    one.opened = False


async def test_resources_are_injected_by_type_and_take_no_edge() -> None:
    seen: list[Pool] = []

    async def last(word: str, pool: Pool = INJECTED) -> str:
        seen.append(pool)
        return f"{word} {pool.opened}"

    def leading(pool: Pool, word: str) -> str:
        return f"{word} {pool.opened}"

    graph = Graph[str, str]("resources")
    graph.add_node("leading", leading)
    graph.add_edge(graph.add_node(last, graph.input), "leading").set_finish_point("leading")
    assert nodes_of(graph.compile())["last"].parameters == ("word",)
    assert await graph.invoke("a") == "a True True"
    assert not seen[0].opened


async def test_any_callable_is_a_handler() -> None:
    class Model:
        def __init__(self, suffix: str) -> None:
            self.suffix = suffix

        def invoke(self, input: str, config: dict[str, Any] | None = None) -> str:  # noqa: A002 - LangChain's
            return input + "sync"

        async def ainvoke(self, input: str, config: dict[str, Any] | None = None) -> str:  # noqa: A002
            return input + self.suffix

        async def astream(self, input: str, config: dict[str, Any] | None = None) -> AsyncIterator[str]:  # noqa: A002
            for letter in input:
                yield letter

        def method(self, text: str) -> str:
            return text + self.suffix

        async def __call__(self, text: str) -> str:
            return text

    class Called:
        async def __call__(self, text: str) -> str:
            return text + "C"

    def keyword(*, text: str, times: int = 2) -> str:
        return text * times

    def positional(text: str, /, more: str = "+") -> str:
        return text + more

    model = Model("M")
    graph = Graph[str, list[str]]("callables")
    ref = graph.add_node(model, graph.input)
    ref = graph.add_node(model.method, ref)
    ref = graph.add_node(Called(), ref)
    ref = graph.add_node(partial(positional, more="P"), ref)
    ref = graph.add_node("keyword", keyword)
    graph.add_edge("positional", "keyword")
    ref = graph.add_node(str.strip, ref)
    graph.set_finish_point(graph.add_node(model.astream, ref))
    assert list(nodes_of(graph.compile())) == [
        "Model",
        "method",
        "Called",
        "positional",
        "keyword",
        "strip",
        "astream",
    ]
    assert "".join(await graph.invoke("a")) == "aMMCPaMMCP"
    faked = await graph.invoke("a", fakes={model: upper})
    assert "".join(faked).startswith("AM")


async def test_a_parameter_left_out_has_its_default() -> None:
    def greet(name: str, greeting: str = "hello", mark: str | None = "!") -> str:
        return f"{greeting} {name}{mark}"

    def never(_: str) -> bool:
        return False

    graph = Graph[str, str]("defaults")
    word = graph.add_node(upper, graph.input)
    graph.add_node("greet", greet)
    graph.add_edge(word, "greet", into="name").add_edge(word.when(never), "greet", into="greeting")
    graph.set_finish_point("greet")
    assert nodes_of(graph.compile())["greet"].parameters == ("name", "greeting")
    assert await graph.invoke("a") == "hello A!"


async def test_a_sync_handler_may_run_in_the_event_loop() -> None:
    def inside(text: str) -> str:
        assert asyncio.get_running_loop().is_running()
        return context().node + text

    graph = Graph[str, str]("inline")
    graph.set_finish_point(graph.add_node(inside, graph.input, executor="async"))
    assert await graph.invoke("!") == "inside!"


async def test_batches_keep_their_order_and_their_limit() -> None:
    running = most = 0

    async def slow(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002 * (5 - number))
        running -= 1
        if number == 99:
            raise ValueError("99")
        return number

    graph = Graph[int, int]("batch")
    graph.set_finish_point(graph.add_node(slow, graph.input, retry=Retry(1)))
    assert await graph.batch(range(5), max_concurrency=2) == [0, 1, 2, 3, 4]
    assert most == 2
    with pytest.raises(RunFailed, match="99"):
        await graph.batch([1, 99, 2])
    first, failed, last = await graph.batch([1, 99, 2], max_concurrency=1, return_exceptions=True)
    assert (first, last) == (1, 2)
    assert isinstance(failed, RunFailed)


async def test_a_batch_whose_inputs_cannot_be_had_runs_nothing() -> None:
    ran: list[int] = []

    async def note(number: int) -> int:
        ran.append(number)
        return number

    def numbers() -> Iterator[int]:
        yield 1
        raise ConnectionError("the second cannot be had")

    before = asyncio.all_tasks()
    with pytest.raises(ConnectionError, match="the second"):
        await chain(note).batch(numbers())
    assert asyncio.all_tasks() == before
    assert ran == []


async def test_a_batch_that_is_cancelled_lets_each_run_tidy_up() -> None:
    began = asyncio.Semaphore(0)
    tidied: list[int] = []

    async def slow(number: int) -> int:
        began.release()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(number * 20):  # the first has long ended when the last one has
                await asyncio.sleep(0)
            tidied.append(number)
        return number

    graph = Graph[int, int]("cancelled")
    graph.set_finish_point(graph.add_node(slow, graph.input))
    task = asyncio.create_task(graph.batch(range(3)))
    for _ in range(3):
        await began.acquire()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert tidied == [0, 1, 2]


@pytest.mark.parametrize("bound", [0, -1])
async def test_a_batch_of_which_none_may_run_is_refused(bound: int) -> None:
    async def same(number: int) -> int:
        return number

    with pytest.raises(InvalidConfig, match=f"max_concurrency={bound}"):
        await chain(same).batch([1], max_concurrency=bound)


async def test_an_input_that_fails_its_type_is_the_callers_fault() -> None:
    graph = Graph[Doc, list[str]]("typed")
    graph.set_finish_point(graph.add_node(split, graph.input))
    with pytest.raises(InvalidInput):
        await graph.invoke("no doc")  # type: ignore[arg-type]  # the point


def test_schemas_are_those_of_input_and_result() -> None:
    graph = Graph[Doc, list[str]]("schemas")
    graph.set_finish_point(graph.add_node(split, graph.input))
    definition = graph.compile().definition
    assert definition.input_schema["required"] == ["text"]
    assert definition.output_schema == {"type": "array", "items": {"type": "string"}}
    bare: Graph[Any, Any] = Graph("schemas")
    bare.set_finish_point(bare.add_node(split, bare.input))
    assert bare.compile().definition.hash == definition.hash


def test_what_is_compiled_is_kept_until_the_graph_changes() -> None:
    graph = Graph[Doc, Any]("kept")
    words = graph.add_node(split, graph.input)
    graph.set_finish_point(words)
    first = graph.compile()
    assert graph.compile() is first
    graph.add_node(count, words)
    assert graph.compile() is not first


def test_a_durable_graph_compiles_and_deploys_as_any_other() -> None:
    graph = Graph[Doc, list[str]]("lasting", durable=True)
    graph.set_finish_point(graph.add_node(split, graph.input))
    assert graph.compile().definition.durable
    assert graph.deploy()[0] is graph.compile()
