"""One limit by itself: never more than it says, first come first served, nothing kept of who is gone."""

import random
from collections import Counter, OrderedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from beluga_stream.domain.events import LimitDue, LimitEvent, SlotReturned, SlotWanted
from beluga_stream.domain.ids import LimitId, RunId
from beluga_stream.domain.limit import Limit, keys_of, limit_id, limit_ids, value_of
from beluga_stream.domain.slots import LimitRow, Outcome, SlotRow, Slots, Ticket

ID = LimitId("~limit/it")
TWO = Limit("two", at_once=2)
EVEN = Limit("even", rate=50, per_ms=1_000)


def wanted(run: str, limit: Limit = TWO, number: int = 1) -> SlotWanted:
    return SlotWanted(key=ID, at_ms=0, run=RunId(run), number=number, reply=run, limit=limit)


def returned(run: str, number: int = 1) -> SlotReturned:
    return SlotReturned(key=ID, at_ms=0, run=RunId(run), number=number)


def slots_of(limit: Limit) -> Slots:
    return Slots(ID, LimitRow(limit, ""))


def runs(outcome: Outcome) -> list[str]:
    return [row.run for row in outcome.granted]


def test_first_come_first_served_and_a_free_slot_is_given_at_once() -> None:
    slots = slots_of(TWO)
    assert [runs(slots.apply(wanted(run), 0, 7)) for run in "abcd"] == [["a"], ["b"], [], []]
    assert runs(slots.apply(returned("b"), 0, 8)) == ["c"]
    assert runs(slots.apply(returned("a"), 0, 9)) == ["d"]
    assert {str(ticket): row.granted for ticket, row in slots.held.items()} == {"c//1": 8, "d//1": 9}


def test_who_waited_under_an_earlier_owner_comes_before_who_comes_now_whoever_owns_it_next() -> None:
    one = Limit("one", at_once=1)
    slots = slots_of(one)
    for run in "cba":
        slots.apply(wanted(run, one), 0, 7)
    for later in "zy":
        slots = Slots(ID, slots.row, sorted([*slots.held.values(), *slots.waiting.values()], key=lambda row: row.run))
        slots.apply(wanted(later, one), 0, 8)
    order = [runs(slots.apply(returned(run), 0, 9)) for run in "cbazy"]
    assert order == [["b"], ["a"], ["z"], ["y"], []]


def test_repeated_events_change_nothing() -> None:
    slots = slots_of(TWO)
    for run in "abc":
        slots.apply(wanted(run), 0, 1)
    assert slots.apply(wanted("a"), 0, 2) == ((), ()), "it has its slot"
    assert slots.apply(wanted("c"), 0, 2) == ((), ()), "it waits already"
    slots.apply(returned("a"), 0, 3)
    assert slots.apply(returned("a"), 0, 4) == ((), ()), "it gave its slot back"
    assert slots.apply(returned("x"), 0, 4) == ((), ()), "it never had one"
    assert [ticket.run for ticket in slots.held] == ["b", "c"]


def test_a_slot_that_was_returned_before_is_given_out_if_it_is_still_free() -> None:
    """As when the write that followed its return was cut off between the two tickets' rows."""
    waits = SlotRow(RunId("b"), "b", None, 1, order=2)
    slots = Slots(ID, LimitRow(Limit("one", at_once=1), ""), [waits])
    assert runs(slots.apply(returned("a"), 0, 3)) == ["b"]


def test_who_waits_no_longer_is_passed_over() -> None:
    one = Limit("one", at_once=1)
    slots = slots_of(one)
    for run in "abc":
        slots.apply(wanted(run, one), 0, 1)
    assert runs(slots.apply(returned("b"), 0, 2)) == []
    assert runs(slots.apply(returned("a"), 0, 2)) == ["c"]


def test_an_event_changes_few_rows_however_many_wait() -> None:
    slots = slots_of(TWO)
    for number in range(100_000):
        slots.apply(wanted(f"r{number}"), 0, 1)
    assert len(slots.apply(wanted("last"), 0, 1).changed) == 1
    assert len(slots.apply(returned("r0"), 0, 1).changed) == 2


def test_the_newest_request_says_how_many() -> None:
    slots = slots_of(TWO)
    for run in "abc":
        slots.apply(wanted(run), 0, 1)
    assert runs(slots.apply(wanted("d", replace(TWO, at_once=3)), 0, 1)) == ["c"]


def test_a_rate_is_even_and_a_late_timer_catches_up() -> None:
    slots = slots_of(EVEN)
    for number in range(2_000):
        slots.apply(wanted(f"r{number:04}", EVEN), 0, 1)
    given = Counter[int]()
    given[0] = len(slots.held)
    now = 0
    late = random.Random(1)
    while slots.waiting:
        assert slots.due_ms is not None
        now = max(now, slots.due_ms) + late.randint(0, 50)
        given[now] += len(slots.apply(LimitDue(key=ID, at_ms=now), now, 1).granted)
    assert 2_000 / 50 * 0.99 < now / 1000 < 2_000 / 50 * 1.01
    for start in range(0, now - 1_000, 10):
        assert 45 <= sum(n for at, n in given.items() if start <= at < start + 1_000) <= 55
    assert len(given) < 2_000 / 1.5, "several slots for each look at the clock"


@pytest.mark.parametrize("clock", [0, -3_600_000], ids=["another rate", "a clock that is set back"])
def test_what_another_rate_or_clock_has_left_holds_nobody_up(clock: int) -> None:
    daily = Limit("even", rate=1, per_ms=86_400_000)
    slots = slots_of(EVEN if clock else daily)
    begin = 7_200_000
    assert runs(slots.apply(wanted("a", slots.row.limit), begin, 1)) == ["a"]
    now = begin + clock
    assert runs(slots.apply(wanted("b", EVEN), now, 2)) == []
    assert slots.due_ms == now + 20
    assert runs(slots.apply(LimitDue(key=ID, at_ms=0), now + 20, 3)) == ["b"]


