"""Schedules: which times are due, across changes of the clock and across downtime."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from beluga_stream import Graph
from beluga_stream.application.ingest.schedules import due_ticks, ticks_between
from beluga_stream.errors import InvalidConfig, InvalidGraph
from beluga_stream.ports.handlers import Schedule

BERLIN = ZoneInfo("Europe/Berlin")


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _schedule(cron: str, **how: object) -> Schedule:
    return Schedule(cron, "Europe/Berlin", lambda at: at.isoformat(), **how)  # type: ignore[arg-type]


def _lived(schedule: Schedule, begin: str, end: str, step: timedelta = timedelta(minutes=10)) -> list[str]:
    """The times that start runs while somebody looks every ten minutes, as local time says them."""
    dealt, now, last = _ms(begin), _ms(begin), _ms(end)
    fired: list[int] = []
    while now <= last:
        found = due_ticks(schedule, "s", dealt, now)
        fired.extend(found)
        dealt = found[-1] if found else dealt
        now += int(step.total_seconds() * 1000)
    return [datetime.fromtimestamp(at / 1000, UTC).astimezone(BERLIN).isoformat() for at in fired]


@pytest.mark.parametrize("catch_up", ["all", "last", "skip"])
def test_a_time_that_is_skipped_in_spring_runs_right_after(catch_up: str) -> None:
    schedule = _schedule("30 2 * * *", catch_up=catch_up)
    assert _lived(schedule, "2026-03-28T00:00:00+01:00", "2026-03-30T12:00:00+02:00", timedelta(seconds=30)) == [
        "2026-03-28T02:30:00+01:00",
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


@pytest.mark.parametrize("catch_up", ["all", "last", "skip"])
def test_a_time_that_comes_twice_in_autumn_runs_once(catch_up: str) -> None:
    schedule = _schedule("30 2 * * *", catch_up=catch_up)
    assert _lived(schedule, "2026-10-24T00:00:00+02:00", "2026-10-26T12:00:00+01:00", timedelta(seconds=30)) == [
        "2026-10-24T02:30:00+02:00",
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


@pytest.mark.parametrize("catch_up", ["all", "last", "skip"])
def test_every_hour_is_every_hour_of_real_time(catch_up: str) -> None:
    schedule = _schedule("0 * * * *", catch_up=catch_up)
    autumn = _lived(schedule, "2026-10-25T00:30:00+02:00", "2026-10-25T04:10:00+01:00", timedelta(seconds=30))
    assert [at[11:] for at in autumn] == [
        "01:00:00+02:00",
        "02:00:00+02:00",
        "02:00:00+01:00",
        "03:00:00+01:00",
        "04:00:00+01:00",
    ]
    spring = _lived(schedule, "2026-03-29T00:30:00+01:00", "2026-03-29T04:10:00+02:00", timedelta(seconds=30))
    assert [at[11:16] for at in spring] == ["01:00", "03:00", "04:00"]


def test_downtime_is_caught_up_with_as_declared() -> None:
    down, up = _ms("2026-03-28T09:00:00+01:00"), _ms("2026-03-31T12:00:00+02:00")
    missed = [_ms(f"2026-03-{day}T09:00:00+02:00") for day in (29, 30, 31)]
    for catch_up, expected in (("all", missed), ("last", missed[-1:]), ("skip", [])):
        assert list(due_ticks(_schedule("0 9 * * *", catch_up=catch_up), "s", down, up)) == expected
    on_time = _ms("2026-03-31T09:00:30+02:00")
    assert list(due_ticks(_schedule("0 9 * * *", catch_up="skip"), "s", down, on_time)) == missed[-1:]


def test_a_year_of_missed_minutes_is_caught_up_with_some_at_a_time() -> None:
    schedule = _schedule("* * * * *", catch_up="all")
    begin, now = _ms("2025-01-01T00:00:00+01:00"), _ms("2026-01-01T00:00:00+01:00")
    found = due_ticks(schedule, "s", begin, now)
    assert [at - begin for at in found] == [minute * 60_000 for minute in range(1, 101)]
    assert due_ticks(_schedule("* * * * *", catch_up="last"), "s", begin, now) == (now,)


def test_jitter_is_of_a_tick_and_always_the_same() -> None:
    schedule = _schedule("0 9 * * *", jitter_ms=3_600_000)
    begin = _ms("2026-01-01T00:00:00+01:00")
    tick = _ms("2026-01-01T09:00:00+01:00")
    starts = {}
    for name in ("a", "b", "d"):
        starts[name] = next(
            now for now in range(tick, tick + 3_600_001, 60_000) if due_ticks(schedule, name, begin, now) == (tick,)
        )
        later = (starts[name], starts[name] + 1, tick + 3_600_000)
        assert all(due_ticks(schedule, name, begin, now) == (tick,) for now in later)
    assert len(set(starts.values())) == 3


@pytest.mark.parametrize("catch_up", ["all", "last", "skip"])
def test_jitter_that_is_longer_than_the_time_between_two_loses_none(catch_up: str) -> None:
    schedule = _schedule("*/5 * * * *", jitter_ms=900_000, catch_up=catch_up)
    found = _lived(schedule, "2026-01-01T00:00:00+01:00", "2026-01-01T06:15:00+01:00", timedelta(seconds=10))
    until = ticks_between(schedule, _ms("2026-01-01T00:05:00+01:00"), _ms("2026-01-01T06:00:00+01:00"))
    told = [datetime.fromtimestamp(at / 1000, UTC).astimezone(BERLIN).isoformat() for at in until]
    assert found[: len(told)] == told


@pytest.mark.parametrize("catch_up", ["all", "last", "skip"])
def test_what_is_late_by_less_than_a_minute_is_not_missed(catch_up: str) -> None:
    schedule = _schedule("*/5 * * * * *", catch_up=catch_up)
    found = _lived(schedule, "2026-01-01T00:00:00+01:00", "2026-01-01T00:02:00+01:00", timedelta(seconds=30))
    assert len(found) == 24


def test_in_an_hour_that_comes_twice_nothing_comes_from_before() -> None:
    begin, end = _ms("2026-10-25T02:40:00+01:00"), _ms("2026-10-26T03:00:00+01:00")
    assert list(ticks_between(_schedule("30 2 * * *"), begin, end)) == [_ms("2026-10-26T02:30:00+01:00")]
    again = _ms("2026-10-25T02:10:00+01:00")
    assert list(ticks_between(_schedule("30 2 * * *"), again, end)) == [_ms("2026-10-26T02:30:00+01:00")]


def _graph() -> Graph[str, str]:
    graph = Graph[str, str]("timed")
    graph.set_finish_point(graph.add_node(str.upper, graph.input))
    return graph


def test_a_schedule_is_a_trigger() -> None:
    graph = _graph().schedule("0 9 * * mon-fri", tz="Europe/Berlin", input="x", jitter=5, catch_up="all")
    (trigger,) = graph.triggers
    assert (trigger.name, trigger.kind, trigger.sources) == ("0 9 * * mon-fri Europe/Berlin", "schedule", ())
    assert trigger.schedule is not None
    assert (trigger.schedule.jitter_ms, trigger.schedule.input(datetime.now(UTC))) == (5_000, "x")
    made = _graph().schedule("0 9 * * *", input=datetime.isoformat, name="daily").triggers[0]
    assert made.name == "daily"
    assert made.schedule is not None
    assert made.schedule.input(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("cron", "how", "told"),
    [
        ("61 * * * *", {}, "Bad minute"),
        ("* * * *", {}, "five fields"),
        ("0 0 30 2 *", {}, "Bad day-of-month"),
        ("0 9 * * *", {"tz": "Europe/Berlim"}, "no time zone"),
        ("0 9 * * *", {"tz": "../../etc/passwd"}, "no time zone"),
        ("0 9 * * *", {"jitter": -1}, "jitter is"),
        ("0 9 * * *", {"catch_up": "some"}, "catch_up is one of"),
    ],
)
def test_what_is_no_schedule_says_so(cron: str, how: dict[str, object], told: str) -> None:
    with pytest.raises(InvalidConfig, match=told):
        _graph().schedule(cron, input="x", **how)  # type: ignore[arg-type]


def test_the_same_schedule_twice_is_refused() -> None:
    graph = _graph().schedule("0 9 * * *", input="x").schedule("0 9 * * *", input="y", name="other")
    with pytest.raises(InvalidGraph, match="twice"):
        graph.schedule("0 9 * * *", input="z")
