"""What a handler carries besides its code counts: arguments of a partial, and the object of a method."""

import dataclasses
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

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


def at_rate(rate: Any) -> Callable[..., Any]:
    async def price(article: str) -> str:
        return f"{article} at {rate}"

    return price


def by_default(rate: Any) -> Callable[..., Any]:
    async def price(article: str, by_place: Any = rate, *, by_name: Any = rate) -> str:
        return f"{article} at {by_place if by_place == by_name else None}"

    return price


def in_a_decorator(rate: Any) -> Callable[..., Any]:
    @functools.wraps(listed)
    async def price(article: str) -> str:
        return f"{await listed(article)} at {rate}"

    return price


async def listed(article: str) -> str:
    return article


class Kind(StrEnum):
    NEW = "new"
    OLD = "old"


@dataclass
class Rate:
    cents: int


class Model(BaseModel):
    cents: int


def doubled(rate: int) -> int:
    return rate * 2


def itself(rate: int) -> Callable[[int], int]:
    def down(number: int) -> int:
        return rate if number == 0 else down(number - 1)

    return down


@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (at_rate, (2, 3)),
        (by_default, (2, 3)),
        (in_a_decorator, (2, 3)),
        (at_rate, ({"EUR": [2]}, {"EUR": [3]})),
        (at_rate, (Kind.NEW, Kind.OLD)),
        (at_rate, (Rate(2), Rate(3))),
        (at_rate, (Model(cents=2), Model(cents=3))),
        (at_rate, (timedelta(2), timedelta(3))),
        (at_rate, (int, str)),
        (at_rate, (functools, dataclasses)),
        (at_rate, (doubled, greet)),
        (at_rate, (lambda: 2, lambda: 3)),
        (at_rate, (partial(doubled, 2), partial(doubled, rate=2))),
        (at_rate, (at_rate(2), at_rate(3))),
        (at_rate, (itself(2), itself(3))),
        (at_rate, (2, "2")),
    ],
)
async def test_what_a_function_closes_over_and_its_defaults_are_a_part_of_the_key(
    make: Callable[[Any], Callable[..., Any]], rates: tuple[Any, Any]
) -> None:
    cache = Cache(60)
    found = [await asked(make(rate), cache).invoke("pen") for rate in (*rates, *rates)]
    assert found == [f"pen at {rate}" for rate in (*rates, *rates)]
    assert (cache.hits, cache.misses) == (2, 2)


async def test_a_lambda_is_known_by_its_code() -> None:
    cache = Cache(60)
    found = [
        await asked(one, cache).invoke("pen")
        for one in (lambda place: f"a {place}", lambda place: f"the {place}", lambda place: f"a {place}")
    ]
    assert found == ["a pen", "the pen", "a pen"]
    assert (cache.hits, cache.misses) == (1, 2)


def test_the_code_of_a_lambda_is_the_same_text_in_every_process() -> None:
    program = (
        "from beluga_stream.api.carried import carried_text\n"
        "print(carried_text(lambda place: place in {'a', 'b', 'c', 'd', 'e'}))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert told[0]
    assert told == [told[0]] * 3


async def test_a_name_stands_for_what_a_function_carries() -> None:
    cache = Cache(60, name="prices")
    assert [await asked(at_rate(rate), cache).invoke("pen") for rate in (2, 3)] == ["pen at 2"] * 2


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
        (lambda _: at_rate(Called()), r"price carries a Called as 'rate'"),
        (lambda _: by_default(Called()), r"price carries a Called as 'by_place='"),
        (lambda _: at_rate(Prices("EUR").price), r"price carries a method as 'rate'"),
        (lambda _: at_rate({1: 2}), r"price carries a dict with keys that are no texts as 'rate'"),
        (lambda _: at_rate(at_rate([Called()])), r"price carries a Called as 'rate'"),
    ],
    ids=[
        "a method",
        "a method in a decorator",
        "an object",
        "no JSON",
        "over an object",
        "by default",
        "over a method",
        "over numbers",
        "deep",
    ],
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
