"""What a handler carries besides its code counts: arguments of a partial, and the object of a method."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from beluga_stream import Cache, Graph, Hedge, chain, node
from beluga_stream.errors import InvalidGraph


def greet(greeting: str, name: str = "you") -> str:
    return f"{greeting}, {name}"


def two(a: str, b: str) -> str:
    return f"{a} {b}"


async def two_async(a: str, b: str) -> str:
    return f"{a} {b}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: partial(two, a="x"),
        lambda: partial(two, "x"),
        lambda: partial(partial(two, a="z"), a="x"),
        lambda: functools.wraps(partial(two, a="x"))(lambda **named: two(**{"a": "x", **named})),
        lambda: Hedge(1)(partial(two_async, a="x")),
    ],
    ids=["by name", "by position", "twice", "in a decorator", "in a hedge"],
)
async def test_an_edge_feeds_what_a_partial_has_left_open(make: Callable[[], Any]) -> None:
    assert await chain(make(), name="bound").invoke("Ann") == "x Ann"


async def test_a_default_does_not_take_the_edge_from_an_argument_that_is_bound() -> None:
    assert await chain(partial(greet, greeting="Hello")).invoke("Ann") == "Hello, Ann"


async def test_an_edge_into_an_argument_that_is_bound_is_refused() -> None:
    graph = Graph[str, str]("bound")
    graph.add_node("two", partial(two, a="x"))
    graph.add_edge(graph.input, "two", into="a").set_finish_point("two")
    with pytest.raises(InvalidGraph, match="node 'two': has no parameter 'a'"):
        graph.compile()


class Prices:
    """What asks for prices in one currency."""

    def __init__(self, currency: str) -> None:
        self.currency = currency

    async def price(self, article: str) -> str:
        return f"{article} in {self.currency}"

    @classmethod
    async def known(cls, article: str) -> str:
        return f"{article} of {cls.__name__}"


class OldPrices(Prices): ...


class Called:
    async def __call__(self, article: str) -> str:
        return article


def priced(cache: Cache) -> Callable[..., Any]:
    @node(cache=cache)
    async def price(article: str, currency: Any) -> str:
        return f"{article} in {currency}"

    return price


def asked(handler: Callable[..., Any], cache: Cache) -> Any:
    graph = Graph[str, str]("asked")
    graph.set_finish_point(graph.add_node(handler, graph.input, name="price", cache=cache))
    return graph


@pytest.mark.parametrize("name", [None, "prices"])
async def test_what_a_partial_has_bound_is_a_part_of_the_key(name: str | None) -> None:
    cache = Cache(60, name=name)
    price = priced(cache)
    works = [chain(partial(price, currency=currency)) for currency in ("EUR", "USD", "EUR")]
    assert [await work.invoke("pen") for work in works] == ["pen in EUR", "pen in USD", "pen in EUR"]
    assert (cache.hits, cache.misses) == (1, 2)


async def test_a_partial_within_a_decorator_is_a_part_of_the_key() -> None:
    cache = Cache(60)
    price = priced(cache)
    hedged = [Hedge(1)(partial(price, currency=currency)) for currency in ("EUR", "USD")]
    assert [await asked(one, cache).invoke("pen") for one in hedged] == ["pen in EUR", "pen in USD"]


async def test_classes_and_their_methods_are_told_apart_by_name() -> None:
    cache = Cache(60)
    found = [await asked(one.known, cache).invoke("pen") for one in (Prices, OldPrices)]
    assert found == ["pen of Prices", "pen of OldPrices"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda _: Prices("EUR").price, r"Prices\.price carries a Prices"),
        (lambda _: Hedge(1)(Prices("EUR").price), r"Prices\.price carries a Prices"),
        (lambda _: Called(), r"Called carries a Called"),
        (lambda cache: partial(priced(cache), currency=object()), r"price carries arguments that are no JSON"),
    ],
    ids=["a method", "a method in a decorator", "an object", "no JSON"],
)
def test_a_cache_of_what_carries_more_than_its_key_has_is_refused_without_a_name(
    make: Callable[[Cache], Any], told: str
) -> None:
    cache = Cache(60)
    with pytest.raises(InvalidGraph, match=rf"node 'price': cache= .*{told}.*: give Cache\(name=\.\.\.\)"):
        asked(make(cache), cache).compile()
    named = Cache(60, name="own")
    asked(make(named), named).compile()


async def test_a_name_tells_the_objects_of_methods_apart() -> None:
    works = [asked(Prices(one).price, Cache(60, name=one)) for one in ("EUR", "USD")]
    assert [await work.invoke("pen") for work in works] == ["pen in EUR", "pen in USD"]
