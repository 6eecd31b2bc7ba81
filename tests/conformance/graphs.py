"""One graph for each meaning that every shell must agree on.

Also a deployment: BELUGA_AGENTS=tests.conformance.graphs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, BaseModel, Field

from beluga_stream import START, Graph, Limit, Outcome, Retry, Signal, Stream, Topic, chain, context, node


class Doc(BaseModel):
    text: str


@dataclass
class Short:
    text: str


@dataclass
class Long:
    lines: list[str]


@dataclass
class Same:
    text: str


class Decision(BaseModel):
    ok: bool


class Renamed(BaseModel):
    """Its fields have other names outside, and not the same for reading and writing."""

    id: str = Field(alias="docId")
    size: int = Field(0, serialization_alias="bytes")
    title: str = Field("", validation_alias=AliasChoices("name", "heading"))


async def split(doc: Doc) -> list[str]:
    return doc.text.split()


async def count(words: list[str]) -> int:
    return len(words)


def upper(word: str) -> str:  # in a thread
    return word.upper()


async def join(words: list[str]) -> str:
    return " ".join(words)


async def pair(number: int, text: str) -> str:
    return f"{number}:{text}"


async def letters(words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield word[0]


def numbers(upto: int) -> Iterator[int]:  # in a thread
    yield from range(upto)


async def narrate(chunks: Stream[str]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield f"<{chunk}>"


async def counts(most: int) -> AsyncIterator[int]:
    """Fails in the midst of its first attempt, and goes on where it was if it may."""
    for number in range(len(context().emitted(int)), most):
        yield number * 10 + context().attempt
        if number == most // 2 and context().attempt == 1:
            raise RuntimeError("not yet")


async def never_whole(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number
    raise RuntimeError("never")


async def plus_one(numbers: Stream[int]) -> AsyncIterator[int]:
    async for number in numbers:
        yield number + 1


async def listed(numbers: Stream[int]) -> list[int]:
    return [number async for number in numbers]


async def beside(first: list[int], second: list[int], third: list[int]) -> list[list[int]]:
    return [first, second, third]


async def whatever(numbers: list[int] | None, also: int) -> str:
    return f"{numbers} {also}"


async def triage(doc: Doc) -> Short | Long:
    lines = doc.text.splitlines()
    return Short(text=doc.text) if len(lines) < 2 else Long(lines=lines)


async def brief(short: Short) -> str:
    return f"brief {short.text}"


async def deep(long: Long) -> str:
    return f"deep {len(long.lines)}"


async def alike(text: str) -> Short | Same:
    return Same(text=text) if text.isupper() else Short(text=text)


async def of_alike(one: Short | Same) -> str:
    return f"{type(one).__name__} {one.text}"


async def increment(number: int) -> int:
    return number + 1


async def double(number: int) -> int:
    return number * 2


async def spread(number: int) -> list[int]:
    return list(range(number))


async def total(numbers: list[int]) -> int:
    return sum(numbers)


@node(retry=Retry(3, first=0.01))
async def flaky(number: int) -> int:
    if context().attempt < 3:
        raise ConnectionError("not yet")
    return number


@node(retry=Retry(3, first=0.01))
async def step_by_step(upto: int) -> list[int]:
    before = context().heartbeat_details
    done = [] if before is None else [*before["done"]]
    done.append(len(done))
    await context().heartbeat({"done": done})
    if len(done) < upto:
        raise ConnectionError("not all of it yet")
    return done


@node(retry=Retry(1))
async def broken(number: int) -> int:
    raise ValueError(f"never {number}")


@node(retry=Retry(1))
async def broken_if_odd(number: int) -> int:
    return await broken(number) if number % 2 else number * 2


async def instead(number: int) -> int:
    return -number


async def told(outcomes: list[Outcome[int]]) -> list[str]:
    return [f"{outcome.status} {outcome.value} {outcome.code}" for outcome in outcomes]


async def maybe(left: int | None, right: int | None) -> str:
    return f"{left} {right}"


async def defaulted(number: int, optional: int | None = 7, anything: Any = 8, /, named: int = 9) -> str:
    return f"{number} {optional} {anything} {named}"


async def nothing(number: int) -> None:
    return None


async def slow(number: int) -> int:
    await asyncio.sleep(30)
    return number


@node(retry=Retry(1), timeout=0.05)
async def late(number: int) -> int:
    await asyncio.sleep(30)
    return number


@node(retry=Retry(1))
def wrong(number: int) -> int:
    return "no number"  # type: ignore[return-value]  # what a node returns is checked when it runs


async def large(number: int) -> str:
    return "x" * number


async def size(text: str) -> int:
    return len(text)


async def decided(number: int, decision: Decision) -> str:
    return f"{number} {decision.ok}"


async def if_approved(number: int, decision: Decision) -> int:
    return number + decision.ok


def pause(number: int) -> int:
    time.sleep(0.01)
    return number


async def same(doc: Renamed) -> Renamed:
    return doc


async def copies(doc: Renamed) -> AsyncIterator[Renamed]:
    yield doc
    yield doc


async def power_of_two(exponent: int) -> Any:
    return 2**exponent


async def untouched(value: Any) -> Any:
    return value


UNDONE: list[int] = []


async def undo(number: int, output: int) -> None:
    UNDONE.append(output)


approval = Signal("approval", Decision)

words = chain(split, count, name="words")

diamond = Graph[Doc, str]("diamond")
_parts = diamond.add_node(split, diamond.input)
diamond.set_finish_point(diamond.add_node(pair, diamond.add_node(count, _parts), diamond.add_node(join, _parts)))

shouts = Graph[Doc, str]("shouts")
shouts.set_finish_point(
    shouts.add_node(join, shouts.add_map(upper, shouts.add_node(split, shouts.input), max_parallel=2))
)
shouts.trigger(Topic("conformance.docs", Doc))

pages = Graph[int, int]("pages")
pages.set_finish_point(pages.add_node(total, pages.add_map(double, pages.add_node(spread, pages.input))))

streams = Graph[Doc, list[str]]("streams")
_letters = streams.add_node(letters, streams.add_node(split, streams.input))
streams.set_finish_point(streams.add_node(narrate, _letters.stream))

_AGAIN = Retry(3, first=0.01)


def stages(name: str, *, resume: bool) -> Graph[int, list[list[int]]]:
    """Three stages that read one another, and two more readers of the first."""
    graph = Graph[int, list[list[int]]](name)
    first = graph.add_node(counts, graph.input, retry=_AGAIN, resume=resume)
    second = graph.add_node(plus_one, first.stream)
    graph.set_finish_point(
        graph.add_node(
            beside, first, graph.add_node(listed, first.stream), graph.add_node(listed, second.stream, name="last")
        )
    )
    return graph


stages_again = stages("stages_again", resume=False)
stages_resumed = stages("stages_resumed", resume=True)


def mapped(name: str, *, resume: bool) -> Graph[int, list[list[int]]]:
    """Two maps over one stream whose writer fails in the midst, and a map over what one of them gave."""
    graph = Graph[int, list[list[int]]](name)
    first = graph.add_node(counts, graph.input, retry=_AGAIN, resume=resume)
    one = graph.add_map(increment, first.stream, max_parallel=2)
    other = graph.add_map(flaky, first.stream, max_parallel=100)
    graph.set_finish_point(graph.add_node(beside, one, other, graph.add_map(double, one)))
    return graph


mapped_again = mapped("mapped_again", resume=False)
mapped_resumed = mapped("mapped_resumed", resume=True)

mapped_pages = Graph[int, int]("mapped_pages")
mapped_pages.set_finish_point(
    mapped_pages.add_node(
        total, mapped_pages.add_map(double, mapped_pages.add_node(numbers, mapped_pages.input).stream, max_parallel=8)
    )
)

mapped_forgiven = Graph[int, str]("mapped_forgiven")
_never = mapped_forgiven.add_node(never_whole, mapped_forgiven.input, on_failure="continue", retry=Retry(2, first=0.01))
_of_never = mapped_forgiven.add_map(increment, _never.stream)
mapped_forgiven.set_finish_point(
    mapped_forgiven.add_node(
        whatever, _of_never, mapped_forgiven.add_node(increment, mapped_forgiven.input, name="also")
    )
)

mapped_broken = Graph[int, list[int]]("mapped_broken")
mapped_broken.set_finish_point(
    mapped_broken.add_map(broken, mapped_broken.add_node(numbers, mapped_broken.input).stream)
)

mapped_graphs = Graph[int, list[int]]("mapped_graphs")
_each = Graph[int, int]("mapped_each")
_each.set_finish_point(_each.add_node(double, _each.add_node(increment, _each.input)))
mapped_graphs.set_finish_point(
    mapped_graphs.add_map(_each, mapped_graphs.add_node(numbers, mapped_graphs.input).stream, max_parallel=3)
)

forgiven = Graph[int, str]("forgiven")
_unreliable = forgiven.add_node(never_whole, forgiven.input, on_failure="continue", retry=Retry(2, first=0.01))
_read = forgiven.add_node(listed, _unreliable.stream)
forgiven.set_finish_point(forgiven.add_node(whatever, _read, forgiven.add_node(increment, forgiven.input)))

broken_off = Graph[int, list[int]]("broken_off")
_unread = broken_off.add_node(never_whole, broken_off.input, retry=Retry(1))
broken_off.set_finish_point(broken_off.add_node(listed, _unread.stream))

threads = Graph[int, int]("threads")
threads.set_finish_point(threads.add_node(total, threads.add_node(numbers, threads.add_node(pause, threads.input))))

desk = Graph[Doc, str]("desk")
_kind = desk.add_node(triage, desk.input)
desk.set_finish_point(desk.first(desk.add_node(brief, _kind.case(Short)), desk.add_node(deep, _kind.case(Long))))

told_apart = Graph[str, str]("told_apart")
told_apart.set_finish_point(told_apart.add_node(of_alike, told_apart.add_node(alike, told_apart.input)))

routed = Graph[Doc, str]("routed")
_any_kind = routed.add_node(triage, routed.input)
routed.set_finish_point(routed.add_node(lambda one: type(one).__name__, _any_kind.case(Short | Long), name="either"))

either = Graph[int, str]("either")
_number = either.add_node(increment, either.input)
_big = either.add_node(double, _number.when(lambda number: number > 10))
_small = either.add_node(increment, _number.otherwise(), name="small")
either.set_finish_point(either.add_node(maybe, _big, _small))

skipped = Graph[int, str]("skipped")
_counted = skipped.add_node(increment, skipped.input)
_huge = skipped.add_node(double, _counted.when(lambda number: number > 10))
skipped.set_finish_point(skipped.add_node(defaulted, _counted, _huge, _huge, _huge))

emptied = Graph[int, str]("emptied")
_none = emptied.add_node(nothing, emptied.input)
_low = emptied.add_node(double, emptied.add_node(increment, emptied.input).when(lambda number: number > 10))
emptied.set_finish_point(emptied.add_node(defaulted, emptied.input, _none, _low, _low))

race = Graph[int, int]("race")
race.set_finish_point(race.first(race.add_node(slow, race.input), race.add_node(increment, race.input)))

two = Graph[int, list[int]]("two")
two.set_finish_point(
    two.n_of(2, two.add_node(increment, two.input), two.add_node(double, two.input), two.add_node(slow, two.input))
)

outcomes = Graph[int, list[str]]("outcomes")
outcomes.set_finish_point(
    outcomes.add_node(
        told,
        outcomes.all_done(outcomes.add_node(broken, outcomes.input), outcomes.add_node(double, outcomes.input)),
    )
)

retried = Graph[int, int]("retried")
retried.set_finish_point(retried.add_node(flaky, retried.input))

going_on = Graph[int, list[int]]("going_on")
going_on.set_finish_point(going_on.add_node(step_by_step, going_on.input))

fallen = Graph[int, int]("fallen")
fallen.set_finish_point(fallen.add_node(broken, fallen.input, fallback=instead))

_pass = Graph[int, int]("pass")
_pass.set_finish_point(_pass.add_node(increment, _pass.add_node(double, _pass.input, after=_pass.sleep(0.01))))
_bad_pass = Graph[int, int]("bad_pass")
_bad_pass.set_finish_point(_bad_pass.add_node(broken, _bad_pass.input))

passes = Graph[int, str]("passes")
_passed = passes.add_loop(_pass, passes.input, until=lambda number: number > 20, max_passes=9)
passes.set_finish_point(passes.add_node(large, _passed))

endless_graphs = Graph[int, int]("endless_graphs")
endless_graphs.set_finish_point(
    endless_graphs.add_loop(_pass, endless_graphs.input, until=lambda _: False, max_passes=3)
)

bad_passes = Graph[int, int]("bad_passes")
bad_passes.set_finish_point(bad_passes.add_loop(_bad_pass, bad_passes.input, until=lambda _: False, max_passes=3))


_around = Graph[int, int]("around_passes")
_around.set_finish_point(
    _around.add_loop(
        chain(increment, double, name="line"),
        _around.add_node(total, _around.add_map(increment, _around.add_node(spread, _around.input))),
        until=lambda number: number % 3 == 0,
        max_passes=5,
    )
)

passes_of_passes = Graph[int, int]("passes_of_passes")
passes_of_passes.set_finish_point(
    passes_of_passes.add_loop(_around, passes_of_passes.input, until=lambda number: number > 1_000, max_passes=3)
)

_asking_pass = Graph[int, int]("asking_pass")
_asking_pass.set_finish_point(
    _asking_pass.add_node(
        if_approved, _asking_pass.input, _asking_pass.wait(approval, after=_asking_pass.sleep(0.01), timeout=30)
    )
)

asking_passes = Graph[int, int]("asking_passes")
_asked = asking_passes.add_loop(_asking_pass, asking_passes.input, until=lambda number: number > 3, max_passes=2)
asking_passes.set_finish_point(asking_passes.add_node(double, _asked))


async def instead_of(number: int) -> int:
    return -number


items_fallen = Graph[int, list[int]]("items_fallen")
items_fallen.set_finish_point(
    items_fallen.add_map(broken_if_odd, items_fallen.add_node(numbers, items_fallen.input), fallback=instead_of)
)

passes_fallen = Graph[int, int]("passes_fallen")
passes_fallen.set_finish_point(
    passes_fallen.add_loop(
        broken_if_odd, passes_fallen.input, until=lambda number: number > 20, max_passes=9, fallback=increment
    )
)

loop = Graph[int, int]("loop")
loop.set_finish_point(loop.add_loop(double, loop.input, until=lambda number: number > 100, max_passes=20))

endless = Graph[int, int]("endless")
endless.set_finish_point(endless.add_loop(increment, endless.input, until=lambda _: False, max_passes=3))

inner = Graph[int, int]("inner")
inner.set_finish_point(inner.add_node(double, inner.add_node(increment, inner.input)))

outer = Graph[int, int]("outer")
outer.set_finish_point(outer.add_node(increment, outer.add_node(inner, outer.input), name="after"))

nested = Graph[int, list[int]]("nested")
nested.set_finish_point(nested.add_map(inner, nested.add_node(spread, nested.input), max_parallel=3))

limited = Graph[int, list[int]]("limited", limit=Limit(1))
limited.set_finish_point(
    limited.add_map(increment, limited.add_node(spread, limited.input), limit=[Limit(2), Limit(rate=500, name="even")])
)

each_limited = Graph[int, list[list[int]]]("each_limited")
each_limited.set_finish_point(each_limited.add_map(limited, each_limited.add_node(spread, each_limited.input)))

rest = Graph[int, int]("rest")
rest.set_finish_point(rest.add_node(increment, rest.input, after=rest.sleep(0.05)))

ask = Graph[int, str]("ask")
ask.set_finish_point(
    ask.add_node(decided, ask.input, ask.wait(approval, after=ask.add_node(increment, ask.input), timeout=30))
)

blobs = Graph[int, int]("blobs")
blobs.set_finish_point(blobs.add_node(size, blobs.add_node(large, blobs.input)))

several = Graph[int, dict[str, int]]("several")
several.set_finish_point(several.add_node(increment, several.input), several.add_node(double, several.input))

failing = Graph[int, int]("failing")
failing.set_finish_point(failing.add_node(broken, failing.add_node(increment, failing.input, compensate=undo)))

failing_after_graph = Graph[int, int]("failing_after_graph")
failing_after_graph.set_finish_point(
    failing_after_graph.add_node(broken, failing_after_graph.add_node(rest, failing_after_graph.input, compensate=undo))
)

timing = Graph[int, int]("timing")
timing.set_finish_point(timing.add_node(late, timing.input))

mistyped = Graph[int, int]("mistyped")
mistyped.set_finish_point(mistyped.add_node(wrong, mistyped.input))

renamed = Graph[Renamed, list[Renamed]]("renamed")
renamed.set_finish_point(renamed.add_node(copies, renamed.add_node(same, renamed.input)))

too_large = Graph[int, Any]("too_large")
too_large.set_finish_point(too_large.add_node(untouched, too_large.add_node(power_of_two, too_large.input)))

plain = Graph[Doc, int]("plain")
plain.add_node("split", split)
plain.add_node("count", count)
plain.add_edge(START, "split")
plain.add_edge("split", "count")
plain.set_finish_point("count")


@dataclass(frozen=True)
class Case:
    """A graph, an input, and what every shell must make of them: a result, or a failure's code."""

    graph: Any
    input: Any
    result: Any = None
    failure: str | None = None
    signals: tuple[tuple[Signal[Any], Any], ...] = ()

    def __str__(self) -> str:
        return str(self.graph.name)


