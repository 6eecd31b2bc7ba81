"""What is no number, or out of range, is refused by the name that it was given by, wherever a number is given."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from beluga_stream.api.ranges import check_duration, check_whole
from beluga_stream.errors import InvalidConfig


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (lambda: check_whole("Pool", "size", "3", 1), r"Pool: size='3' is no whole number: give 1 or more"),
        (lambda: check_whole("Pool", "size", True, 0), r"Pool: size=True is no whole number: give 0 or more"),  # noqa: FBT003
        (lambda: check_whole("Pool", "size", 0, 1, 2_000), r"Pool: size=0 is out of range: give 1 to 2,000"),
        (lambda: check_whole("Pool", "size", 2_001, 1, 2_000), r"Pool: size=2001 is out of range: give 1 to 2,000"),
        (lambda: check_duration("Pool", "wait", "3s"), r"Pool: wait='3s' is no duration: give seconds or a timedelta"),
        (
            lambda: check_duration("Pool", "wait", 0),
            "Pool: wait=0 is out of range: give more than 0 and at most 24 hours",
        ),
        (
            lambda: check_duration("Pool", "wait", -1, may_be_zero=True),
            "Pool: wait=-1 is out of range: give 0 or more and at most 24 hours",
        ),
        (lambda: check_duration("Pool", "wait", float("nan")), "Pool: wait=nan is out of range"),
        (lambda: check_duration("Pool", "wait", float("inf")), "Pool: wait=inf is out of range"),
    ],
)
def test_what_is_wrong_is_told_by_its_name(check: Callable[[], object], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        check()


def test_durations_are_seconds_or_timedeltas() -> None:
    assert [check_duration("Pool", "wait", one) for one in (1, 0.5, timedelta(minutes=1))] == [1, 0.5, 60]
    assert check_duration("Pool", "wait", 0, may_be_zero=True) == 0
