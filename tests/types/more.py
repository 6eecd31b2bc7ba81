"""What the API has besides the twelve programs: each line must type check, and be the type it says."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, assert_type

from handlers import Decision, Doc, Order, Report, Short, brief, clean, count, digest, keywords, split, triage

from beluga_stream import (
    INJECTED,
    START,
    BufferMemory,
    Cache,
    Bulkhead,
    BusMessage,
    Chain,
    CircuitBreaker,
    Defaults,
    Graph,
    History,
    InProcessStore,
    Hedge,
    Join,
    KeyValueMemory,
    Memory,
    Message,
    Metrics,
    Orchestrator,
    Outcome,
    RateLimit,
    Ref,
    Retry,
    Runnable,
    Scheduled,
    Scheduler,
    SharedCircuits,
    Signal,
    SQLiteStore,
    Stream,
    StreamRef,
    SummaryMemory,
    TokenBufferMemory,
    Subscription,
    Task,
    Together,
    Topic,
    Turn,
    VectorMemory,
    WindowMemory,
    Workflow,
    batch,
    chain,
    debounce,
    join,
    local_bus,
    node,
    on_run,
    resource,
    temporal_worker,
)
from beluga_stream.api.managed import ManagedChain, ManagedGraph
from beluga_stream.patterns import Assign, ChatModel, Finish, Transcript, debate, router, scatter_gather, supervisor


class Pool: ...


@resource
async def pool() -> AsyncIterator[Pool]:
    yield Pool()


async def lookup(text: str, pool: Pool = INJECTED) -> int:
    return len(text)


def lines(text: str) -> Iterator[bytes]:
    yield text.encode()


async def words_of(texts: list[str]) -> list[str]:
    return texts


def tally(outcomes: list[Outcome[str]]) -> int:
    return sum(outcome.value is not None for outcome in outcomes)


def total(numbers: list[int]) -> int:
    return sum(numbers)


async def better(text: str) -> str:
    return text + "!"


@node(retry=Retry(2), timeout=1, queue="gpu", name="shout")
def upper(text: str) -> str:
    return text.upper()


class Model:
    """As LangChain's."""

    def invoke(self, input: str, config: dict[str, Any] | None = None) -> str:
        return input

    async def ainvoke(self, input: str, config: dict[str, Any] | None = None) -> str:
        return input


# chains: async and sync steps in any order, up to six, the last may stream
assert_type(chain(clean, count), Chain[str, int])
assert_type(chain(clean, lookup), Chain[str, int])
assert_type(chain(split, words_of, digest), Chain[Doc, list[str]])
assert_type(chain(clean, better, upper, clean, better, count), Chain[str, int])
assert_type(chain(better, better, better, better, better, better), Chain[str, str])

g = Graph[str, int]("more")
ref = g.add_node(clean, g.input, name="cleaned")
assert_type(ref, Ref[str])
assert_type(g.add_node(lookup, ref), Ref[int])
assert_type(g.add_node(lines, ref), StreamRef[bytes])
assert_type(g.add_node(lines, ref, name="lines2").stream, Ref[Stream[bytes]])
assert_type(g.add_map(len, g.add_node(lines, ref, name="lines3").stream, name="lengths"), Ref[list[int]])
assert_type(g.add_node(partial(lookup, pool=Pool()), ref, name="partly"), Ref[int])
assert_type(g.add_node(Model(), ref), Ref[str])
assert_type(g.add_node("named", clean), Ref[Any])
assert_type(g.add_node(better, ref, name="async", fallback=upper), Ref[str])  # a fallback may be of the other kind
assert_type(g.add_node(upper, ref, name="sync", fallback=better), Ref[str])
assert_type(g.add_loop(better, ref, until=lambda text: len(text) > 9, max_passes=5), Ref[str])
assert_type(g.add_loop(upper, ref, until=str.isupper, max_passes=5, name="loop2"), Ref[str])
assert_type(g.n_of(1, ref, ref), Ref[list[str]])
assert_type(g.all_done(ref, ref), Ref[list[Outcome[str]]])
assert_type(ref.outcome, Ref[Outcome[str]])
assert_type(g.add_node(tally, g.all_done(ref, ref), after=ref), Ref[int])
assert_type(g.sleep(5, after=[ref]), Ref[None])
assert_type(g.wait(Signal("s", Decision), timeout=5), Ref[Decision])
assert_type(g.first(ref, g.add_node(count, ref)), Ref[str | int])
g.add_edge(START, "named").set_entry_point("named", ref)
g.set_finish_point("a", "b")

