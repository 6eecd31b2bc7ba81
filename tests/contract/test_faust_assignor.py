"""Which member gets which partitions, without a broker."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from beluga_stream.adapters.faust.assignor import NumberAssignor, TopicAssignor


class Cluster:
    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._counts[topic])) if topic in self._counts else None


def member(topics: Iterable[str], owned: Iterable[int] = ()) -> Any:
    assignor = NumberAssignor()
    assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [("any", list(owned))], b""))
    return assignor.metadata(topics)


def assign(cluster: Cluster, **members: Any) -> dict[str, dict[str, list[int]]]:
    given = NumberAssignor().assign(cluster, members)  # type: ignore[arg-type]
    return {name: dict(assignment.assignment) for name, assignment in given.items()}


def test_a_number_of_all_topics_goes_to_one_member_and_all_are_given() -> None:
    cluster = Cluster(done=8, events=8, requests=8)
    given = assign(cluster, **{f"m{i}": member(["done", "events", "requests"]) for i in range(3)})
    numbers = [set(topics["done"]) for topics in given.values()]
    assert sorted(len(some) for some in numbers) == [2, 3, 3]
    assert set().union(*numbers) == set(range(8))
    for topics in given.values():
        assert topics["done"] == topics["events"] == topics["requests"]


def test_members_keep_what_they_had() -> None:
    cluster = Cluster(done=6)
    given = assign(cluster, a=member(["done"], [1, 3, 5]), b=member(["done"], [0, 2, 4]), c=member(["done"]))
    assert set(given["a"]["done"]) < {1, 3, 5}
    assert set(given["b"]["done"]) < {0, 2, 4}
    assert len(given["c"]["done"]) == 2
    again = assign(cluster, a=member(["done"], [1, 3, 5]), b=member(["done"], [0, 2, 4]))
    assert again == {"a": {"done": [1, 3, 5]}, "b": {"done": [0, 2, 4]}}


def test_two_that_claim_the_same_do_not_both_get_it() -> None:
    given = assign(Cluster(done=4), a=member(["done"], [0, 1, 2, 3]), b=member(["done"], [0, 1, 2, 3]))
    assert sorted(given["a"]["done"] + given["b"]["done"]) == [0, 1, 2, 3]
    assert len(given["a"]["done"]) == 2


def test_topics_of_different_counts_and_topics_that_do_not_exist() -> None:
    given = assign(Cluster(few=2, many=5), a=member(["few", "many", "none"]), b=member(["few", "many", "none"]))
    for topics in given.values():
        assert "none" not in topics
        assert set(topics.get("few", [])) == {n for n in topics["many"] if n < 2}
    assert sorted(n for topics in given.values() for n in topics["many"]) == list(range(5))


def test_in_a_rolling_deploy_numbers_are_not_split() -> None:
    given = assign(Cluster(old=4, new=4), before=member(["old"], [0, 1, 2, 3]), after=member(["old", "new"]))
    assert given == {"before": {}, "after": {"new": [0, 1, 2, 3], "old": [0, 1, 2, 3]}}


def test_more_members_than_numbers_and_no_topics_at_all() -> None:
    given = assign(Cluster(done=1), a=member(["done"]), b=member(["done"]))
    assert sorted(len(topics.get("done", [])) for topics in given.values()) == [0, 1]
    assert assign(Cluster(), a=member(["absent"])) == {"a": {}}


def reader(topics: Iterable[str], owned: Mapping[str, Sequence[int]] = MappingProxyType({})) -> Any:
    assignor = TopicAssignor()
    told = [(topic, list(numbers)) for topic, numbers in owned.items()]
    assignor.on_assignment(ConsumerProtocolMemberAssignment(0, told, b""))
    return assignor.metadata(topics)


def spread(cluster: Cluster, **members: Any) -> dict[str, dict[str, list[int]]]:
    given = TopicAssignor().assign(cluster, members)  # type: ignore[arg-type]
    return {name: dict(assignment.assignment) for name, assignment in given.items()}


def test_each_queue_is_spread_over_those_who_read_it() -> None:
    given = spread(Cluster(default=4, gpu=4), both=reader(["default", "gpu"]), small=reader(["default"]))
    assert given["both"]["gpu"] == [0, 1, 2, 3]
    assert "gpu" not in given["small"]
    assert sorted(given["both"]["default"] + given["small"]["default"]) == [0, 1, 2, 3]
    assert len(given["small"]["default"]) == 2


def test_what_cannot_be_spread_evenly_goes_to_who_has_least() -> None:
    queues = ["a", "b", "c"]
    given = spread(Cluster(a=4, b=4, c=4), **{f"m{i}": reader(queues) for i in range(3)})
    assert [sum(map(len, topics.values())) for topics in given.values()] == [4, 4, 4]


def test_readers_keep_what_they_had_of_each_queue() -> None:
    cluster = Cluster(default=4, gpu=3)
    queues = ["default", "gpu"]
    given = spread(cluster, a=reader(queues), b=reader(queues))
    assert spread(cluster, **{name: reader(queues, owned) for name, owned in given.items()}) == given
    more = spread(cluster, **{name: reader(queues, owned) for name, owned in given.items()}, c=reader(["default"]))
    for name, owned in given.items():
        assert more[name]["gpu"] == owned["gpu"], "which the new one does not read"
        assert set(more[name]["default"]) <= set(owned["default"])
    assert len(more["c"]["default"]) == 1


def test_a_group_may_have_members_that_assign_by_number() -> None:
    """Those of a version before queues were spread by themselves, whoever of the two assigns."""
    cluster = Cluster(default=4, gpu=4)
    members = {"before": member(["default", "gpu"], [2, 3]), "after": reader(["default", "gpu"], {"gpu": [0]})}
    assert {one.name for one in (NumberAssignor, TopicAssignor)} == {"beluga-number"}
    by_topic = spread(cluster, **members)
    assert by_topic["before"] == {"default": [2, 3], "gpu": [2, 3]}
    assert by_topic["after"] == {"default": [0, 1], "gpu": [0, 1]}
    assert assign(cluster, **members) == by_topic


def test_a_queue_that_nobody_has_created_is_left_out() -> None:
    assert spread(Cluster(default=1), a=reader(["absent"]), b=reader(["default"])) == {"a": {}, "b": {"default": [0]}}
