"""Who is in a group is asked again while no broker is ready to say so."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
)

from beluga_stream.adapters.kafka.membership import Membership, _membership
from beluga_stream.testing.virtual_time import run_virtually


class Response(NamedTuple):
    groups: Sequence[Any]


class Admin:
    """Raises the first of these errors itself, and is told the others by the broker; then there is an empty group."""

    def __init__(self, raised: Sequence[type[KafkaError]], told: Sequence[type[KafkaError]]) -> None:
        self._raised = list(raised)
        self._told = list(told)

    async def describe_consumer_groups(self, names: Sequence[str]) -> list[Response]:
        if self._raised:
            raise self._raised.pop(0)
        code = self._told.pop(0).errno if self._told else NoError.errno
        return [Response([(code, names[0], "", "", "", [], 0)])]


def members(admin: Admin) -> Membership:
    return run_virtually(_membership(cast("AIOKafkaAdminClient", admin), "group"), 1)


def test_a_broker_that_makes_itself_ready_is_asked_again() -> None:
    told = [NotCoordinatorForGroupError, GroupLoadInProgressError, GroupCoordinatorNotAvailableError]
    assert members(Admin([GroupCoordinatorNotAvailableError], told)) == Membership(0, frozenset())


def test_what_does_not_pass_is_raised() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        members(Admin([], [GroupAuthorizationFailedError]))