# a graph and a chain are nodes, and the items of a map
inner = Graph[str, list[str]]("inner")
assert_type(g.add_node(inner, ref), Ref[list[str]])
assert_type(g.add_map(inner, g.add_node(keywords, ref), name="inners"), Ref[list[list[str]]])
assert_type(g.add_map(chain(clean, count), g.add_node(keywords, ref, name="k2")), Ref[list[int]])

# conditions narrow
desk = Graph[Doc, Report]("desk")
kind = desk.add_node(triage, desk.input)
assert_type(kind.case(Short), Ref[Short])
assert_type(desk.add_node(brief, kind.case(Short).when(lambda short: short.text != "")), Ref[Report])
kind.otherwise()


# triggers
def order_of(message: Message[Report]) -> Order:
    return Order(id=message.id)


after = Graph[Order, Report]("after")
after.trigger(on_run(desk, "succeeded"), order_of)
after.trigger(on_run(desk, "failed"), lambda message: Order(id=message.id))
same = Graph[Report, Report]("same").trigger(on_run(desk)).trigger(Topic("reports", Report))
chain(clean, count).trigger(Topic("words", str), where=lambda m: m.data != "")


async def running() -> None:
    assert_type(await g.invoke("", fakes={clean: upper}), int)
    assert_type(await g.batch(["", ""], max_concurrency=2), list[int])
    assert_type(await g.batch(["", ""], return_exceptions=True), list[int | BaseException])
    async for event in g.stream(""):
        print(event.cursor)

# several events together, and clocks
words = Topic("words", str)
numbers = Topic("numbers", int)
flags = Topic("flags", bool)
assert_type(join(words.by(str), numbers.by(str), within=5), Join[tuple[str, int]])
assert_type(join(words.by(str), numbers.by(str), within=5, on_missing="drop", late="drop"), Join[tuple[str, int]])
assert_type(join(words.by(str), numbers.by(str), within=5, on_missing="start"), Join[tuple[str | None, int | None]])
assert_type(join(words.by(str), numbers.by(str), flags.by(str), within=5), Join[tuple[str, int, bool]])
assert_type(batch(words, size=5, within=1), Together[list[str]])
assert_type(debounce(numbers.by(str), quiet=5), Together[int])
alone = Graph[tuple[str | None, int | None], str]("alone")
paired = Graph[tuple[str, int], str]("paired")
paired.trigger(join(words.by(str), numbers.by(str), within=5, on_missing=alone))
Graph[list[str], str]("listed").trigger(batch(words, size=5, within=1)).schedule("0 9 * * *", input=["x"])
Graph[int, str]("quiet").trigger(debounce(numbers.by(str), quiet=5)).trigger(
    debounce(words, quiet=5), lambda word: len(word)
)
Graph[str, str]("daily").schedule("0 9 * * *", tz="Europe/Berlin", input=lambda at: at.isoformat(), catch_up="all")

# an orchestrator's chains and graphs
class Embeds:
    def invoke(self, text: str, config: object = None) -> list[float]:
        return []


class Ranks:
    async def invoke(self, vector: list[float]) -> int:
        return 0


