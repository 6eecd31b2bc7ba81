"""One graph for each thing that a run may be in the midst of when the engine is replaced by a newer one.

While the gate is shut, handlers stand still or fail where a recording wants them to. A later engine plays the same
graphs with an open gate. Do not change a graph here: its definition is in the recordings, and its hash is its name.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from beluga_stream import Graph, Limit, Outcome, Retry, Signal, Stream, chain, context, node


class Gate:
    """Whether the handlers come to a stop."""

    shut = False


async def _at_the_gate() -> None:
    if Gate.shut:
        await asyncio.Event().wait()


async def increment(number: int) -> int:
    return number + 1


async def double(number: int) -> int:
    return number * 2


async def spread(number: int) -> list[int]:
    return list(range(number))


async def total(numbers: list[int]) -> int:
    return sum(numbers)


async def long_words(number: int) -> list[str]:
    return [f"{'word ' * 30}{index}" for index in range(number)]


async def count(words: list[str], answer: int) -> int:
    return len(words) + answer


@node(timeout=3600)
async def slow(number: int) -> int:
    await _at_the_gate()
    return number + 1


@node(queue="later")
async def elsewhere(number: int) -> int:
    return number + 1


@node(retry=Retry(3, on=(ConnectionError,), first=400, most=400))
async def flaky(number: int) -> int:
    if Gate.shut:
        await context().heartbeat(number)
        raise ConnectionError("not yet")
    return number + 1


@node(retry=Retry(1))
async def broken(number: int) -> int:
    if Gate.shut:
        raise ConnectionError("not while the gate is shut")
    return number + 1


@node(retry=Retry(1))
async def never(number: int) -> int:
    raise ValueError(f"never {number}")


async def instead(number: int) -> int:
    await _at_the_gate()
    return -number


async def telling(number: int) -> int:
    told = context().heartbeat_details
    if Gate.shut:
        for _ in range(2):
            await context().heartbeat({"number": number + 1})
            await asyncio.sleep(3)  # by then it has a lease
        await _at_the_gate()
    return int(told["number"])


async def up_to_two(number: int) -> int:
    if number > 1:
        await _at_the_gate()
    return number * 2


async def up_to_three(number: int) -> int:
    if number > 2:
        await _at_the_gate()
    return number * 2


async def up_to_twenty(number: int) -> int:
    if number > 20:
        await _at_the_gate()
    return number * 2


async def letters(number: int) -> AsyncIterator[str]:
    for index in range(number):
        if index == 2:
            await _at_the_gate()
        yield f"letter {index}"


async def undo(number: int, output: int) -> None:
    await _at_the_gate()


async def spell(parts: list[str]) -> str:
    await _at_the_gate()
    return "".join(part[-1] for part in parts)


async def forget(number: int, output: int) -> None:
    return


async def last(word: str) -> int:
    return int(word[-1])


async def lengths(lists: list[list[str]]) -> int:
    return sum(map(len, lists))


async def told_of(outcomes: list[Outcome[int]]) -> str:
    return " ".join(f"{outcome.status} {outcome.value}" for outcome in outcomes)


async def either_of(left: int | None, right: int | None) -> str:
    return f"{left} {right}"


async def relay(parts: Stream[str]) -> str:
    return "".join([part[-1] async for part in parts])


async def counting(number: int) -> AsyncIterator[int]:
    begin = len(context().emitted(int))
    for index in range(begin, number):
        if index == 2 and begin == 0:
            raise ConnectionError("half of it")
        yield index


async def counting_out(number: int) -> AsyncIterator[int]:
    if context().emitted(int):
        return
    for index in range(number):
        yield index
    raise ConnectionError("all of it, and then lost")


async def sum_of(numbers: Stream[int]) -> int:
    return sum([number async for number in numbers])


ANSWER = Signal("answer", int)
OTHER = Signal("other", int)


def _simple(name: str, handler: Any) -> Graph[int, int]:
    graph = Graph[int, int](name)
    graph.set_finish_point(graph.add_node(increment, graph.add_node(handler, graph.input), name="after"))
    return graph


quick = _simple("quick", double)
ready = _simple("ready", elsewhere)
running = _simple("running", slow)
tells = _simple("tells", telling)
backoff = _simple("backoff", flaky)
failed = _simple("failed", broken)
parked = _simple("parked", double)
inner = _simple("inner", slow)
overridden = _simple("overridden", flaky)
frail = _simple("frail", broken)

fallen = Graph[int, int]("fallen")
fallen.set_finish_point(fallen.add_node(never, fallen.input, fallback=instead))

waits = Graph[int, int]("waits")
waits.set_finish_point(waits.add_node(increment, waits.wait(ANSWER, after=waits.input, timeout=86_000)))

both = Graph[int, int]("both")
_first = both.wait(OTHER, after=both.input, timeout=86_000)
both.set_finish_point(both.add_node(increment, both.wait(ANSWER, after=_first, timeout=86_000)))

sleeps = Graph[int, int]("sleeps")
sleeps.set_finish_point(sleeps.add_node(increment, sleeps.input, after=sleeps.sleep(500)))

naps = Graph[int, int]("naps")
naps.set_finish_point(naps.add_node(increment, naps.input, after=naps.sleep(5)))

items = Graph[int, int]("items")
items.set_finish_point(
    items.add_node(total, items.add_map(up_to_two, items.add_node(spread, items.input), max_parallel=2))
)

pages = Graph[int, int]("pages")
pages.set_finish_point(
    pages.add_node(total, pages.add_map(up_to_three, pages.add_node(spread, pages.input), max_parallel=2))
)

loop = Graph[int, int]("loop")
loop.set_finish_point(loop.add_loop(up_to_twenty, loop.input, until=lambda number: number > 100, max_passes=20))

outer = Graph[int, int]("outer")
outer.set_finish_point(outer.add_node(double, outer.add_node(inner, outer.input)))

mends = Graph[int, int]("mends")
mends.set_finish_point(mends.add_node(double, mends.add_node(frail, mends.input)))

nested = Graph[int, int]("nested")
nested.set_finish_point(nested.add_node(total, nested.add_map(inner, nested.add_node(spread, nested.input))))

undoes = Graph[int, int]("undoes")
undoes.set_finish_point(undoes.add_node(never, undoes.add_node(increment, undoes.input, compensate=undo)))

streams = Graph[int, str]("streams")
streams.set_finish_point(streams.add_node(spell, streams.add_node(letters, streams.input)))

race = Graph[int, int]("race")
race.set_finish_point(race.first(race.add_node(slow, race.input), race.add_node(increment, race.input)))

either = Graph[int, str]("either")
_number = either.add_node(increment, either.input)
either.set_finish_point(
    either.add_node(
        either_of,
        either.add_node(slow, _number.when(lambda number: number > 10)),
        either.add_node(increment, _number.otherwise(), name="small"),
    )
)

line = chain(increment, double, name="line")

grows = Graph[int, int]("grows")
grows.set_finish_point(grows.add_node(double, grows.add_node(quick, grows.input)))

repents = Graph[int, int]("repents")
repents.set_finish_point(repents.add_node(never, repents.add_node(increment, repents.input, compensate=forget)))

regrets = Graph[int, int]("regrets")
regrets.set_finish_point(regrets.add_node(repents, regrets.input))

outcomes = Graph[int, str]("outcomes")
outcomes.set_finish_point(
    outcomes.add_node(
        told_of, outcomes.all_done(outcomes.add_node(never, outcomes.input), outcomes.add_node(slow, outcomes.input))
    )
)

careless = Graph[int, int]("careless")
careless.set_finish_point(
    careless.add_node(
        increment,
        careless.input,
        after=[
            careless.add_node(never, careless.input, on_failure="continue"),
            careless.wait(OTHER, after=careless.input, remind=3, timeout=86_000),
        ],
    )
)

words = Graph[int, int]("words")
words.set_finish_point(words.add_node(total, words.add_map(last, words.add_node(long_words, words.input))))

lists = Graph[int, int]("lists")
lists.set_finish_point(
    lists.add_node(
        lengths,
        lists.n_of(
            2,
            lists.add_node(long_words, lists.input),
            lists.add_node(long_words, lists.input, name="more"),
            lists.add_node(long_words, lists.input, name="late", after=lists.sleep(500)),
        ),
    )
)

stored = Graph[int, int]("stored")
stored.set_finish_point(
    stored.add_node(
        count, stored.add_node(long_words, stored.input), stored.wait(ANSWER, after=stored.input, timeout=86_000)
    )
)


reading = Graph[int, str]("reading")
reading.set_finish_point(reading.add_node(relay, reading.add_node(letters, reading.input).stream))


def _resumed(graph: Graph[int, int], writer: Any) -> Any:
    return graph.add_node(writer, graph.input, resume=True, retry=Retry(3, on=(ConnectionError,), first=0.01))


resuming = Graph[int, int]("resuming")
resuming.set_finish_point(resuming.add_node(sum_of, _resumed(resuming, counting).stream))

spent = Graph[int, int]("spent")
spent.set_finish_point(spent.add_node(sum_of, _resumed(spent, counting_out).stream))
limited = Graph[int, int]("limited")
limited.set_finish_point(limited.add_node(slow, limited.input, limit=Limit(1)))

admitted = Graph[int, int]("admitted", limit=Limit(1))
admitted.set_finish_point(admitted.add_node(slow, admitted.input))

brief = Graph[int, int]("brief", limit=Limit(1))
brief.set_finish_point(brief.add_node(double, brief.input))

rated = Graph[int, int]("rated")
rated.set_finish_point(rated.add_node(double, rated.input, limit=Limit(rate=1, per=10)))


@dataclass(frozen=True)
class Case:
    """A run with its idempotency key. `then` says what its user does after the upgrade.

    `signals` come then, unless they were sent early. `result` is how it ends: its output, or the code of its failure.
    `begins` is the first recording that has it.
    """

    key: str
    graph: Any
    input: int
    result: Any
    then: str = ""
    signals: tuple[tuple[Signal[Any], Any], ...] = ()
    begins: int = 1


HANGS = "unsent"
"""The coordinator hangs when it would send what it has decided about this run."""

CASES = (
    Case("quick", quick, 3, 7),
    Case("ready", ready, 3, 5),
    Case("running", running, 3, 5),
    Case("tells", tells, 3, 5),
    Case("backoff", backoff, 3, 5),
    Case("failed", failed, 3, 5, then="retry"),
    Case("parked", parked, 3, 7),
    Case("fallen", fallen, 3, -3),
    Case("waits", waits, 3, 6, signals=((ANSWER, 5),)),
    Case("buffered", both, 3, 6, signals=((OTHER, 1),)),
    Case("sleeps", sleeps, 3, 4),
    Case("naps", naps, 3, 4),
    Case("line", quick, 8, 17),
    Case("chain", line, 3, 8),
    Case("items", items, 5, 20),
    Case("pages", pages, 65, 65 * 64),
    Case("loop", loop, 3, 192),
    Case("child", outer, 3, 10),
    Case("nested", nested, 3, 9),
    Case("mends", mends, 3, 10, then="retry"),
    Case("undoes", undoes, 3, "execution_failed"),
    Case("streams", streams, 4, "0123"),
    Case("race", race, 3, 4),
    Case("either", either, 20, "22 None"),
    Case("stored", stored, 4, 9, signals=((ANSWER, 5),)),
    Case("overridden", overridden, 3, 5),
    Case("spelled", streams, 2, "01"),
    Case("grows", grows, 3, 14),
    Case("regrets", regrets, 3, "execution_failed"),
    Case("outcomes", outcomes, 3, "failed None succeeded 4"),
    Case("careless", careless, 3, 4, signals=((OTHER, 1),)),
    Case("words", words, 4, 6),
    Case("lists", lists, 4, 8),
    Case("reads", reading, 4, "0123", begins=2),
    Case("resumes", resuming, 4, 6, begins=2),
    Case("spent", spent, 3, 3, begins=2),
    Case("holds", limited, 3, 4, begins=2),
    Case("queues", limited, 5, 6, begins=2),
    Case("admitted", admitted, 3, 4, begins=2),
    Case("refused-yet", admitted, 5, 6, begins=2),
    Case("returned", brief, 3, 6, begins=2),
    Case("rated", rated, 3, 6, begins=2),
    Case("rated-too", rated, 5, 10, begins=2),
    Case("cancelled", running, 4, "task_canceled"),
    Case("never-begun", quick, 5, "task_canceled", then="start"),
    Case("early", waits, 5, 8, then="start"),
    Case(HANGS, quick, 6, 13),
    Case("unread", quick, 7, 15),
)


def cases_of(recording: str) -> list[Case]:
    """The runs that a recording has."""
    return [case for case in CASES if case.begins <= int(recording)]
