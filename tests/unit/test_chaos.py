"""What of the chaos harness can be shown without any."""

from collections import Counter

import pytest

from tests.chaos.campaign import Settled, Struck
from tests.chaos.harm import HARMS, NEED_BROKER, NEED_CLUSTER
from tests.chaos.plan import plan
from tests.chaos.report import LEAST, Report


def test_the_same_seed_is_the_same_plan_and_another_is_another() -> None:
    assert plan(1, 10, broker=True) == plan(1, 10, broker=True)
    assert plan(1, 10, broker=True) != plan(2, 10, broker=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_long_plan_does_everything_that_a_campaign_must_show(seed: int) -> None:
    kinds = Counter(strike.kind for strike in plan(seed, 10, broker=True)[:35])
    assert kinds.keys() >= {"worker", "coordinator", "terminate", "pulse", "freeze", "full", "ingest", *NEED_BROKER}
    assert kinds["stop"] >= LEAST["paused owners refused by the fence"]
    assert kinds.keys() <= HARMS.keys()


def test_nothing_is_done_to_a_broker_that_is_not_ours() -> None:
    assert not {strike.kind for strike in plan(1, 10, broker=False)} & (NEED_BROKER | NEED_CLUSTER)


def test_of_several_brokers_each_is_harmed_by_itself() -> None:
    kinds = {strike.kind for strike in plan(1, 10, broker=False, cluster=True)[:35]}
    assert kinds >= NEED_CLUSTER
    assert not kinds & NEED_BROKER


def settled(count: int = 2_000) -> Settled:
    found = Settled(1, fenced=count, unconfirmed=count, struck=[Struck(1.0, "stop", "coordinator-1", 20, 7.5)])
    found.verdict.sent_again = count
    found.verdict.superseded = count
    found.verdict.executions_of_nodes = Counter({1: 100, 2: 3})
    return found


def test_a_long_campaign_that_has_seen_too_little_fails() -> None:
    assert Report(settled(), 10).holds
    assert Report(settled(3), 1).holds
    report = Report(settled(3), 10)
    assert not report.holds
    assert "only 3 of 1000 redeliveries" in report.missed
    assert any("7.5" in line for line in report.lines())


@pytest.mark.parametrize("what", ["lost", "stuck", "applied_twice", "gaps", "wrong_inputs", "early"])
def test_a_campaign_fails_unless_all_is_zero(what: str) -> None:
    found = settled()
    setattr(found.verdict, what, 1)
    report = Report(found, 1)
    assert not report.holds
    assert list(report.as_json()["zeros"].values()).count(1) == 1