orch = Orchestrator(chains=Defaults(retries=1))
assert_type(orch.create_chain(clean), ManagedChain[str, str])
assert_type(orch.create_chain(clean, count, name="words", timeout=5), ManagedChain[str, int])
assert_type(orch.create_chain(split, words_of), ManagedChain[Doc, list[str]])
assert_type(orch.create_chain(clean, lines), ManagedChain[str, list[bytes]])
assert_type(orch.create_chain(clean, Embeds(), Ranks()), ManagedChain[str, int])
assert_type(orch.create_chain(inner, words_of), ManagedChain[str, list[str]])
assert_type(orch.create_chain(orch.create_chain(clean), chain(clean, count)), ManagedChain[str, int])
assert_type(orch.create_chain(clean, clean, clean, clean, clean, count), ManagedChain[str, int])
assert_type(orch.create_chain(clean, clean, clean, clean, clean, clean, count), ManagedChain[Any, Any])
made = orch.create_graph("made", str, int, max_workers=2)
assert_type(made, ManagedGraph[str, int])
made.set_finish_point(made.add_node(orch.create_chain(clean, count), made.input))
assert_type(made.add_node(Ranks(), made.add_node(Embeds(), made.input)), Ref[int])
runnable: Runnable[str, int] = made
maybe: Graph[str, str | None] = orch.create_graph("maybe", input=str, output=str | None)


durable: Graph[str, int] = Graph("durable", durable=True)
workflow = orch.create_workflow(durable, task_queue="q", metadata={"owner": "me"})
assert_type(workflow, Workflow[str, int])
assert_type(orch.create_workflow(Embeds, retries=2), Workflow[Any, Any])


async def executed() -> None:
    run = await workflow.execute("text", id="one")
    assert_type(run.workflow_id, str)
    assert_type(await workflow.get_result(run, timeout=5), int)
    async with temporal_worker(durable, log="memory"):
        await workflow.signal("one", Signal("approval", bool), True)


async def orchestrated() -> None:
    assert_type(await made.invoke(""), int)
    assert_type(await orch.create_chain(clean, count).batch([""]), list[int])
    assert_type(await orch.create_chain(clean, count).batch([""], return_exceptions=True), list[int | BaseException])
    async with orch:
        assert_type(orch.metrics(), Metrics)


def lead(transcript: Transcript) -> Assign | Finish:
    return Finish(answer=transcript.task)


async def worker(transcript: Transcript) -> str:
    return transcript.task


def counted(said: str) -> int:
    return len(said)


async def spelled(said: str) -> int:
    return len(said)


assert_type(supervisor("team", lead, {"worker": worker}, retry=Retry(3)), Graph[str, Transcript])
assert_type(
    supervisor("asked team", ChatModel("m").chooser(Assign | Finish, "Lead."), {"worker": ChatModel("m").agent("Work.")}),
    Graph[str, Transcript],
)
assert_type(debate("debate", {"one": worker}, worker, rounds=1), Graph[str, Transcript])
assert_type(router("desk", clean, {"a": counted, "b": spelled}, otherwise="a"), Graph[str, Any])
assert_type(scatter_gather("asked", {"a": counted, "b": spelled}, len), Graph[str, int])


# Memory and results that are kept.
class Ask:
    session: str = ""


class Lines:
    """A memory as other libraries have them."""

    @property
    def memory_variables(self) -> list[str]:
        return []

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, str]) -> None: ...

    def clear(self) -> None: ...


async def answer(ask: Ask, history: History = INJECTED) -> str:
    assert_type(history.turns, tuple[Turn, ...])
    return ask.session


async def summarise(summary: str, turns: Sequence[Turn]) -> str:
    return summary


@node(cache=Cache(60, store=SQLiteStore("x.db"), version="2"))
async def cached(text: str) -> int:
    return len(text)


