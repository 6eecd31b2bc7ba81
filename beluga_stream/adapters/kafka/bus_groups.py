"""The consumer groups of a bus, seen from outside: whether one has a place, and its end."""

# ruff: noqa: SLF001 - aiokafka's administration has no call for it (contract test: test_kafka_internals)

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupIdNotFound, KafkaError, NonEmptyGroup, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.commit import OffsetFetchRequest

from ...bounds import within
from ...errors import InvalidState, NotFound
from .connection import KafkaConnection
from .refusal import refusal

_SECONDS = 30.0


async def has_place(connection: KafkaConnection, group: str) -> bool:
    """Whether it has one in any topic, so that its next member goes on from there.

    Raises `LogUnavailable`, and `AccessDenied` when we may not know.
    """
    what = f"cannot look for the group {group}"
    async with _administration(connection, what, f"Describe on group {group}") as admin:
        response = await _coordinators_answer(admin, group, OffsetFetchRequest(group, None))
        _raise_for(response.error_code)
        return any(offset >= 0 for _, partitions in response.topics for _, offset, _, _ in partitions)


async def forget(connection: KafkaConnection, group: str) -> None:
    """Delete it with its places.

    Raises `NotFound` when there is none, `InvalidState` while it has members, `LogUnavailable` and `AccessDenied`.
    """
    async with _administration(connection, f"cannot delete the group {group}", f"Delete on group {group}") as admin:
        response = await _coordinators_answer(admin, group, DeleteGroupsRequest([group]))
        try:
            _raise_for(*(code for _, code in response.results))
        except GroupIdNotFound as error:
            raise NotFound(f"there is no group {group}") from error
        except NonEmptyGroup as error:
            raise InvalidState(f"the group {group} has members: close them first") from error


@asynccontextmanager
async def _administration(
    connection: KafkaConnection, what: str, needs: str
) -> AsyncGenerator[AIOKafkaAdminClient, None]:
    admin = AIOKafkaAdminClient(**connection.client_settings("groups"))
    try:
        async with within(_SECONDS):
            await admin.start()
            yield admin
    except (KafkaError, TimeoutError, OSError) as error:
        raise refusal(connection, what, error, needs) from error
    finally:
        await admin.close()


async def _coordinators_answer(admin: AIOKafkaAdminClient, group: str, request: Any) -> Any:
    return await admin._send_request_to_node(await admin.find_coordinator(group), request)


def _raise_for(*codes: int) -> None:
    for code in codes:
        if code:
            raise for_code(code)
