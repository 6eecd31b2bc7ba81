"""A graph that cannot run is refused when it is built; the error names the graph, the node and the fix."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, Literal, cast

import pytest
from pydantic import BaseModel

from beluga_stream import Graph, InvalidGraph, Outcome, Ref, Retry, Signal, Stream, Topic
from beluga_stream.errors import InvalidConfig


class Doc(BaseModel):
    text: str


class Short(Doc): ...


class Long(Doc): ...


class Socket:
    """What cannot travel."""


async def split(doc: Doc) -> list[str]:
    return doc.text.split()


def count(words: list[str]) -> int:
    return len(words)


def both(words: list[str], number: int) -> str:
    return f"{number} of {words}"


def maybe(words: list[str], number: int | None) -> str:
    return f"{number} of {words}"


def defaulted(words: list[str], number: int = 7) -> str:
    return f"{number} of {words}"


def kind_of(doc: Doc) -> Short | Long:
    return Short(text=doc.text) if len(doc.text) < 9 else Long(text=doc.text)


def of_short(doc: Short) -> str:
    return f"short {doc.text}"


def of_long(doc: Long) -> str:
    return f"long {doc.text}"


async def spell(words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield word


async def read(words: Stream[str]) -> list[str]:
    return [word async for word in words]


def judge(outcome: Outcome[int]) -> str:
    return outcome.status


def connects(doc: Doc) -> Socket:
    return Socket()


def takes(socket: Socket) -> str:
    return ""


def same(number: int) -> int:
    return number


def is_long(words: list[str]) -> bool:
    return len(words) > 3


G = Graph[Any, Any]


def unknown_edge(g: G) -> None:
    g.add_node("split", split)
    g.set_entry_point("split").add_edge("split", "cuont").set_finish_point("split")


def misspelt_edge(g: G) -> None:
    g.add_node("split", split)
    g.set_entry_point("spilt").set_finish_point("split")


def unknown_finish(g: G) -> None:
    g.add_node(split, g.input)
    g.set_finish_point("end")


def misspelt_finish(g: G) -> None:
    g.add_node(split, g.input)
    g.set_finish_point("spilt")


def no_reference(g: G) -> None:
    g.add_node(count, split)  # type: ignore[call-overload]  # the point


def signal_by_name(g: G) -> None:
    g.wait("decision", timeout=1)  # type: ignore[arg-type]  # the point


def case_of_no_class(g: G) -> None:
    g.add_node(split, g.input).case(Literal["a"])  # type: ignore[arg-type]  # the point


def condition_of_no_function(g: G) -> None:
    g.add_node(split, g.input).when("long")  # type: ignore[arg-type]  # the point


def edge_of_no_function(g: G) -> None:
    g.add_node("split", split)
    g.add_edge("input", "split", when=True)  # type: ignore[arg-type]  # the point


def loop_until_nothing(g: G) -> None:
    g.add_loop(same, g.input, until=None, max_passes=3)  # type: ignore[arg-type]  # the point


def half_a_pass(g: G) -> None:
    g.add_loop(same, g.input, until=bool, max_passes=2.5)  # type: ignore[arg-type]  # the point


def parallel_text(g: G) -> None:
    g.add_map(same, g.input, max_parallel="3")  # type: ignore[arg-type]  # the point


def no_finish(g: G) -> None:
    g.add_node(split, g.input)


def unreachable(g: G) -> None:
    g.set_finish_point(g.add_node(split, g.input))
    g.add_node("count", count)


def cycle(g: G) -> None:
    g.add_node("a", lambda x, y: x)
    g.add_node("b", lambda x: x)
    g.add_edge("input", "a", into="x").add_edge("b", "a", into="y").add_edge("a", "b").set_finish_point("b")


def twice(g: G) -> None:
    g.add_node(split, g.input)
    g.add_node(split, g.input)


def type_misfit(g: G) -> None:
    g.add_node("split", split)
    g.add_node("short", of_short)
    g.set_entry_point("split").add_edge("split", "short").set_finish_point("short")


def map_over_no_list(g: G) -> None:
    number = g.add_node(count, g.add_node(split, g.input))
    g.set_finish_point(g.add_map(lambda item: item, number, name="each"))


def item_misfit(g: G) -> None:
    g.set_finish_point(g.add_map(split, g.add_node(split, g.input), name="each"))  # type: ignore[type-var]  # the point


def not_serialisable(g: G) -> None:
    g.set_finish_point(g.add_node(connects, g.input))


def input_not_serialisable(g: G) -> None:
    g.set_finish_point(g.add_node("takes", takes)).set_entry_point("takes")


def unbound(g: G) -> None:
    g.set_finish_point(g.add_node("both", both))
    g.add_edge(g.add_node(split, g.input), "both", into="words")


def unclear(g: G) -> None:
    g.set_finish_point(g.add_node("both", both))
    g.add_edge(g.add_node(split, g.input), "both")


def bound_twice(g: G) -> None:
    words = g.add_node(split, g.input)
    g.add_node("count", count)
    g.add_edge(words, "count").add_edge(g.add_node(split, g.input, name="again"), "count")
    g.set_finish_point("count")


def too_many(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node(count, words, words))  # type: ignore[call-overload]  # the point


def dead_edge(g: G) -> None:
    words = g.add_node(split, g.input)
    number = g.add_node(count, words.when(is_long))
    g.set_finish_point(g.add_node(both, words, number))


def dead_by_failure(g: G) -> None:
    words = g.add_node(split, g.input)
    number = g.add_node(count, words, on_failure="continue")
    g.set_finish_point(g.add_node(both, words, number))


def dead_finish(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node(count, words.when(is_long)))


def not_exhaustive(g: G) -> None:
    kind = g.add_node(kind_of, g.input)
    g.set_finish_point(g.first(g.add_node(of_short, kind.case(Short))))


def value_into_stream(g: G) -> None:
    words: Ref[Any] = g.add_node(spell, g.add_node(split, g.input))
    g.set_finish_point(g.add_node(read, words))


def stream_into_value(g: G) -> None:
    words = g.add_node(spell, g.add_node(split, g.input))
    g.set_finish_point(g.add_node("count", count))
    g.add_edge(words.stream, "count")


def stream_into_map(g: G) -> None:
    words = g.add_node(spell, g.add_node(split, g.input))
    g.set_finish_point(g.add_map(count, cast("Any", words.stream), name="each"))


def stream_into_plain_function(g: G) -> None:
    def reads(words: Stream[str]) -> int:
        return 0

    g.set_finish_point(g.add_node(reads, g.add_node(spell, g.add_node(split, g.input)).stream))


def condition_into_stream(g: G) -> None:
    g.add_node("split", split)
    g.add_node("spell", spell)
    g.add_node("read", read)
    g.set_entry_point("split").add_edge("split", "spell").add_edge("spell", "read", when=bool).set_finish_point("read")


def stream_of_no_stream(g: G) -> None:
    g.add_node("split", split)
    g.add_node("read", read)
    g.set_entry_point("split").add_edge("split", "read").set_finish_point("read")


def value_into_outcome(g: G) -> None:
    number: Ref[Any] = g.add_node(count, g.add_node(split, g.input))
    g.set_finish_point(g.add_node(judge, number))


def foreign_ref(g: G) -> None:
    other = Graph[Doc, int]("other")
    g.add_node(split, other.input)


def bad_name(g: G) -> None:
    g.add_node("split[0]", split)


def reserved_name(g: G) -> None:
    g.add_node("input", split)


def nameless(g: G) -> None:
    g.add_node(lambda doc: doc, g.input)


def long_timeout(g: G) -> None:
    g.set_finish_point(g.add_node(split, g.input, timeout=timedelta(hours=25)))


def no_timeout(g: G) -> None:
    g.set_finish_point(g.add_node(split, g.input, timeout=0))


def fewer_crashes_than_none(g: G) -> None:
    g.set_finish_point(g.add_node(split, g.input, max_crashes=-1))


def no_retry(g: G) -> None:
    wrong: Any = 3
    g.set_finish_point(g.add_node(split, g.input, retry=wrong))


def odd_end(g: G) -> None:
    wrong: Any = "stop"
    g.set_finish_point(g.add_node(split, g.input, on_failure=wrong))


def resume_of_plain(g: G) -> None:
    g.set_finish_point(g.add_node(split, g.input, resume=True))


def dead_edge_among_many(g: G) -> None:
    words = g.add_node(split, g.input)
    number = g.add_node(count, words.when(is_long))
    told = g.add_node(both, words, number)
    for index in range(20):
        lines = g.add_node("".join, words.when(lambda given, most=index: len(given) > most), name=f"n{index}")
        g.add_node("".join, lines.when(bool), name=f"m{index}")
    g.set_finish_point(told)


def no_handler(g: G) -> None:
    g.add_node("split", 7)


def wrong_fallback(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node("count", count, fallback=both))
    g.add_edge(words, "count")


def wrong_compensation(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node("count", count, compensate=count))
    g.add_edge(words, "count")


def process_of_local(g: G) -> None:
    g.set_finish_point(g.add_node("f", lambda doc: doc, executor="process")).set_entry_point("f")


def thread_of_async(g: G) -> None:
    g.set_finish_point(g.add_node(split, g.input, executor="thread"))


def contains_itself(g: G) -> None:
    g.set_finish_point(g.add_node(g, g.input, name="again"))


def several_finishes(g: G) -> None:
    words = g.add_node(split, g.input)
    g._declared_kinds = lambda: (Doc, int)  # type: ignore[method-assign]
    g.set_finish_point(words, g.add_node(count, words))


def finish_misfit(g: G) -> None:
    g._declared_kinds = lambda: (Doc, int)  # type: ignore[method-assign]
    g.set_finish_point(g.add_node(split, g.input))


def otherwise_of_case(g: G) -> None:
    g.add_node(kind_of, g.input).case(Short).otherwise()


async def later(given: Any) -> bool:
    return False


def async_condition(g: G) -> None:
    g.add_node(kind_of, g.input).when(later)  # type: ignore[arg-type]  # the point


def async_edge(g: G) -> None:
    g.add_edge(g.add_node(kind_of, g.input), g.add_node(of_short), when=later)  # type: ignore[arg-type]  # the point


def async_until(g: G) -> None:
    g.add_loop(kind_of, g.input, until=later, max_passes=3)  # type: ignore[call-overload]  # the point


def condition_on_stream(g: G) -> None:
    g.add_node(spell, g.add_node(split, g.input)).stream.when(bool)


def finish_of_condition(g: G) -> None:
    g.set_finish_point(g.add_node(kind_of, g.input).case(Short))


def map_of_two(g: G) -> None:
    g.set_finish_point(g.add_map(both, g.add_node(split, g.input)))  # type: ignore[arg-type]  # the point


def loop_misfit(g: G) -> None:
    words: Ref[Any] = g.add_node(split, g.input)
    g.set_finish_point(g.add_loop(count, words, until=bool, max_passes=3))  # type: ignore[arg-type]  # the point


def loop_of_graph(g: G) -> None:
    inner = Graph[str, int]("inner")
    inner.set_finish_point(inner.add_node(count_letters, inner.input))
    g.set_finish_point(g.add_loop(inner, g.input, until=bool, max_passes=3))  # type: ignore[call-overload]  # the point


def count_letters(text: str) -> int:
    return len(text)


def n_of_too_many(g: G) -> None:
    g.n_of(2, g.input)


def unresolvable(g: G) -> None:
    def local(doc: "Nowhere") -> str:  # type: ignore[name-defined]  # noqa: F821 - the point
        return ""

    g.add_node(local, g.input)


CASES: list[tuple[Callable[[G], None], str | None, str]] = [
    (unknown_edge, "cuont", "which is no node: add it or mend the name"),
    (misspelt_edge, "spilt", "which is no node: is 'split' meant"),
    (unknown_finish, "end", "is no node: add it or mend the name"),
    (misspelt_finish, "spilt", "is no node: is 'split' meant"),
    (no_reference, None, r"<function split .* is no reference: pass what add_node\(\) returned"),
    (signal_by_name, "wait", "'decision' is no Signal"),
    (case_of_no_class, "split", "asks for no type"),
    (condition_of_no_function, "split", "give a function of the node's output"),
    (edge_of_no_function, "split", "when=True is no function"),
    (loop_until_nothing, "same", "until=None is no function"),
    (half_a_pass, "same", r"max_passes=2\.5 must be at least 1, and whole"),
    (parallel_text, "same", "max_parallel='3' must be at least 1, and whole"),
    (no_finish, None, r"call set_finish_point\(\)"),
    (unreachable, "count", "not reachable from the input"),
    (cycle, "a", r"use add_loop\(\)"),
    (twice, "split", "another name="),
    (type_misfit, "short", r"takes Short, and 'split' gives list\[str\]"),
    (map_over_no_list, "each", "goes over a list, and 'count' gives int"),
    (item_misfit, "each", "takes .*Doc.*gives"),
    (not_serialisable, "connects", "the result .* is of type Socket, which cannot travel as JSON"),
    (input_not_serialisable, None, "Socket, which cannot travel as JSON"),
    (unbound, "both", "parameter 'number' of node 'both' has no edge"),
    (unclear, "both", "say into= one of 'words', 'number'"),
    (bound_twice, "count", "bound twice, by 'split' and 'again'"),
    (too_many, "count", "too many inputs"),
    (
        dead_edge,
        "both",
        "'number' .* without a value, when no condition of 'split' holds: give it .*; it runs then, for its 'words'",
    ),
    (dead_by_failure, "both", "'number' .* without a value, when 'count' fails"),
    (dead_edge_among_many, "both", "'number' .* without a value, when"),
    (dead_finish, "count", r"may not be reached, when no condition of 'split' holds: add an otherwise\(\)"),
    (not_exhaustive, "first_of_short", "may not be reached, when no condition of 'kind_of' holds"),
    (value_into_stream, "read", "pass ref.stream"),
    (stream_into_value, "count", "given a stream"),
    (stream_into_map, "each", r"takes list\[list\[str\]\], and 'spell' gives list\[str\]"),
    (stream_into_plain_function, "reads", "make it `async def`"),
    (condition_into_stream, "spell", "before its node's conditions are known"),
    (stream_of_no_stream, "read", "'split' does not stream"),
    (value_into_outcome, "judge", "pass ref.outcome"),
    (foreign_ref, "input", "belongs to another graph"),
    (bad_name, "split[0]", r"holds '\[', which ids use"),
    (reserved_name, "input", "reserved"),
    (nameless, None, "a lambda has no name"),
    (long_timeout, "split", "at most 24 hours"),
    (no_timeout, "split", "more than 0"),
    (fewer_crashes_than_none, "split", "0 for without limit"),
    (no_retry, "split", "retry=3 does not fit: give a Retry"),
    (odd_end, "split", "on_failure='stop' does not fit: give 'fail' or 'continue'"),
    (resume_of_plain, "split", "resume=True is for streaming"),
    (no_handler, "split", "is of type int, which cannot be called"),
    (wrong_fallback, "count", "fallback=both .* must take 1"),
    (wrong_compensation, "count", "compensate=count .* must take 2"),
    (process_of_local, "f", "move it to a module"),
    (thread_of_async, "split", "runs in the event loop"),
    (contains_itself, None, "contains itself"),
    (several_finishes, "split", "several finish points, which give a mapping by name"),
    (finish_misfit, "split", r"promises int, and its finish 'split' gives list\[str\]"),
    (otherwise_of_case, "kind_of", r"otherwise\(\) belongs to the node itself"),
    (condition_on_stream, "spell", "not on its .stream"),
    (
        async_condition,
        "kind_of",
        "asks nothing: give a function of the node's output that is not async",
    ),
    (async_edge, None, "later.* is no function of the source's output, or async"),
    (async_until, "kind_of", "later.* is no function of the output, or async"),
    (finish_of_condition, "kind_of", "the node itself is wanted"),
    (map_of_two, "both", "takes one argument, and both takes 2"),
    (loop_misfit, "count", r"takes list\[str\] and gives int"),
    (loop_of_graph, "inner", r"takes str and gives int: its output is its next input"),
    (n_of_too_many, None, "give 1 to 1"),
    (unresolvable, "local", "define it at the top of a module"),
]


@pytest.mark.parametrize(("build", "node", "told"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_is_refused(build: Callable[[G], None], node: str | None, told: str) -> None:
    graph = Graph[Any, Any]("wrong")
    graph._declared_kinds = lambda: (None, None)  # type: ignore[method-assign]

    def attempt() -> None:
        build(graph)
        graph.compile()

    with pytest.raises(InvalidGraph, match=told) as raised:
        attempt()
    assert "wrong" in str(raised.value)
    assert raised.value.ids["graph"] == "wrong"
    if node is not None:
        assert raised.value.ids["node"] == node


def fine_optional(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node(maybe, words, g.add_node(count, words.when(is_long))))


def fine_default(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node(defaulted, words, g.add_node(count, words.when(is_long))))


def fine_dead_together(g: G) -> None:
    words = g.add_node(split, g.input)
    long = words.when(is_long)
    told = g.add_node(both, long, g.add_node(count, long))
    g.set_finish_point(g.first(told, g.add_node(count, words.otherwise(), name="else")))


def fine_exhaustive(g: G) -> None:
    kind = g.add_node(kind_of, g.input)
    g.set_finish_point(g.first(g.add_node(of_short, kind.case(Short)), g.add_node(of_long, kind.case(Long))))


def fine_alternatives_into_one(g: G) -> None:
    kind = g.add_node(kind_of, g.input)
    g.add_node("shout", lambda text: text)
    g.add_edge(g.add_node(of_short, kind.case(Short)), "shout")
    g.add_edge(g.add_node(of_long, kind.otherwise()), "shout")
    g.set_finish_point("shout")


def fine_several_finishes(g: G) -> None:
    kind = g.add_node(kind_of, g.input)
    g.set_finish_point(g.add_node(of_short, kind.case(Short)))
    g.set_finish_point(g.add_node(of_long, kind.case(Long)))


def fine_order_after_branch(g: G) -> None:
    words = g.add_node(split, g.input)
    side = g.add_node(count, words.when(is_long))
    g.set_finish_point(g.add_node(count, words, after=side, name="last"))


def fine_many_conditions(g: G) -> None:
    words = g.add_node(split, g.input)
    for number in range(40):
        g.add_node(count, words.when(lambda given, most=number: len(given) > most), name=f"n{number}")
    g.set_finish_point(words)


def fine_untyped(g: G) -> None:
    g.add_node("a", lambda x: x)
    g.add_node("b", lambda a, other: a)
    g.set_entry_point("a").add_edge("a", "b").add_edge("input", "b", into="other").set_finish_point("b")


def fine_not_given(g: G) -> None:
    nothing: Any = None
    g.set_finish_point(g.add_node(split, g.input, retry=nothing, timeout=nothing, limit=nothing, cache=nothing))


def fine_outcomes(g: G) -> None:
    words = g.add_node(split, g.input)
    g.set_finish_point(g.add_node(judge, g.add_node(count, words).outcome))


@pytest.mark.parametrize(
    "build",
    [
        fine_optional,
        fine_default,
        fine_dead_together,
        fine_exhaustive,
        fine_alternatives_into_one,
        fine_several_finishes,
        fine_order_after_branch,
        fine_many_conditions,
        fine_untyped,
        fine_outcomes,
        fine_not_given,
    ],
)
def test_is_accepted(build: Callable[[G], None]) -> None:
    graph = Graph[Any, Any]("fine")
    build(graph)
    graph.compile()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(0),
        lambda: Retry(22),
        lambda: Retry(None),  # type: ignore[arg-type]
        lambda: Retry(2.5),  # type: ignore[arg-type]
        lambda: Retry(first="soon"),  # type: ignore[arg-type]
        lambda: Retry(first=5, most=1),
        lambda: Retry(first=-1),
        lambda: Retry(most=timedelta(days=2)),
        lambda: Retry(on=("ValueError",)),
        lambda: Topic("", Doc),
        lambda: Signal("", Doc),
        lambda: Graph[Doc, int]("a/b"),
        lambda: Graph[Doc, int]("a", timeout=0),
        lambda: Graph[Doc, int]("a", timeout="soon"),  # type: ignore[arg-type]
        lambda: Graph[Doc, int](3),  # type: ignore[arg-type]
    ],
)
def test_values_out_of_range_are_refused_where_they_are_given(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidConfig):
        make()


def undressed(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hides the parameters, for want of `functools.wraps`."""

    def around(*given: Any, **named: Any) -> Any:
        return function(*given, **named)

    return around


def test_what_takes_anything_names_no_parameter_that_an_edge_could_feed() -> None:
    graph = Graph[Doc, Any]("hidden")
    graph.set_finish_point(graph.add_node(undressed(count), graph.input, name="count"))
    with pytest.raises(InvalidGraph, match=r"node 'count': its function takes \*args.*functools\.wraps"):
        graph.compile()
    named = Graph[Doc, Any]("named")
    named.add_node("count", undressed(count))
    named.set_entry_point("count").set_finish_point("count")
    with pytest.raises(InvalidGraph, match=r"node 'count': its function takes \*args"):
        named.compile()
