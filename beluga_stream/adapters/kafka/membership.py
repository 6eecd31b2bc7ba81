"""Who is in consumer groups now: how many, and what they read."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    for_code,
)

from ...bounds import within
from .connection import KafkaConnection
from .refusal import refusal

_TIMEOUT_SECONDS = 30.0
_AGAIN_SECONDS = 0.25
_NOT_YET = (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, GroupLoadInProgressError)
"""A broker that no group has ever come to makes itself ready for them when it is first asked; and a group that moves to
another broker is for a moment at none."""


class Membership(NamedTuple):
    """A group's members, and the topics that they read; None while the group settles that anew."""

    members: int
    topics: frozenset[str] | None


async def memberships(connection: KafkaConnection, names: Sequence[str]) -> Mapping[str, Membership]:
    """Of these groups. Raises `AccessDenied` when we may not describe one of them, and `LogUnavailable`."""
    admin = AIOKafkaAdminClient(**connection.client_settings("groups"))
    try:
        async with within(_TIMEOUT_SECONDS):
            await admin.start()
            return {name: await _membership(admin, name) for name in names}
    except (KafkaError, TimeoutError, OSError) as error:
        raise refusal(connection, "cannot see who is in consumer groups", error, "Describe on groups") from error
    finally:
        await admin.close()


async def _membership(admin: AIOKafkaAdminClient, name: str) -> Membership:
    told = [_topics(member) for member in await _members(admin, name)]
    settled = [topics for topics in told if topics is not None]
    return Membership(len(told), frozenset().union(*settled) if len(settled) == len(told) else None)


async def _members(admin: AIOKafkaAdminClient, name: str) -> Sequence[Any]:
    while True:
        try:
            (response,) = await admin.describe_consumer_groups([name])
            ((code, _, _, _, _, members, *_),) = response.groups
            error = for_code(code)
            if error is not NoError:
                raise error(name)
        except _NOT_YET:
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            found: Sequence[Any] = members
            return found


def _topics(member: Any) -> frozenset[str] | None:
    _, _, _, metadata, *_ = member
    return frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription) if metadata else None
