"""Partitions of a group's topic: who has them, and how many each is to give up."""

from hypothesis import given
from hypothesis import strategies as st

from beluga_stream.adapters.kafka.bus_sharing import Share, shared

_PARTITIONS = 12


def test_what_is_held_stays_and_what_is_free_goes_to_whoever_has_least() -> None:
    assert shared(range(4), {"a": []}) == {"a": Share([0, 1, 2, 3], 0)}
    assert shared(range(4), {"a": [0, 1, 2, 3], "b": []}) == {"a": Share([0, 1, 2, 3], 2), "b": Share([], 0)}
    assert shared(range(4), {"a": [0, 3], "b": []}) == {"a": Share([0, 3], 0), "b": Share([1, 2], 0)}
    assert shared(range(4), {"a": [0, 3], "b": [1], "c": []}) == {
        "a": Share([0, 3], 0),
        "b": Share([1], 0),
        "c": Share([2], 0),
    }


def test_of_two_who_say_that_they_hold_a_partition_one_has_it() -> None:
    assert shared(range(2), {"a": [0, 1], "b": [0, 1, 7]}) == {"a": Share([0, 1], 1), "b": Share([], 0)}


@given(st.lists(st.integers(0, 5), min_size=_PARTITIONS, max_size=_PARTITIONS), st.integers(1, 5))
def test_once_everybody_has_given_up_what_is_too_much_all_have_as_many(owners: list[int], members: int) -> None:
    holding = {str(member): [at for at, owner in enumerate(owners) if owner == member] for member in range(members)}
    first = shared(range(_PARTITIONS), holding)
    assert sorted(at for share in first.values() for at in share.partitions) == list(range(_PARTITIONS))
    assert all(set(holding[member]) <= set(share.partitions) for member, share in first.items())
    left = {member: share.partitions[share.too_many :] for member, share in first.items()}
    second = shared(range(_PARTITIONS), left)
    assert all(set(left[member]) <= set(share.partitions) for member, share in second.items())
    assert all(share.too_many == 0 for share in second.values())
    counts = [len(share.partitions) for share in second.values()]
    assert max(counts) - min(counts) <= 1
