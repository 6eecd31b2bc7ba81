"""Chains: handlers one after another."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from beluga_stream import Retry, chain, node
from beluga_stream.errors import InvalidGraph


def clean(text: str) -> str:
    return text.strip()


async def split(text: str) -> list[str]:
    return text.split()


def count(words: list[str]) -> int:
    return len(words)


async def spell(words: list[str]) -> AsyncIterator[str]:
    for word in words:
        yield word


async def test_runs_its_steps_in_order() -> None:
    words = chain(clean, split, count)
    assert words.name == "clean-split-count"
    assert await words.invoke("  to be ") == 2
    assert await words.batch(["a", "a b"]) == [1, 2]


async def test_the_last_step_may_stream() -> None:
    assert await chain(split, spell).invoke("a b") == ["a", "b"]


async def test_a_handler_may_occur_again() -> None:
    again = chain(clean, clean, clean, name="again")
    assert [str(one.name) for one in again.compile().definition.nodes] == ["clean", "clean_2", "clean_3"]
    assert await again.invoke(" a ") == "a"


async def test_chains_are_steps_of_chains() -> None:
    assert await chain(chain(clean, split, name="words"), count).invoke(" a b ") == 2  # type: ignore[call-overload]  # see README


def test_options_come_from_the_decorator() -> None:
    @node(retry=Retry(2), name="careful")
    def step(text: str) -> str:
        return text

    (only,) = chain(step).compile().definition.nodes
    assert (only.name, only.retry.attempts) == ("careful", 2)


def test_types_that_do_not_fit_are_refused() -> None:
    wrong: Any = chain
    with pytest.raises(InvalidGraph, match=r"takes str, and 'count' gives int"):
        wrong(split, count, clean).compile()


def test_a_chain_of_nothing_is_refused() -> None:
    wrong: Any = chain
    with pytest.raises(InvalidGraph, match="at least one step"):
        wrong()


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_that_is_over_before_it_begins_is_refused(timeout: int) -> None:
    with pytest.raises(InvalidGraph, match=f"timeout={timeout} must be above 0"):
        chain(clean, timeout=timeout)