RENAMED = Renamed.model_validate({"docId": "7", "heading": "On whales", "size": 3})

CASES = [
    Case(words, Doc(text="to be or not"), 4),
    Case(diamond, Doc(text="to be"), "2:to be"),
    Case(shouts, Doc(text="to be or not to be"), "TO BE OR NOT TO BE"),
    Case(pages, 0, 0),
    Case(pages, 64, 64 * 63),
    Case(pages, 200, 200 * 199),
    Case(streams, Doc(text="to be or"), ["<t>", "<b>", "<o>"]),
    Case(stages_again, 4, [[2, 12, 22, 32], [2, 12, 22, 32], [3, 13, 23, 33]]),
    Case(stages_resumed, 4, [[1, 11, 21, 32], [1, 11, 21, 32], [2, 12, 22, 33]]),
    Case(mapped_again, 4, [[3, 13, 23, 33], [2, 12, 22, 32], [6, 26, 46, 66]]),
    Case(mapped_resumed, 4, [[2, 12, 22, 33], [1, 11, 21, 32], [4, 24, 44, 66]]),
    Case(mapped_again, 0, [[], [], []]),
    Case(mapped_pages, 130, 130 * 129),
    Case(mapped_forgiven, 3, "None 4"),
    Case(mapped_broken, 3, failure="execution_failed"),
    Case(mapped_graphs, 5, [2, 4, 6, 8, 10]),
    Case(stages_again, 0, [[], [], []]),
    Case(forgiven, 3, "None 4"),
    Case(broken_off, 3, failure="execution_failed"),
    Case(threads, 5, 10),
    Case(desk, Doc(text="one"), "brief one"),
    Case(desk, Doc(text="one\ntwo\nthree"), "deep 3"),
    Case(told_apart, "be", "Short be"),
    Case(told_apart, "BE", failure="invalid_input"),
    Case(routed, Doc(text="one"), "Short"),
    Case(either, 20, "42 None"),
    Case(either, 1, "None 3"),
    Case(skipped, 20, "21 42 42 42"),
    Case(skipped, 1, "2 7 8 9"),
    Case(emptied, 1, "1 None 8 9"),
    Case(race, 1, 2),
    Case(two, 5, [6, 10]),
    Case(outcomes, 3, ["failed None execution_failed", "succeeded 6 None"]),
    Case(retried, 3, 3),
    Case(going_on, 3, [0, 1, 2]),
    Case(fallen, 3, -3),
    Case(loop, 3, 192),
    Case(items_fallen, 3, [0, -1, 4]),
    Case(items_fallen, 70, [2 * number if number % 2 == 0 else -number for number in range(70)]),
    Case(passes_fallen, 3, 32),
    Case(passes, 2, "x" * 23),
    Case(endless_graphs, 2, failure="execution_failed"),
    Case(bad_passes, 2, failure="execution_failed"),
    Case(passes_of_passes, 12, 202_890),
    Case(asking_passes, 3, 8, signals=((approval, Decision(ok=True)),)),
    Case(endless, 3, failure="execution_failed"),
    Case(outer, 3, 9),
    Case(nested, 4, [2, 4, 6, 8]),
    Case(limited, 70, list(range(1, 71))),
    Case(each_limited, 3, [[], [1], [1, 2]]),
    Case(rest, 3, 4),
    Case(ask, 3, "3 True", signals=((approval, Decision(ok=True)),)),
    Case(blobs, 200_000, 200_000),
    Case(several, 3, {"increment": 4, "double": 6}),
    Case(failing, 3, failure="execution_failed"),
    Case(failing_after_graph, 3, failure="execution_failed"),
    Case(timing, 3, failure="timeout"),
    Case(mistyped, 3, failure="invalid_input"),
    Case(plain, Doc(text="to be"), 2),
    Case(renamed, RENAMED, [RENAMED, RENAMED]),
    Case(too_large, 63, 2**63),
    Case(too_large, 70, failure="invalid_input"),
]