def test_a_limit_is_over_when_its_period_is() -> None:
    slots = slots_of(Limit("one", rate=1, per_ms=1_000))
    slots.apply(wanted("a", slots.row.limit), 500, 1)
    slots.apply(returned("a"), 600, 2)
    assert slots.due_ms == 1_500
    assert not slots.is_over(1_499)
    assert slots.is_over(1_500)


def test_a_limit_that_is_read_again_goes_on_where_it_was() -> None:
    slots = slots_of(TWO)
    for run in "dcba":
        slots.apply(wanted(run), 0, 1)
    again = Slots(ID, slots.row, [*slots.waiting.values(), *slots.held.values()])
    assert (again.held, again.waiting) == (slots.held, slots.waiting)
    assert runs(again.apply(returned("d"), 0, 1)) == ["b"]
    assert runs(again.apply(wanted("e"), 0, 1)) == []


LIMITS = st.builds(
    Limit,
    st.just("it"),
    at_once=st.one_of(st.none(), st.integers(1, 4)),
    rate=st.one_of(st.none(), st.integers(1, 200)),
    per_ms=st.sampled_from([100, 1_000, 60_000]),
)


class Crowd:
    """Runs that ask for slots, hold them, give up waiting and end; events are repeated, the rows read again."""

    def __init__(self, limit: Limit, seed: int, many: int) -> None:
        self.limit = limit
        self.chance = random.Random(seed)
        self.slots = slots_of(limit)
        self.rows: dict[Ticket, SlotRow | None] = {}
        self.to_come = [wanted(f"r{number}", limit) for number in range(many)]
        self.waiting: OrderedDict[RunId, None] = OrderedDict()
        self.served: list[int] = []
        self.gone: list[SlotReturned] = []
        self.now = 0

    @property
    def held(self) -> list[RunId]:
        return [ticket.run for ticket in self.slots.held]

    def is_over(self) -> bool:
        return not (self.to_come or self.held or self.waiting)

    def event(self) -> LimitEvent:
        """What happens next."""
        may = ["ask"] * bool(self.to_come) + ["end"] * bool(self.held)
        if self.waiting and self.chance.random() < 0.1:
            may.append("leave")
        what = self.chance.choice([*may, "time"])
        if what == "ask":
            self.waiting[self.to_come[-1].run] = None
            return self.to_come.pop()
        if what == "time":
            self.now = max(self.now, self.slots.due_ms or 0)
            return LimitDue(key=ID, at_ms=self.now)
        run = self.chance.choice(self.held if what == "end" else list(self.waiting))
        self.waiting.pop(run, None)
        self.gone.append(returned(run))
        return self.gone[-1]

    def tell(self, event: LimitEvent) -> None:
        outcome = self.slots.apply(event, self.now, 0)
        self.rows.update(outcome.changed)
        for row in outcome.granted:
            assert row.run == next(iter(self.waiting)), "who came first is served first"
            del self.waiting[row.run]
            self.served.append(self.now)

    def check(self) -> None:
        assert self.limit.at_once is None or len(self.held) <= self.limit.at_once
        assert self.waiting.keys() == {ticket.run for ticket in self.slots.waiting}
        if self.limit.rate is None and self.limit.at_once is not None and self.waiting:
            assert len(self.held) == self.limit.at_once, "a slot is free and somebody waits"


@settings(deadline=None, database=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(LIMITS, st.integers(0, 2**32), st.integers(1, 60))
def test_whatever_comes_when_no_more_are_out_and_all_get_their_turn(limit: Limit, seed: int, many: int) -> None:
    crowd = Crowd(limit, seed, many)
    for _ in range(10_000):
        if crowd.is_over():
            break
        event = crowd.event()
        crowd.tell(event)
        crowd.tell(event)
        if crowd.gone and crowd.chance.random() < 0.2:
            crowd.tell(crowd.chance.choice(crowd.gone))
        crowd.check()
        crowd.slots = Slots(ID, crowd.slots.row, [row for row in crowd.rows.values() if row is not None])
    assert crowd.is_over(), "somebody waits for ever"
    assert crowd.slots.is_over(max(crowd.now, crowd.slots.due_ms or 0))
    if limit.rate is not None:
        most = limit.rate + max(1, limit.rate // 10)
        for at in crowd.served:
            assert sum(at <= other < at + limit.per_ms for other in crowd.served) <= most


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"customer": {"id": 7}}, "7"),
        ({"customer": {"id": "ä"}}, '"ä"'),
        ({"customer": {}}, "null"),
        ({"customer": [1]}, "null"),
        ([], "null"),
        (None, "null"),
        ({"customer": {"id": {"b": 1, "a": 2}}}, '{"a":2,"b":1}'),
    ],
)
def test_a_key_is_found_in_the_input_or_is_null(value: object, found: str) -> None:
    limit = Limit("it", key="customer.id", at_once=1)
    assert keys_of([limit], value) == {"customer.id": found}
    assert value_of(limit, {"customer.id": found}) == found


def test_ids_tell_names_and_values_apart_and_long_values_stay_short() -> None:
    one, other = Limit("one", key="k", at_once=1), Limit("other", key="k", at_once=1)
    ids = {limit_id(limit, {"k": value}) for limit in (one, other) for value in ("1", "2")}
    assert len(ids) == 4
    assert limit_ids([one, other], {"k": "1"}) == limit_ids([other, one], {"k": "1"})
    assert len(keys_of([one], {"k": "x" * 1_000})["k"]) < 100
    assert limit_id(one, {}) == limit_id(one, {"k": "null"})
