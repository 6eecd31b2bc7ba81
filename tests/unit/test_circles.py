"""Graphs that start one another for ever are told of."""

import logging

import pytest

from beluga_stream.application.ingest.circles import circles_of, tell_of_circles
from beluga_stream.ports.handlers import Trigger
from tests.unit.engines import ANY


def _after(other: str, graph: str, *, ends: bool = False) -> Trigger:
    return Trigger(f"{other} succeeded", "run_finished", other, graph, ANY, where=(lambda _: True) if ends else None)


@pytest.mark.parametrize(
    ("triggers", "circles"),
    [
        ([_after("a", "b"), _after("b", "c"), _after("a", "c")], []),
        ([_after("a", "a")], [["a"]]),
        ([_after("a", "b"), _after("b", "c"), _after("c", "a"), _after("c", "d")], [["a", "b", "c"]]),
        ([_after("b", "a"), _after("a", "b"), _after("d", "c"), _after("c", "d")], [["a", "b"], ["c", "d"]]),
        ([_after("a", "b"), _after("b", "a", ends=True)], []),
        ([Trigger("a", "topic", "a", "b", ANY), Trigger("b", "topic", "b", "a", ANY)], []),
    ],
    ids=["none", "itself", "three", "two circles", "where", "topics"],
)
def test_a_circle_is_found_unless_a_condition_may_end_it(triggers: list[Trigger], circles: list[list[str]]) -> None:
    assert circles_of(triggers) == circles


def test_the_log_names_the_graphs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tell_of_circles([_after("b", "a"), _after("a", "b"), _after("a", "c")])
    (told,) = caplog.records
    assert "for ever: a, b; give one" in told.getMessage()
