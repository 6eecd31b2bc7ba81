"""Who is in consumer groups now: how many, and what they read."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import KafkaError, NoError, for_code

from ...bounds import within
from .connection import KafkaConnection
from .refusal import refusal

_TIMEOUT_SECONDS = 30.0


class Membership(NamedTuple):
    """A group's members, and the topics that they read; None while the group settles that anew."""

    members: int
    topics: frozenset[str] | None


async def memberships(connection: KafkaConnection, names: Sequence[str]) -> Mapping[str, Membership]:
    """Of these groups, and of those that exist for single queues, `name.queue`.

    Raises `AccessDenied` when we may not describe one of them, and `LogUnavailable`.
    """
    admin = AIOKafkaAdminClient(**connection.client_settings("groups"))
    found: dict[str, Membership] = {}
    try:
        async with within(_TIMEOUT_SECONDS):
            await admin.start()
            within_names = tuple(f"{name}." for name in names)
            of_queues = [name for name, *_ in await admin.list_consumer_groups() if name.startswith(within_names)]
            for name in (*names, *sorted(of_queues)):
                found[name] = await _membership(admin, name)
    except (KafkaError, TimeoutError, OSError) as error:
        raise refusal(connection, "cannot see who is in consumer groups", error, "Describe on groups") from error
    finally:
        await admin.close()
    return found


def read_twice(found: Mapping[str, Membership]) -> Mapping[str, Sequence[str]]:
    """Topics that members of several of these groups read, with the groups: each record goes to all of them."""
    readers: dict[str, list[str]] = {}
    for name, membership in found.items():
        for topic in membership.topics or ():
            readers.setdefault(topic, []).append(name)
    return {topic: sorted(names) for topic, names in sorted(readers.items()) if len(names) > 1}


async def _membership(admin: AIOKafkaAdminClient, name: str) -> Membership:
    (response,) = await admin.describe_consumer_groups([name])
    ((code, _, _, _, _, members, *_),) = response.groups
    error = for_code(code)
    if error is not NoError:
        raise error(name)
    told = [_topics(member) for member in members]
    settled = [topics for topics in told if topics is not None]
    return Membership(len(told), frozenset().union(*settled) if len(settled) == len(told) else None)


def _topics(member: Any) -> frozenset[str] | None:
    _, _, _, metadata, *_ = member
    return frozenset(ConsumerProtocolMemberMetadata.decode(metadata).subscription) if metadata else None