memories: list[Memory] = [
    BufferMemory(),
    WindowMemory(3, store=InProcessStore()),
    TokenBufferMemory(100, count=len),
    SummaryMemory(summarise, budget=10, store=SQLiteStore),
    KeyValueMemory(lambda inputs, outputs: {"seen": inputs["x"]}),
    VectorMemory(lambda text: [1.0], k=2),
    Lines(),
]
assert_type(chain(answer, memory=BufferMemory(), conversation=lambda ask: ask.session), Chain[Ask, str])
assert_type(chain(answer, cached, memory=Lines()), Chain[Ask, int])
assert_type(chain(answer, count, memory=memories[0], conversation=lambda ask: ask.session), Chain[Ask, int])
assert_type(orch.create_chain(answer, memory=WindowMemory(1), conversation=lambda ask: "x"), ManagedChain[Ask, str])
talks = Graph[Ask, str]("talks", memory=WindowMemory(k=3).of("x"), conversation=lambda ask: ask.session)
talks.set_finish_point(talks.add_node(answer, talks.input, cache=Cache(timedelta(hours=1))))


# guards keep the type of what they stand around
guarded_count = CircuitBreaker("counting", store=SharedCircuits("circuits.db"))(Bulkhead(2)(RateLimit(5)(count)))
assert_type(chain(clean, guarded_count), Chain[str, int])
assert_type(chain(clean, Retry(2)(guarded_count)), Chain[str, int])
guarded = Graph[str, int]("guarded")


@node(timeout=5)
@Retry(2)
@CircuitBreaker("letters")
@Hedge(after=1)
async def letters(text: str) -> int:
    return len(text)


assert_type(guarded.add_node(letters, guarded.input), Ref[int])
assert_type(Graph[list[str], list[str]]("s").add_node(Bulkhead(1)(digest), Graph[list[str], str]("t").input), StreamRef[str])


# tasks are of what their calls give
async def scheduled() -> None:
    async with Scheduler(max_workers=2) as scheduler:
        counted = scheduler.submit(Task("count", letters, "a", priority=1, deadline=5))
        assert_type(counted, Scheduled[int])
        assert_type(await counted.result(), int)
        assert_type(await scheduler.submit(Task("chunks", digest, ["a"])).result(), list[str])
        assert_type(await scheduler.submit(Task("plain", lambda: "a")).result(), str)
        assert_type(await scheduler.submit(Task("chain", chain(clean, count), "a", needs=[counted])).result(), int)


# a loop over a graph gives what the graph gives; what stands in for an item gives what the item would
improving = Graph[Report, str]("improving")
draft = Graph[Report, Report]("draft")
bettered = improving.add_loop(draft, improving.input, until=lambda report: report.text != "", max_passes=3)
assert_type(bettered, Ref[Report])


def texts_of(report: Report) -> list[str]:
    return [report.text]


texts = improving.add_node(texts_of, bettered)
assert_type(improving.add_map(count, texts, fallback=len), Ref[list[int]])


# what is no class is a type, too: it is annotated where it must be known
either: Signal[Order | Report] = Signal("either", Order | Report)
assert_type(Graph[str, Order | Report]("heard").wait(either, timeout=5), Ref[Order | Report])
events: Topic[Order | Report] = Topic("events", Order | Report)
Graph[Order | Report, str]("any of them").trigger(events).trigger(Topic("others", Order | Report), lambda m: m.data)


# messages are of the type that is asked for
async def told(message: BusMessage[Order]) -> str:
    return message.data.id


async def told_of_either(message: BusMessage[Order | None]) -> None:
    print(message.data)


async def messages(order: Order) -> None:
    async with local_bus() as bus:
        await bus.subscribe("orders.>", Order | None, told_of_either)
        perhaps: str | None = await bus.request("orders.new", order, str | None)
        async for either in bus.receive("orders.>", Order | None):
            print(perhaps, either.data)
        assert_type(await bus.subscribe("orders.>", Order, told, group="g"), Subscription)
        assert_type(await bus.request("orders.new", order, str), str)
        async for message in bus.receive("orders.>", Order):
            assert_type(message, BusMessage[Order])
    orch.scheduler.submit(Task("again", messages))
    await orch.message_bus.publish("a", 1)
