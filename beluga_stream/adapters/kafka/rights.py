"""What the broker lets us do: asked before anything else, since a refusal later names no right.

aiokafka's own requests are too old to ask for rights, or do not read the answer, hence two of ours.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Bytes, Int16, Int32, Schema, String

from ...bounds import within
from ...ports.rights import Operation, Right
from .connection import KafkaConnection
from .refusal import refusal

_BITS: Mapping[Operation, int] = {"Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Describe": 8, "DescribeConfigs": 10}
"""Kafka's codes of operations: a granted one sets the bit of this number."""

_NOT_TOLD = -(1 << 31)
"""What stands there when the broker has not looked; then it counts as granted."""

_ALL = -1
_TIMEOUT_SECONDS = 30.0


class _MetadataResponse(Response):
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8")))),
        ("cluster", String("utf-8")),
        ("controller", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline", Array(Int32)),
                    ),
                ),
                ("granted", Int32),
            ),
        ),
        ("cluster_granted", Int32),
    )


class _MetadataRequestStruct(RequestStruct):
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("create", Boolean),
        ("with_cluster_rights", Boolean),
        ("with_topic_rights", Boolean),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class(self._topics, False, False, True)  # noqa: FBT003 - in the order of the schema


class _GroupsResponse(Response):
    API_KEY = 15
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            Array(
                ("error_code", Int16),
                ("group", String("utf-8")),
                ("state", String("utf-8")),
                ("protocol_type", String("utf-8")),
                ("protocol", String("utf-8")),
                (
                    "members",
                    Array(
                        ("member", String("utf-8")),
                        ("client", String("utf-8")),
                        ("host", String("utf-8")),
                        ("metadata", Bytes),
                        ("assignment", Bytes),
                    ),
                ),
                ("granted", Int32),
            ),
        ),
    )


class _GroupsRequestStruct(RequestStruct):
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = _GroupsResponse
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("with_rights", Boolean))


class _GroupsRequest(Request[_GroupsRequestStruct]):
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_GroupsRequestStruct]) -> _GroupsRequestStruct:
        return request_struct_class([self._group], True)  # noqa: FBT003 - in the order of the schema


async def hidden(connection: KafkaConnection, names: Iterable[str]) -> frozenset[str]:
    """Those of these topics that we may not even see, whether they exist or not. Raises `LogUnavailable`."""
    async with _client(connection) as client:
        granted = await _topics(client, sorted(set(names)))
    return frozenset(name for name, bits in granted.items() if bits is None)


async def missing(connection: KafkaConnection, rights: Sequence[Right]) -> list[Right]:
    """Those of these rights that the broker does not grant; none when it cannot tell. Raises `LogUnavailable`.

    That a transactional id may be written can only be tried; here it counts when it may be seen.
    """
    lacking: list[Right] = []
    async with _client(connection) as client:
        topics = await _topics(client, sorted({right.asked for right in rights if right.resource == "topic"}))
        for right in rights:
            if right.resource == "topic":
                bits = topics.get(right.asked, _ALL)
            else:
                ask = _group if right.resource == "group" else _transactional_id
                bits = await ask(client, right.asked)
            absent = tuple(each for each in right.operations if not (bits or 0) >> _BITS[each] & 1)
            if absent:
                lacking.append(replace(right, operations=absent))
    return lacking


@asynccontextmanager
async def _client(connection: KafkaConnection) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**connection.client_settings("rights"))
    try:
        async with within(_TIMEOUT_SECONDS):
            await client.bootstrap()
            yield client
    except (KafkaError, TimeoutError, OSError) as error:
        raise refusal(connection, f"cannot ask {connection.where} for our rights", error) from error
    finally:
        await client.close()


async def _topics(client: AIOKafkaClient, names: Sequence[str]) -> dict[str, int | None]:
    """What is granted on each topic as bits, None for nothing at all; empty when the broker is too old to say."""
    try:
        response = await client.send(client.get_random_node(), _MetadataRequest(names))
    except (NotImplementedError, IncompatibleBrokerVersion):
        return {}
    denied = TopicAuthorizationFailedError.errno
    return {topic: None if code == denied else _known(bits) for code, topic, _, _, bits in response.topics}


async def _group(client: AIOKafkaClient, name: str) -> int | None:
    """The same for a consumer group; all, when it cannot be known."""
    try:
        node = await client.coordinator_lookup(CoordinationType.GROUP, name)
        response = await client.send(node, _GroupsRequest(name))
    except GroupAuthorizationFailedError:
        return None
    except (KafkaError, NotImplementedError):
        return _ALL  # say that the broker has just begun, or is too old: it is found out by joining
    (group,) = response.groups
    if for_code(group[0]) is GroupAuthorizationFailedError:
        return None
    return _known(group[-1])


async def _transactional_id(client: AIOKafkaClient, name: str) -> int | None:
    try:
        await client.coordinator_lookup(CoordinationType.TRANSACTION, name)
    except TransactionalIdAuthorizationFailed:
        return None
    except (KafkaError, NotImplementedError):
        return _ALL
    return _ALL


def _known(bits: int) -> int:
    return _ALL if bits == _NOT_TOLD else bits
