"""Notices that another process goes by the name of this one: by turns each takes the other's place in the group.

A broker gives the place of a static member to whoever comes by its name, since that is how a process comes back after a
restart. The one that goes on learns no more from it than that it is no member, and joins again, by the same name.
"""

# ruff: noqa: SLF001 - aiokafka has no place for it (contract test: test_kafka_internals)

import asyncio
import logging
from typing import Any

from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.group import HeartbeatRequest

log = logging.getLogger(__name__)

_AGAIN_SECONDS = 30.0


class Namesake:
    """Says so when a member by the name `instance` is one no more, though it was heard of within `session_seconds`."""

    def __init__(self, group: str, instance: str, session_seconds: float) -> None:
        self._group = group
        self._instance = instance
        self._session_seconds = session_seconds
        self._heard_at: float | None = None
        self._told_at: float | None = None

    def watch(self, consumer: Any) -> None:
        """Look at how its heartbeats are answered. To be called before it starts."""
        client = consumer._client
        send = client.send

        async def watched(node_id: int, request: Any, **more: Any) -> Any:
            answer = await send(node_id, request, **more)
            if isinstance(request, HeartbeatRequest):
                self._answered(answer.error_code, asyncio.get_running_loop().time())
            return answer

        client.send = watched

    def _answered(self, code: int, now: float) -> None:
        if code != UnknownMemberIdError.errno:
            self._heard_at = now
        elif self._heard_at is not None and now - self._heard_at < self._session_seconds:
            self._heard_at = None  # what follows is of the next membership
            self._tell(now)

    def _tell(self, now: float) -> None:
        if self._told_at is not None and now - self._told_at < _AGAIN_SECONDS:
            return
        self._told_at = now
        log.error(
            "another process has taken the place of this one in group %s: both are named BELUGA_INSTANCE=%s, and take "
            "the partitions from each other. Give each process a name of its own",
            self._group,
            self._instance,
            extra={"action": "group.namesake", "group": self._group},
        )
