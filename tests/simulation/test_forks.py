"""Forks at every node of a graph of every kind, on an engine that fails as a seed decides."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from beluga_stream import Graph, Retry, Stream, context
from beluga_stream.application.clients.runs import Runs
from beluga_stream.domain.ids import NodeKey, RunId, child_run_id, run_id
from beluga_stream.domain.payload import Inline
from beluga_stream.errors import BelugaError, Expired, InvalidInput, InvalidState, NotFound, RunFailed, TaskCanceled
from beluga_stream.testing.cluster import Cluster
from tests.simulation.seeds import SIDE_SEEDS
from tests.simulation.uses import used

_SEEDS = range(min(25, max(4, SIDE_SEEDS // 20)))
_TEXT = "to be or not"
_RESULT = "to-be-or-not 9 many 70000 12"
_HEARD_SECONDS = 600
"""Virtual: by then some coordinator has heard what was said, whoever else died."""


def _works(executed: list[tuple[str, str]]) -> Graph[str, str]:
    """A stream that is read live, a map, a branch, a subgraph and a long value; it notes what is executed."""

    def note(name: str) -> None:
        executed.append((context().run_id, name))

    async def words(text: str) -> AsyncIterator[str]:
        note("words")
        for word in text.split():
            yield word

    async def hear(said: Stream[str]) -> str:
        note("hear")
        return "-".join([word async for word in said])

    async def length(word: str) -> int:
        note("length")
        return len(word)

    async def few(total: list[int]) -> str:
        note("few")
        return "few"

    async def many(total: list[int]) -> str:
        note("many")
        return "many"

    async def swell(text: str) -> str:
        note("swell")
        return text[:1] * 70_000

    async def inside(text: str) -> int:
        return len(text)

    async def report(heard: str, lengths: list[int], size: str, big: str, inner: int) -> str:
        note("report")
        return f"{heard} {sum(lengths)} {size} {len(big)} {inner}"

    below = Graph[str, int]("below")
    below.set_finish_point(below.add_node(inside, below.input))
    graph = Graph[str, str]("forked")
    said = graph.add_node(words, graph.input)
    lengths = graph.add_map(length, said)
    is_few = lengths.when(lambda found: len(found) < 3)
    size = graph.first(graph.add_node(few, is_few), graph.add_node(many, lengths.otherwise()), name="size")
    big = graph.add_node(swell, graph.input)
    inner = graph.add_node(below, graph.input, name="below")
    graph.set_finish_point(graph.add_node(report, graph.add_node(hear, said.stream), lengths, size, big, inner))
    return graph


_AFTER = {
    "words": {"words", "hear", "length", "many", "report"},
    "hear": {"hear", "report"},
    "length": {"length", "many", "report"},
    "many": {"many", "report"},
    "size": {"report"},
    "swell": {"swell", "report"},
    "below": {"report"},
    "report": {"report"},
}
"""The handlers that run anew for each node that is forked at."""


@pytest.mark.parametrize("seed", _SEEDS)
def test_forks_give_what_their_run_gave_and_execute_what_comes_after(seed: int) -> None:
    executed: list[tuple[str, str]] = []
    graph = _works(executed)

    async def forked(runs: Runs, run: RunId, node: str) -> None:
        fork = await runs.fork(run, node, idempotency_key="k")
        assert await runs.fork(run, node, idempotency_key="k") == fork
        assert await runs.result(fork, timeout_seconds=4_000) == _RESULT
        assert {name for of, name in executed if of == fork} == _AFTER[node]

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, _TEXT, idempotency_key="one")
        assert await runs.result(run, timeout_seconds=4_000) == _RESULT
        for node in _AFTER:
            await forked(runs, run, node)
        edited = await runs.fork(run, "length", edited=Inline(["a", "bc"]))
        assert await runs.result(edited, timeout_seconds=4_000) == "to-be-or-not 3 few 70000 12"
        again = await runs.fork(edited, "few")
        assert await runs.result(again, timeout_seconds=4_000) == "to-be-or-not 3 few 70000 12"

    used(seed, [graph.compile()], use)


def _undoing() -> Graph[int, int]:
    """A graph that fails after a node that it undoes."""

    async def book(number: int) -> int:
        return number

    async def unbook(number: int, booked: int) -> None:
        assert number == booked

    async def pay(booked: int) -> int:
        raise ValueError(f"no money for {booked}")

    graph = Graph[int, int]("undoing")
    booked = graph.add_node(book, graph.input, compensate=unbook)
    graph.set_finish_point(graph.add_node(pay, booked, retry=Retry(1)))
    return graph


@pytest.mark.parametrize("seed", range(6))
def test_what_cannot_be_forked_is_refused_and_begins_nothing(seed: int) -> None:
    executed: list[tuple[str, str]] = []
    graph, undoing = _works(executed), _undoing()

    async def use(cluster: Cluster, runs: Runs) -> None:
        async def refused(kind: type[BelugaError], said: str, of: RunId, node: str, edited: object = None) -> None:
            with pytest.raises(kind, match=said):
                await runs.fork(of, node, edited=None if edited is None else Inline(edited))

        run = await runs.start(graph.name, _TEXT, idempotency_key="one")
        assert await runs.result(run, timeout_seconds=4_000) == _RESULT
        undone = await runs.start(undoing.name, 1, idempotency_key="two")
        with pytest.raises(RunFailed):
            await runs.result(undone, timeout_seconds=4_000)
        before = len(executed)
        await refused(NotFound, "there is no run", RunId("0" * 32), "words")
        await refused(InvalidState, "is a part of run", child_run_id(run, NodeKey("below")), "inside")
        await refused(InvalidState, "was undone", undone, "pay")
        await refused(NotFound, "has no node 'word'", run, "word")
        await refused(InvalidInput, "a part of a node", run, "length[0]")
        await refused(InvalidState, "would be again", run, "few")
        await refused(InvalidInput, "must be given a list", run, "length", "a word")
        await refused(InvalidInput, "give an object with some of", run, "report", {"heart": "x"})
        await refused(InvalidInput, "node 'below': the input: 5 is not of type", run, "below", 5)
        await refused(InvalidInput, "node 'length': 1: 2 is not of type", run, "length", ["a", 2])
        await refused(InvalidInput, "node 'report': inner: \"x\" is not of type", run, "report", {"inner": "x"})
        await refused(InvalidInput, "node 'report': lengths.1: \"b\" is not of", run, "report", {"lengths": [1, "b"]})
        assert len(executed) == before
        edited = await runs.fork(run, "report", edited=Inline({"heard": "nothing", "inner": 3}))
        assert await runs.result(edited, timeout_seconds=4_000) == "nothing 9 many 70000 3"
        inner = await runs.fork(run, "below", edited=Inline("four"))
        assert await runs.result(inner, timeout_seconds=4_000) == "to-be-or-not 9 many 70000 4"

    used(seed, [graph.compile(), undoing.compile()], use)


def _with_workflow(executed: list[tuple[str, str]], *, broken: Sequence[bool] = ()) -> Graph[int, str]:
    """A graph with a durable one between two nodes, which fails while it is broken."""

    def note(name: str) -> None:
        executed.append((context().run_id, name))

    async def inside(number: int) -> int:
        note("inside")
        if broken:
            raise ValueError("not yet")
        return number * 2

    async def before(number: int) -> int:
        note("before")
        return number + 1

    async def after(doubled: int) -> str:
        note("after")
        return f"<{doubled}>"

    durable = Graph[int, int]("lasting", durable=True)
    durable.set_finish_point(durable.add_node(inside, durable.input, retry=Retry(1)))
    graph = Graph[int, str]("around")
    doubled = graph.add_node(durable, graph.add_node(before, graph.input), name="lasting")
    graph.set_finish_point(graph.add_node(after, doubled))
    return graph


@pytest.mark.parametrize("seed", range(6))
def test_a_run_with_a_durable_part_is_forked_before_at_and_after_it(seed: int) -> None:
    executed: list[tuple[str, str]] = []
    graph = _with_workflow(executed)

    async def use(cluster: Cluster, runs: Runs) -> None:
        async def forked(node: str, result: str, anew: set[str], edited: Inline | None = None) -> None:
            fork = await runs.fork(run, node, edited=edited)
            assert await runs.result(fork, timeout_seconds=4_000) == result
            assert {name for of, name in executed if of.startswith(fork)} == anew

        run = await runs.start(graph.name, 1, idempotency_key="one")
        assert await runs.result(run, timeout_seconds=4_000) == "<4>"
        await forked("after", "<4>", {"after"})
        await forked("lasting", "<4>", {"inside", "after"})
        await forked("before", "<4>", {"before", "inside", "after"})
        await forked("lasting", "<10>", {"inside", "after"}, Inline(5))
        with pytest.raises(InvalidInput, match="node 'lasting': the input"):
            await runs.fork(run, "lasting", edited=Inline("five"))
        part = next(of for of, name in executed if name == "inside")
        with pytest.raises(BelugaError, match="is a part of run"):
            await runs.fork(RunId(part), "inside")

    used(seed, [graph.compile()], use)


@pytest.mark.parametrize("seed", range(3))
def test_a_run_whose_durable_part_failed_is_forked_there_as_another_workflow(seed: int) -> None:
    executed: list[tuple[str, str]] = []
    broken = [True]
    graph = _with_workflow(executed, broken=broken)

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, 1, idempotency_key="one")
        with pytest.raises(RunFailed):
            await runs.result(run, timeout_seconds=4_000)
        with pytest.raises(InvalidState, match="needs what 'lasting' gives"):
            await runs.fork(run, "after")
        broken.clear()
        fork = await runs.fork(run, "lasting")
        assert await runs.result(fork, timeout_seconds=4_000) == "<4>"
        assert {name for of, name in executed if of.startswith(fork)} == {"inside", "after"}

    used(seed, [graph.compile()], use)


@pytest.mark.parametrize("topic", ["run_results", "run_requests"])
@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_retention_has_removed_is_refused(seed: int, topic: str) -> None:
    graph = _works([])

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, _TEXT, idempotency_key="one")
        assert await runs.result(run, timeout_seconds=4_000) == _RESULT
        name: str = getattr(cluster.topics, topic)
        for partition, end in (await cluster.log.end(name)).items():
            cluster.log.drop_before(name, partition, end)
        before = await cluster.log.end(cluster.topics.run_requests)
        with pytest.raises(Expired, match="is kept no longer: start a new run"):
            await runs.fork(run, "report")
        assert await cluster.log.end(cluster.topics.run_requests) == before, "nothing is published"
        cluster.log._begins.clear()  # what is checked in the end is in the log

    used(seed, [graph.compile()], use)


@pytest.mark.parametrize("seed", range(2))
def test_a_run_whose_values_are_swept_is_forked_where_none_is_needed(seed: int) -> None:
    graph = _works([])

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = await runs.start(graph.name, _TEXT, idempotency_key="one")
        assert await runs.result(run, timeout_seconds=4_000) == _RESULT
        cluster.blobs.stored.clear()
        with pytest.raises(NotFound, match="what 'swell' gave is kept no longer"):
            await runs.fork(run, "report")
        anew = await runs.fork(run, "swell")
        assert await runs.result(anew, timeout_seconds=4_000) == _RESULT

    used(seed, [graph.compile()], use)


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_was_cancelled_before_it_began_is_refused(seed: int) -> None:
    graph = _works([])

    async def use(cluster: Cluster, runs: Runs) -> None:
        run = run_id(graph.name, "api", "late")
        await runs.cancel(run, "never mind")
        await asyncio.sleep(_HEARD_SECONDS)
        await runs.start(graph.name, _TEXT, idempotency_key="late")
        with pytest.raises(TaskCanceled):
            await runs.result(run, timeout_seconds=4_000)
        with pytest.raises(InvalidState, match="before it began: start a new run"):
            await runs.fork(run, "words")

    used(seed, [graph.compile()], use)
