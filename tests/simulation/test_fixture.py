"""`simulate` as users have it: their own graph, fakes, signals and effects."""

import pytest

from beluga_stream import Graph, Signal, context
from beluga_stream.errors import InvalidInput, RunFailed
from beluga_stream.testing import Outcome, Simulate, simulate

__all__ = ["simulate"]  # the fixture

APPROVAL = Signal("approval", bool)


def price(order: str) -> int:
    """In a thread, as a handler that is not async."""
    return len(order)


async def charge(amount: int, approved: bool) -> str:  # noqa: FBT001 - the graph passes by position
    raise AssertionError("a test calls no real service")


async def fake_charge(amount: int, approved: bool) -> str:  # noqa: FBT001
    assert context().idempotency_key.endswith("/charge")
    return f"charged {amount}: {approved}"


def sale() -> Graph[str, str]:
    graph = Graph[str, str]("sale")
    amount = graph.add_node(price, graph.input)
    approved = graph.wait(APPROVAL, timeout=3600)
    graph.set_finish_point(graph.add_node(charge, amount, approved))
    return graph


@pytest.mark.parametrize("seed", range(10))
def test_a_graph_charges_under_one_key_whatever_fails(simulate: Simulate, seed: int) -> None:
    outcome: Outcome[str] = simulate(sale(), "order", seed=seed, fakes={charge: fake_charge}, signals={APPROVAL: True})
    assert outcome.status == "succeeded"
    assert outcome.result == "charged 5: True"
    assert len(set(outcome.effects(charge))) == 1
    assert outcome.effects(price)


def test_the_result_of_a_failed_run_is_its_error(simulate: Simulate) -> None:
    async def refuse(amount: int, approved: bool) -> str:  # noqa: FBT001
        raise TypeError("refused")

    outcome = simulate(sale(), "order", seed=1, fakes={charge: refuse}, signals={APPROVAL: True})
    assert outcome.status == "failed"
    with pytest.raises(RunFailed, match="refused"):
        _ = outcome.result


def test_a_signal_that_nothing_waits_for_is_refused(simulate: Simulate) -> None:
    with pytest.raises(InvalidInput, match="does not wait for signal 'aproval': it waits for 'approval'"):
        simulate(sale(), "order", seed=1, signals={Signal("aproval", bool): True})


def test_an_input_that_fails_its_type_is_told_at_once_and_is_no_fault_of_the_engine(simulate: Simulate) -> None:
    with pytest.raises(InvalidInput, match="the input does not fit graph 'sale'") as told:
        simulate(sale(), 7, seed=1)  # type: ignore[arg-type]  # the mistake
    assert not hasattr(told.value, "__notes__")
