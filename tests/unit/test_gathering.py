"""The state machine of what several events start together, by examples and by what must hold of any sequence."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beluga_stream.domain.gathering import Batch, Burst, EventArrived, FiredRow, Gathering, Member, Rule, Window
from beluga_stream.domain.ids import GatheringId
from beluga_stream.domain.payload import Inline

ID = GatheringId("g")
WINDOW = Window(3, 1_000, 2_000, 500)


def event(
    name: str, *, rule: Rule = WINDOW, side: int = 0, logged_ms: int = 1_500, digest: str | None = None
) -> EventArrived:
    return EventArrived(
        key=ID,
        at_ms=0,
        graph="g",
        trigger="t",
        of="k",
        rule=rule,
        side=side,
        event=name,
        digest=name if digest is None else digest,
        logged_ms=logged_ms,
        place=f"topic/0/{name}",
        record=Inline(name),
    )


def taken(*events: EventArrived, now_ms: int = 1_500) -> Gathering:
    gathering = Gathering.begun_by(events[0], now_ms)
    for each in events:
        assert gathering.arrive(each, now_ms).kept
    return gathering


def test_a_window_fires_when_it_has_one_of_each_side_in_the_order_of_the_sides() -> None:
    gathering = taken(event("c", side=2), event("a", side=0))
    outcome = gathering.arrive(event("b", side=1), 1_600)
    assert outcome.fired == FiredRow(graph="g", trigger="t", of="k", rule=WINDOW, events=("a", "b", "c"), complete=True)


def test_a_window_that_is_over_fires_with_what_it_has() -> None:
    gathering = taken(event("c", side=2), event("a", side=0))
    assert gathering.row.due_ms == 2_500
    assert gathering.due(2_499).fired is None
    fired = gathering.due(2_500).fired
    assert fired is not None
    assert (fired.events, fired.complete) == (("a", "c"), False)


def test_a_window_takes_nothing_when_it_has_ended() -> None:
    gathering = taken(event("a", side=0))
    assert gathering.due(2_500).fired is not None
    gathering.forget_until(9_000)
    assert gathering.due(2_500).fired is None
    assert gathering.arrive(event("b", side=1), 2_600).refused == "surplus"
    assert not gathering.is_open


@pytest.mark.parametrize(("logged_ms", "refused"), [(2_499, None), (2_500, "late"), (9_999, "late")])
def test_an_event_is_late_by_when_it_was_logged(logged_ms: int, refused: str | None) -> None:
    late = event("b", side=1, logged_ms=logged_ms)
    assert Gathering.begun_by(late, 0).arrive(late, 0).refused == refused
    assert taken(event("a")).arrive(late, 0).refused == refused


def test_another_event_of_a_side_is_surplus_and_the_same_again_is_nothing() -> None:
    gathering = taken(event("a", side=0))
    assert gathering.arrive(event("other", side=0), 1_600).refused == "surplus"
    again = gathering.arrive(event("id-2", side=0, digest="a"), 1_600)
    assert (again.kept, again.refused) == (False, None)
    assert gathering.arrive(event("id-3", side=1, digest="a"), 1_600).kept


def test_a_batch_fires_when_it_is_full_and_begins_anew() -> None:
    rule = Batch(2, 1_000)
    gathering = taken(event("a", rule=rule))
    assert gathering.row.due_ms == 2_500
    fired = gathering.arrive(event("b", rule=rule), 2_000).fired
    assert fired is not None
    assert (fired.events, fired.complete, gathering.is_open) == (("a", "b"), True, False)
    assert gathering.due(2_500).fired is None
    assert gathering.arrive(event("c", rule=rule), 3_000).fired is None
    fired = gathering.due(4_000).fired
    assert fired is not None
    assert fired.events == ("c",)


def test_a_batch_that_was_full_before_a_crash_takes_no_more() -> None:
    rule = Batch(2, 1_000)
    row = taken(event("a", rule=rule)).row
    gathering = Gathering(ID, row, [("a", Member(1, 0, "a")), ("b", Member(2, 0, "b"))])
    assert gathering.is_full
    fired = gathering.arrive(event("c", rule=rule), 9_000).fired
    assert fired is not None
    assert (fired.events, list(gathering.members), gathering.row.due_ms) == (("a", "b"), ["c"], 10_000)


def test_a_batch_keeps_the_order_in_which_its_events_came_whoever_owns_it() -> None:
    rule = Batch(5, 1_000)
    before = taken(event("b", rule=rule), event("a", rule=rule), event("e", rule=rule))
    # Its rows lie in the table by their keys.
    gathering = Gathering(ID, before.row, sorted(before.members.items()))
    assert gathering.arrive(event("d", rule=rule), 1_600).kept
    fired = gathering.arrive(event("c", rule=rule), 1_700).fired
    assert fired is not None
    assert fired.events == ("b", "a", "e", "d", "c")


def test_a_burst_fires_with_its_last_event_once_it_is_quiet_or_has_gone_on_for_too_long() -> None:
    rule = Burst(1_000, 2_500)
    gathering = taken(event("a", rule=rule), now_ms=0)
    assert gathering.row.due_ms == 1_000
    assert gathering.arrive(event("b", rule=rule), 900).dropped == "a"
    assert gathering.row.due_ms == 1_900
    assert gathering.due(1_000).fired is None
    gathering.arrive(event("c", rule=rule), 1_800)
    assert gathering.row.due_ms == 2_500
    fired = gathering.due(2_500).fired
    assert fired is not None
    assert fired.events == ("c",)
    gathering.arrive(event("d", rule=rule), 9_000)
    assert gathering.row.due_ms == 10_000


def test_what_is_read_again_goes_on_as_it_was() -> None:
    gathering = taken(event("c", side=2), event("a", side=0))
    again = Gathering(ID, gathering.row, [("a", Member(2, 0, "a")), ("c", Member(1, 2, "c"))])
    assert list(again.members) == ["c", "a"]
    assert not again.is_full
    assert again.arrive(event("b", side=1), 0).fired is not None


Step = tuple[str, int, int]
"""An event (its name; what came before is told by the caller), its side, and when it was logged; or `due`."""

_steps = st.lists(
    st.tuples(st.sampled_from([*"abcdef", "due"]), st.integers(0, 2), st.integers(900, 3_000)), max_size=40
)


def _played(rule: Rule, steps: Sequence[Step]) -> tuple[list[FiredRow], Counter[str], Counter[str]]:
    """What fired, what was kept, and what was refused; a caller that remembers everything, and time that goes on."""
    gathering: Gathering | None = None
    fired: list[FiredRow] = []
    kept: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    now_ms = 0
    for name, side, logged_ms in steps:
        now_ms += 100
        if name == "due":
            outcome = None if gathering is None else gathering.due(gathering.row.due_ms)
        elif f"{name}{side}" in kept:
            continue
        else:
            arrived = event(
                f"{name}{side}", rule=rule, side=side if isinstance(rule, Window) else 0, logged_ms=logged_ms
            )
            gathering = gathering or Gathering.begun_by(arrived, now_ms)
            outcome = gathering.arrive(arrived, now_ms)
            kept[arrived.event] += outcome.kept
            refused[arrived.event] += outcome.refused is not None
        if outcome is not None and outcome.fired is not None:
            fired.append(outcome.fired)
            if isinstance(rule, Window) and gathering is not None:
                gathering.forget_until(9_999)
    return fired, +kept, +refused


@given(_steps)
def test_a_window_fires_once_with_one_event_of_each_side_at_most(steps: list[Step]) -> None:
    fired, kept, refused = _played(WINDOW, steps)
    assert len(fired) <= 1
    for row in fired:
        sides = [name[-1] for name in row.events]
        assert sides == sorted(set(sides))
        assert row.complete == (len(sides) == 3)
        assert set(row.events) == set(kept)
    assert max(kept.values(), default=1) == 1
    # Nothing is silently lost: what was not kept was refused, each time that it came.
    assert {f"{name}{side}" for name, side, _ in steps if name != "due"} == kept.keys() | refused.keys()


@given(_steps, st.integers(1, 4))
def test_each_event_is_in_one_batch_and_none_is_too_large(steps: list[Step], size: int) -> None:
    fired, kept, refused = _played(Batch(size, 1_000), [*steps, ("due", 0, 0)])
    assert not refused
    assert Counter(name for row in fired for name in row.events) == kept
    assert all(1 <= len(row.events) <= size for row in fired)
    assert [name for row in fired for name in row.events] == list(kept)


@given(_steps)
def test_a_burst_fires_with_the_last_event_before_its_end(steps: list[Step]) -> None:
    fired, kept, refused = _played(Burst(1_000), [*steps, ("due", 0, 0)])
    assert not refused
    assert all(len(row.events) == 1 for row in fired)
    if kept:
        assert fired[-1].events == (list(kept)[-1],)
